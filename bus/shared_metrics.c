/*
 * The file: a header of 256 bytes, then the page. It is made in this order: open, lock, cut to nothing, give
 * it its size (all zeros now), map, copy the numbers, write the header, and its magic last. A reader that
 * comes in between finds no magic. A crash leaves a file without a lock.
 *
 * Locks are "open file description" locks: they belong to the open file, not to the process, so that a
 * process sees its own, and a reader can ask for them (F_OFD_GETLK) without ever holding one.
 */
#include "bus/shared_metrics.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/clock.h"
#include "bus/base/conf.h"
#include "bus/base/log.h"

enum { HEADER = 256, VERSION = 1, INSTANCES_MAX = 64, ENTRIES_MAX = 512 };
static const char magic[8] = "DDMETRIC";

struct header {
    char magic[8];
    uint32_t version, header, size; /* of the page */
    uint32_t reserved;
    uint64_t layout;
    int64_t pid, started_ms;
    char program[METRICS_PROGRAM], instance[METRICS_INSTANCE];
};
static_assert(sizeof(struct header) <= HEADER, "the header has room");

static char shared_as[METRICS_INSTANCE] = "private";

const char *metrics_instance(void)
{
    return shared_as;
}

static void folder(char *ret, size_t size)
{
    snprintf(ret, size, "%s/run/metrics", conf_str(SET_DAYDREAM_HOME).p);
}

/* ---- sharing ---- */

static bool make_folder(void)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s/run", conf_str(SET_DAYDREAM_HOME).p);
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return false;
    folder(path, sizeof(path));
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

/* The file, locked, or -1: it is somebody's, or cannot be made. It stays open until the process ends. */
static int open_own(const char *program, const char *instance)
{
    char path[4400], at[4200];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    folder(at, sizeof(at));
    snprintf(path, sizeof(path), "%s/%s.%s", at, program, instance);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool fill(int fd, const char *program, const char *instance)
{
    size_t size = HEADER + metrics_page_size();
    if (ftruncate(fd, 0) != 0 || posix_fallocate(fd, 0, (off_t)size) != 0)
        return false; /* space is taken now: a full disk must not kill us when we count */
    char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return false;
    struct header header = {.version = VERSION,
                            .header = HEADER,
                            .size = (uint32_t)metrics_page_size(),
                            .layout = metrics_layout(),
                            .pid = getpid(),
                            .started_ms = clock_ms()};
    snprintf(header.program, sizeof(header.program), "%s", program);
    snprintf(header.instance, sizeof(header.instance), "%s", instance);
    metrics_move(p + HEADER);
    memcpy(p, &header, sizeof(header));
    uint64_t word;
    memcpy(&word, magic, sizeof(word)); /* last, and behind all of it: without it the file is nobody's */
    __atomic_store_n((uint64_t *)(void *)p, word, __ATOMIC_RELEASE);
    return true;
}

static bool is_name(const char *text, size_t size)
{
    size_t n = strnlen(text, size);
    return n > 0 && n < size &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static int open_free(const char *program, char ret[static METRICS_INSTANCE])
{
    char host[65] = "";
    gethostname(host, sizeof(host) - 1);
    for (int n = 1; n <= INSTANCES_MAX; n++) {
        snprintf(ret, METRICS_INSTANCE, "%s-%d", is_name(host, sizeof(host)) ? host : "host", n);
        int fd = open_own(program, ret);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

static int open_named(const char *program, const char *instance, char ret[static METRICS_INSTANCE])
{
    if (!make_folder())
        return -1;
    if (!instance)
        return open_free(program, ret);
    if (!is_name(instance, METRICS_INSTANCE))
        return -1;
    snprintf(ret, METRICS_INSTANCE, "%s", instance);
    return open_own(program, ret);
}

void metrics_share(const char *program, const char *instance)
{
    char name[METRICS_INSTANCE];
    int fd = open_named(program, instance, name);
    if (fd >= 0 && fill(fd, program, name)) {
        memcpy(shared_as, name, sizeof(name));
        return;
    }
    log_warn("the numbers of this process are not shared", kv("program", program));
    if (fd >= 0)
        close(fd);
}

/* ---- reading others ---- */

static bool is_held(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool read_at(int fd, void *to, size_t n, off_t from)
{
    for (size_t got = 0; got < n;) {
        ssize_t more = pread(fd, (char *)to + got, n - got, from + (off_t)got);
        if (more <= 0)
            return false;
        got += (size_t)more;
    }
    return true;
}

/* Whatever stands there: only what this build would have written is believed, and texts only when they can
 * stand in a label. */
static bool read_peer(int fd, struct arena *arena, struct metrics_peer *ret)
{
    struct header h;
    size_t size = metrics_page_size();
    if (!read_at(fd, &h, sizeof(h), 0) || memcmp(h.magic, magic, sizeof(magic)) != 0 ||
        h.version != VERSION || h.header != HEADER || h.size != size || h.layout != metrics_layout() ||
        h.pid <= 0 || h.pid > INT32_MAX || !is_name(h.program, sizeof(h.program)) ||
        !is_name(h.instance, sizeof(h.instance)))
        return false;
    void *page = arena_alloc(arena, size);
    if (!read_at(fd, page, size, HEADER))
        return false;
    *ret = (struct metrics_peer){.pid = (pid_t)h.pid, .started_ms = h.started_ms, .page = page};
    memcpy(ret->program, h.program, sizeof(h.program));
    memcpy(ret->instance, h.instance, sizeof(h.instance));
    return true;
}

/* 1: it is there, 0: nobody's, -1: it lives and cannot be read. A pipe or a device is not even opened for
 * long. */
static int look_at(int dir, const char *name, struct arena *arena, struct metrics_peer *ret)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    int found = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && is_held(fd))
        found = read_peer(fd, arena, ret) ? 1 : -1;
    close(fd);
    return found;
}

size_t metrics_peers(struct arena *arena, struct metrics_peer **ret, int *ret_ignored)
{
    char path[4200];
    size_t n = 0;
    *ret = arena_array(arena, struct metrics_peer, METRICS_PEERS);
    *ret_ignored = 0;
    folder(path, sizeof(path));
    DIR *dir = opendir(path);
    struct dirent *entry;
    for (int looked = 0; dir && n < METRICS_PEERS && looked < ENTRIES_MAX && (entry = readdir(dir));
         looked++) {
        int found = look_at(dirfd(dir), entry->d_name, arena, &(*ret)[n]);
        n += found > 0;
        *ret_ignored += found < 0;
    }
    if (dir)
        closedir(dir);
    return n;
}
