/*
 * See passwords.h. A FIFO of jobs per loop; the first one is on the pool.
 */
#include "api/passwords.h"

#include <assert.h>
#include <crypt.h>
#include <ctype.h>
#include <sodium.h>
#include <stdlib.h>

#include "api/server.h"

enum { MEMORY_BYTES = 19456 * 1024, PASSES = 2 };

/* Of random bytes nobody kept: what an unknown person's password is compared with. */
static const char nobody[] =
    "$argon2id$v=19$m=19456,t=2,p=1$iiIk7giRJBeQXemiVIzIGA$Ucsx1KLjmm2zz/lanNipTzdKdfl6dGqPQKRf4ctooOs";

struct job {
    struct passwords *owner;
    struct job *next;
    bool verify;
    password_fn *fn;
    void *data;
    bool ok, stale;
    char hash[PASSWORD_HASH_MAX + 1];
    size_t n;
    char password[PASSWORD_BYTES_MAX];
};

struct passwords {
    struct loop *loop;
    struct job *first, *last; /* first is on the pool */
    size_t n;
};

static void job_free(struct job *job)
{
    sodium_memzero(job, sizeof(*job));
    free(job);
}

struct passwords *passwords_new(struct loop *loop)
{
    struct passwords *passwords = calloc(1, sizeof(*passwords));
    if (!passwords || sodium_init() < 0)
        abort();
    passwords->loop = loop;
    return passwords;
}

struct passwords *passwords_free(struct passwords *passwords)
{
    if (!passwords)
        return NULL;
    assert(!passwords->first); /* the loop has ended: all jobs are done */
    free(passwords);
    return NULL;
}

bool password_fits_policy(struct str password, const char **ret_sentence)
{
    bool upper = false, lower = false, digit = false, symbol = false;
    for (size_t i = 0; i < password.n; i++) {
        unsigned char c = (unsigned char)password.p[i];
        upper |= c >= 'A' && c <= 'Z';
        lower |= c >= 'a' && c <= 'z';
        digit |= c >= '0' && c <= '9';
        symbol |= c >= 0x20 && c < 0x7f && ispunct(c);
    }
    *ret_sentence = "must have at least 8 characters, among them an upper case and a lower case letter, a "
                    "digit and a symbol";
    return utf8_length(password) >= 8 && upper && lower && digit && symbol;
}

static bool make(struct job *job)
{
    static_assert(sizeof(job->hash) >= crypto_pwhash_STRBYTES, "the hash fits");
    return crypto_pwhash_str_alg(job->hash, job->password, job->n, PASSES, MEMORY_BYTES,
                                 crypto_pwhash_ALG_ARGON2ID13) == 0;
}

static bool fits_bcrypt(const struct job *job)
{
    struct crypt_data *scratch = calloc(1, sizeof(*scratch));
    if (!scratch)
        abort();
    char password[PASSWORD_BYTES_MAX + 1] = {0};
    memcpy(password, job->password, job->n);
    const char *made = crypt_rn(password, job->hash, scratch, sizeof(*scratch));
    bool fits =
        made && strlen(made) == strlen(job->hash) && sodium_memcmp(made, job->hash, strlen(made)) == 0;
    sodium_memzero(password, sizeof(password));
    sodium_memzero(scratch, sizeof(*scratch));
    free(scratch);
    return fits;
}

static void verify(struct job *job)
{
    bool bcrypt = strncmp(job->hash, "$2", 2) == 0;
    job->ok = bcrypt ? fits_bcrypt(job) : crypto_pwhash_str_verify(job->hash, job->password, job->n) == 0;
    if (job->ok && (bcrypt || crypto_pwhash_str_needs_rehash(job->hash, PASSES, MEMORY_BYTES) != 0))
        job->stale = make(job);
}

/* On a thread of the pool. */
static void run(void *data)
{
    struct job *job = data;
    if (job->verify)
        verify(job);
    else
        job->ok = make(job);
}

static void done(void *data);

static void answer(struct job *job, err e)
{
    job->owner->n--;
    job->fn(job->data, e, job->ok, job->hash, job->stale);
    job_free(job);
}

static void finish(struct job *job, err e)
{
    struct passwords *passwords = job->owner;
    assert(passwords->first == job);
    passwords->first = job->next;
    if (!job->next)
        passwords->last = NULL;
    answer(job, e);
}

/* The first job of the queue goes to the pool. When that is full of other work, the job is answered instead.
 */
static void start_next(struct passwords *passwords)
{
    while (passwords->first) {
        err e = work_submit(passwords->loop, run, done, passwords->first);
        if (!failed(e))
            return;
        finish(passwords->first, e);
    }
}

void passwords_drain(struct passwords *passwords)
{
    while (passwords->first && passwords->first->next) {
        struct job *job = passwords->first->next;
        passwords->first->next = job->next;
        if (!job->next)
            passwords->last = passwords->first;
        answer(job, FAIL(UNAVAILABLE, "the door closes"));
    }
}

static void done(void *data)
{
    struct job *job = data;
    struct passwords *passwords = job->owner;
    finish(job, OK);
    start_next(passwords);
}

static err enqueue(struct passwords *passwords, struct job *job)
{
    bool idle = !passwords->first;
    job->owner = passwords;
    err e = idle ? work_submit(passwords->loop, run, done, job) : OK;
    if (failed(e)) {
        job_free(job);
        return e;
    }
    *(passwords->last ? &passwords->last->next : &passwords->first) = job;
    passwords->last = job;
    passwords->n++;
    return OK;
}

static err job_new(struct passwords *passwords, struct str password, password_fn *fn, void *data,
                   struct job **ret)
{
    if (passwords->n >= PASSWORDS_WAITING_MAX)
        return FAIL(OVERLOADED, "too many passwords wait to be checked");
    if (password.n > PASSWORD_BYTES_MAX)
        return FAIL(INVALID, "The password is too long.");
    struct job *job = calloc(1, sizeof(*job));
    if (!job)
        abort();
    job->fn = fn;
    job->data = data;
    job->n = password.n;
    if (password.n)
        memcpy(job->password, password.p, password.n);
    *ret = job;
    return OK;
}

err password_hash(struct passwords *passwords, struct str password, password_fn *fn, void *data)
{
    struct job *job = NULL;
    TRY(job_new(passwords, password, fn, data, &job));
    return enqueue(passwords, job);
}

err password_verify(struct passwords *passwords, struct str password, struct str hash, password_fn *fn,
                    void *data)
{
    struct job *job = NULL;
    TRY(job_new(passwords, password, fn, data, &job));
    job->verify = true;
    if (!hash.p || hash.n > PASSWORD_HASH_MAX)
        hash = str_of(nobody);
    memcpy(job->hash, hash.p, hash.n);
    return enqueue(passwords, job);
}
