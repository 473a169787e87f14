/*
 * Messages across majors. Whoever reads gets the newest major this build knows, whatever was written: old
 * ones are lifted step by step, right behind the decoder. Whoever writes writes the newest, unless
 * EMIT_PINNED holds a type at an older major: then it is lowered right before the encoder. Nobody in between
 * sees an old major.
 */
#pragma once

#include "messages.h"

/* Decodes data, the bus form of a message of that type, and lifts it. *ret_type is the newest major, *ret its
 * struct in arena, which may borrow from data. Errors as codec_decode's. */
err message_decode(enum message type, struct str data, struct arena *arena, enum message *ret_type,
                   const void **ret) _must_use_;

/* The other way: message is a struct of that type, the newest of its family. *ret_type is what it was written
 * as. */
struct str message_encode(enum message type, const void *message, struct arena *arena,
                          enum message *ret_type);

/* Takes EMIT_PINNED: types with their major, separated by commas ("order.placed.v1"). Called once, before any
 * thread writes. CONFIG: a word that is no message of this build. */
err message_pin(struct str text) _must_use_;
