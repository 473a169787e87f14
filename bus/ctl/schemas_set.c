/*
 * Where schemas come from: a folder, or a git revision of it. A program that operates a shop is often
 * installed without git and without Python; only --against REVISION needs git, run directly and without a
 * shell.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bus/ctl/schemas.h"

enum { FILE_BYTES = 16 << 20 };

static const char *const folders[] = {"commands", "events"};

struct schema_set schema_set_new(struct arena *arena)
{
    return (struct schema_set){.arena = arena};
}

void schema_set_free(struct schema_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        json_decref(set->list[i].root);
    set->n = 0;
}

const struct schema *schema_find(const struct schema_set *set, struct str type, int major, int minor)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct schema *s = &set->list[i];
        if (str_eq(s->type, type) && s->major == major && (minor < 0 || s->minor == minor))
            return s;
    }
    return NULL;
}

/* ---- a text ---- */

/* "order.placed/1.0", and the file it stands in. */
static bool parse_id(struct schema *s, struct arena *arena)
{
    struct str id = str_of(json_string_value(json_object_get(s->root, "$id")));
    size_t slash = str_find(id, '/');
    if (slash == 0 || slash == id.n)
        return false;
    struct str numbers = str_slice(id, slash + 1, id.n);
    size_t dot = str_find(numbers, '.');
    int64_t major, minor;
    if (dot == numbers.n || failed(str_int64(str_slice(numbers, 0, dot), &major)) ||
        failed(str_int64(str_slice(numbers, dot + 1, numbers.n), &minor)) || major < 1 || major > 99 ||
        minor < 0 || minor > 9999)
        return false;
    s->type = arena_str(arena, str_slice(id, 0, slash));
    s->major = (int)major;
    s->minor = (int)minor;
    s->command = str_starts(s->file, STR("commands/"));
    return str_eq(s->file,
                  arena_printf(arena, "%s/%.*s.v%d.json", folders[!s->command], STR_ARG(s->type), s->major));
}

void schema_set_add(struct schema_set *set, struct str file, struct str text,
                    struct schema_findings *findings)
{
    json_error_t error;
    struct schema s = {.file = arena_str(set->arena, file)};
    s.root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(s.root) || !parse_id(&s, set->arena)) {
        schema_found(findings, SCHEMA_NOT_READ, s.file, STR("$"), "%s",
                     s.root ? "$id and the name of the file do not agree" : error.text);
        json_decref(s.root);
        return;
    }
    if (set->n == set->cap) {
        size_t old = set->cap * sizeof(s);
        set->cap = set->cap ? 2 * set->cap : 64;
        set->list = arena_grow(set->arena, set->list, old, set->cap * sizeof(s));
    }
    set->list[set->n++] = s;
}

/* ---- a folder ---- */

static err read_all(int fd, struct arena *arena, struct str *ret)
{
    struct buf b = buf_new(arena, 4096);
    for (;;) {
        ssize_t n = read(fd, buf_room(&b, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || b.n > FILE_BYTES)
            return FAIL(INVALID, "cannot be read, or is too large");
        if (n == 0)
            break;
        buf_took(&b, (size_t)n);
    }
    *ret = buf_view(&b);
    return OK;
}

err schema_file_read(const char *path, struct arena *arena, struct str *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(INVALID, "cannot open %s: error %d", path, errno);
    err e = read_all(fd, arena, ret);
    close(fd);
    return failed(e) ? FAIL(INVALID, "%s cannot be read, or is too large", path) : OK;
}

static int only_json(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

err schema_set_folder(struct schema_set *set, const char *folder, struct schema_findings *findings)
{
    for (size_t f = 0; f < sizeof(folders) / sizeof(*folders); f++) {
        struct dirent **names;
        struct str sub = arena_printf(set->arena, "%s/%s", folder, folders[f]);
        int n = scandir(sub.p, &names, only_json, alphasort);
        if (n < 0)
            return FAIL(INVALID, "%.*s is no folder of schemas", STR_ARG(sub));
        err e = OK;
        for (int i = 0; i < n; i++) {
            struct str text, file = arena_printf(set->arena, "%s/%s", folders[f], names[i]->d_name);
            if (!failed(e))
                e = schema_file_read(arena_printf(set->arena, "%s/%.*s", folder, STR_ARG(file)).p, set->arena,
                                     &text);
            if (!failed(e))
                schema_set_add(set, file, text, findings);
            free(names[i]);
        }
        free(names);
        TRY(e);
    }
    return OK;
}

/* ---- a git revision ---- */

/* What git prints; INVALID when it exits with anything but 0. arguments end with NULL; arguments[0] is "git".
 */
static err git(const char *const *arguments, struct arena *arena, struct str *ret)
{
    int ends[2], status = -1;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return FAIL(INTERNAL, "no pipe: error %d", errno);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int wrong = posix_spawnp(&pid, "git", &actions, NULL, (char *const *)(uintptr_t)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    err e = wrong ? FAIL(INVALID, "git cannot be run: error %d", wrong) : read_all(ends[0], arena, ret);
    close(ends[0]);
    if (!wrong)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    TRY(e);
    return status == 0 ? OK : FAIL(INVALID, "git does not know that revision");
}

static err show(const char *folder, const char *revision, struct str file, struct arena *arena,
                struct str *ret)
{
    struct str object = arena_printf(arena, "%s:./%.*s", revision, STR_ARG(file));
    const char *const arguments[] = {"git", "-C", folder, "show", object.p, NULL};
    return git(arguments, arena, ret);
}

err schema_set_revision(struct schema_set *set, const char *folder, const char *revision,
                        struct schema_findings *findings)
{
    const char *const arguments[] = {"git",         "-C",     folder,      "ls-tree", "-r",
                                     "--name-only", revision, "commands/", "events/", NULL};
    struct str names, text;
    if (revision[0] == '-')
        return FAIL(INVALID, "a revision does not begin with -");
    TRY(git(arguments, set->arena, &names));
    while (names.n) {
        size_t end = str_find(names, '\n');
        struct str file = str_slice(names, 0, end);
        TRY(show(folder, revision, file, set->arena, &text));
        schema_set_add(set, file, text, findings);
        names = end < names.n ? str_slice(names, end + 1, names.n) : STR_NONE;
    }
    return set->n ? OK : FAIL(INVALID, "%s has no schemas there", revision);
}
