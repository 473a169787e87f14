/*
 * Settings: one table, settings.def, with type, default and a sentence; read once at start from the
 * environment, then from DAYDREAM_HOME/env (KEY=VALUE lines) for what the environment leaves open; an empty
 * value counts as open. Wrong values stop the program with a clear message. Secrets are masked wherever they
 * are printed.
 */
#pragma once

#include <stdio.h>

#include "bus/base/arena.h"

enum setting {
#define SETTING(name, kind, fallback, secret, text) SET_##name,
#include "bus/base/settings.def"
#undef SETTING
    SET_COUNT
};

/* Reads all settings; CONFIG with a text naming the setting when one is wrong or refused in production. Call
 * once, before threads. Also applies LOG_LEVEL. program names the log lines. */
err conf_load(const char *program) _must_use_;
/* For what a program cannot do without: CONFIG, naming the setting and how to make one, when it is empty. */
err conf_require(enum setting s) _must_use_;
/* Values live as long as the process. */
struct str conf_str(enum setting s);
int64_t conf_int(enum setting s);
bool conf_on(enum setting s);
bool conf_production(void);
/* Overrides in tests. */
void conf_set(enum setting s, const char *value);
/* The table for --help (values NULL) or with current values, secrets masked. */
void conf_print(FILE *to, bool values, bool json);
