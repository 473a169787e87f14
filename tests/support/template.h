/*
 * The cluster every test's PostgreSQL is a copy of: made once per version and user by initdb, kept below
 * TMPDIR, and what starting a server as another user needs. Only servers.c uses this.
 */
#pragma once

/* Prints "tests/support: …" and ends the process. */
void support_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* In a new child: its own process group, no inherited descriptors, input from nowhere, output appended to
 * log. */
void support_detach(const char *log);

/* Folder of initdb and postgres, newest version; ends the process when there is none. */
const char *template_bindir(void);
/* In a child: when root, becomes the user postgres, since PostgreSQL refuses root. */
void template_become_postgres(void);
/* Puts a fresh cluster at dir/data: superuser and database "daydream", trusted on its socket, no TCP. */
void template_copy(const char *dir);
/* Kills (SIGKILL) whatever process has its working directory below dir. */
void template_kill_below(const char *dir);
