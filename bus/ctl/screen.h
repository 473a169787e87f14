/*
 * A terminal that shows a picture again and again: the other screen of the terminal, keys read as they are
 * typed, everything as it was when it ends. Plain ANSI (ECMA-48), nothing else.
 */
#pragma once

#include "bus/base/arena.h"

/* Is standard output a terminal, and standard input one to read keys from? */
bool screen_is_there(void);
/* Between both, standard output belongs to the screen. The end restores whatever the beginning changed, and
 * may be called without it. */
void screen_begin(void);
void screen_end(void);
/* Lines and columns; 24 and 80 when the terminal does not say. */
void screen_size(int *ret_lines, int *ret_columns);
/* Shows a picture: what does not fit is cut off, what stood there before is gone. */
void screen_show(struct str picture);
/* Waits at most that long; returns a key that was typed, or 0. A signal ends the wait. */
int screen_key(int wait_ms);
