/*
 * The cluster every test's PostgreSQL is a copy of: made once per version and user by initdb, kept below
 * template_base(), and what starting a server as another user needs. Only servers.c uses this.
 */
#pragma once

/* Prints "tests/support: …" and ends the process. */
void support_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* In a new child: its own process group, no inherited descriptors, input from nowhere, output appended to
 * log. */
void support_detach(const char *log);

/* Where the folders of tests and the template go: TMPDIR, else /dev/shm when it has room (making the thousand
 * files of a cluster takes ten times as long on some disks), else /tmp. */
const char *template_base(void);
/* Folder of initdb and postgres, newest version; ends the process when there is none. */
const char *template_bindir(void);
/* In a child: when root, becomes the user postgres, since PostgreSQL refuses root. */
void template_become_postgres(void);
/* Puts a fresh cluster at dir/data: superuser and database "daydream", trusted on its socket, no TCP; or,
 * when from is not NULL, a copy of from/data, the cluster of a server that has ended. */
void template_copy(const char *dir, const char *from);
/* Gives the fresh cluster at dir/data WAL segments of another size. */
void template_set_wal(const char *dir, int segment_mb);
/* Copies from/name to to/name, owners and times included. */
void template_copy_folder(const char *from, const char *to, const char *name);
/* Kills (SIGKILL) whatever process has its working directory below dir. */
void template_kill_below(const char *dir);
