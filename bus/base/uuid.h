/* UUIDs (RFC 9562): 16 bytes in network order; text is 36 lower-case characters. */
#pragma once

#include "bus/base/arena.h"

struct uuid {
    uint8_t b[16];
};

enum { UUID_TEXT = 36 };

/* A new version 7 id of that millisecond, random elsewhere (getrandom, buffered per thread). */
struct uuid uuid_v7(int64_t ms);
/* The millisecond inside a version 7 id. */
int64_t uuid_ms(struct uuid id);
/* Strict: 36 characters, hex of any case, dashes in place. */
err uuid_parse(struct str text, struct uuid *ret) _must_use_;
void uuid_print(struct uuid id, char ret[static UUID_TEXT + 1]);
struct str uuid_str(struct uuid id, struct arena *arena);
static inline bool uuid_eq(struct uuid a, struct uuid b)
{
    return memcmp(a.b, b.b, 16) == 0;
}
static inline bool uuid_is_nil(struct uuid id)
{
    return uuid_eq(id, (struct uuid){{0}});
}
/* n random bytes from the kernel; aborts when there are none. RANDOM_SEED=n (test builds) makes them
 * repeatable. */
void random_bytes(void *p, size_t n);
uint64_t random_u64(void);
