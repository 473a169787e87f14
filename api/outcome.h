/*
 * The problem in the row of a command that was refused or lost.
 */
#pragma once

#include "api/http.h"
#include "api/wait.h"

/* The strings live as long as the arena. */
struct problem outcome_problem(const struct outcome *o, struct arena *arena);
/* As it stands inside another document. */
struct str outcome_problem_json(const struct problem *problem, struct arena *arena);
