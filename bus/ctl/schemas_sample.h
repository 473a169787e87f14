/* Samples of messages, made up from their field tables: what schemas/fixtures/ keeps of every released
 * version. */
#pragma once

#include "messages.h"

/* The bus form of a message: lean has only what is required, at its least; full has every field. Personal
 * values are sealed under a key that nobody keeps. */
struct str schema_sample(enum message message, bool full, struct arena *arena);
