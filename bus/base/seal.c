/*
 * Personal data at rest: AES-256-GCM, a fresh random nonce for each sealing, the person's id authenticated
 * with it, so that a sealed text cannot be moved to another person. A box is nonce 12 ‖ ciphertext ‖ tag 16.
 * OpenSSL failing for another reason than a wrong tag is a programming error.
 */
#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "bus/base/seal.h"

enum { NONCE = 12, TAG = 16, AAD_MAX = 64 };

static const char prefix[] = "sealed:1:";
enum { PREFIX = sizeof(prefix) - 1, HEAD = PREFIX + UUID_TEXT + 1 };

static EVP_CIPHER *gcm; /* fetched once: a fetch costs more than sealing a name */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch_cipher(void)
{
    gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    assert(gcm);
}

static void free_context(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context);
}

static EVP_CIPHER_CTX *new_context(void)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    pthread_once(&once, fetch_cipher);
    assert(context);
    return context;
}

/* What is authenticated beside the secret: what kind of box it is, and whose. */
struct label {
    unsigned char bytes[AAD_MAX];
    int n;
};

static struct label label_of(const char *kind, struct uuid person)
{
    struct label label;
    size_t n = strlen(kind);

    assert(n + sizeof(person.b) <= AAD_MAX);
    memcpy(label.bytes, kind, n);
    memcpy(label.bytes + n, person.b, sizeof(person.b));
    label.n = (int)(n + sizeof(person.b));
    return label;
}

/* box has room for NONCE + plain.n + TAG bytes. */
static void close_box(const struct seal_key *key, const struct label *label, struct str plain,
                      unsigned char *box)
{
    _cleanup_(free_context) EVP_CIPHER_CTX *context = new_context();
    unsigned char *secret = box + NONCE;
    int n, done;

    assert(plain.n < INT32_MAX / 2);
    random_bytes(box, NONCE);
    done = EVP_EncryptInit_ex2(context, gcm, key->b, box, NULL) == 1 &&
           EVP_EncryptUpdate(context, NULL, &n, label->bytes, label->n) == 1 &&
           EVP_EncryptUpdate(context, secret, &n, (const unsigned char *)plain.p, (int)plain.n) == 1 &&
           EVP_EncryptFinal_ex(context, secret + plain.n, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, secret + plain.n) == 1;
    assert(done);
}

/* ret has room for box.n - NONCE - TAG bytes. */
static err open_box(const struct seal_key *key, const struct label *label, struct str box, unsigned char *ret)
{
    _cleanup_(free_context) EVP_CIPHER_CTX *context = new_context();
    const unsigned char *p = (const unsigned char *)box.p;
    unsigned char tag[TAG];
    int length = (int)box.n - NONCE - TAG, n, done;

    if (box.n < NONCE + TAG || box.n > INT32_MAX / 2)
        return FAIL(INVALID, "a sealed value is too short");
    memcpy(tag, p + box.n - TAG, TAG);
    done = EVP_DecryptInit_ex2(context, gcm, key->b, p, NULL) == 1 &&
           EVP_DecryptUpdate(context, NULL, &n, label->bytes, label->n) == 1 &&
           EVP_DecryptUpdate(context, ret, &n, p + NONCE, length) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1;
    assert(done);
    if (EVP_DecryptFinal_ex(context, ret + length, &n) != 1)
        return FAIL(INVALID, "a sealed value does not open with this key");
    return OK;
}

struct seal_key seal_key_random(void)
{
    struct seal_key key;

    random_bytes(key.b, sizeof(key.b));
    return key;
}

void seal_wrap(const struct seal_key *master, struct uuid person, const struct seal_key *key,
               uint8_t ret[static SEAL_WRAPPED])
{
    struct label label = label_of("person-key:1:", person);

    close_box(master, &label, (struct str){(const char *)key->b, SEAL_KEY}, ret);
}

err seal_unwrap(const struct seal_key *master, struct uuid person, struct str wrapped, struct seal_key *ret)
{
    struct label label = label_of("person-key:1:", person);

    if (wrapped.n != SEAL_WRAPPED)
        return FAIL(INVALID, "a wrapped key has a wrong length");
    return open_box(master, &label, wrapped, ret->b);
}

struct str seal_value(const struct seal_key *key, struct uuid person, struct str json_value,
                      struct arena *arena)
{
    struct label label = label_of(prefix, person);
    size_t n = NONCE + json_value.n + TAG;
    char *box = arena_grow(arena, NULL, 0, n);
    struct buf text = buf_new(arena, HEAD + n * 4 / 3 + 2);

    close_box(key, &label, json_value, (unsigned char *)box);
    buf_put(&text, prefix, PREFIX);
    uuid_print(person, buf_room(&text, UUID_TEXT));
    buf_took(&text, UUID_TEXT);
    buf_char(&text, ':');
    buf_str(&text, base64url((struct str){box, n}, arena));
    return buf_view(&text);
}

bool seal_is(struct str text)
{
    struct uuid person;

    return !failed(seal_person(text, &person));
}

err seal_person(struct str sealed, struct uuid *ret)
{
    if (sealed.n <= HEAD || !str_starts(sealed, STR("sealed:1:")) || sealed.p[HEAD - 1] != ':')
        return FAIL(INVALID, "not a sealed value");
    return uuid_parse(str_slice(sealed, PREFIX, HEAD - 1), ret);
}

err seal_open(const struct seal_key *key, struct str sealed, struct arena *arena, struct str *ret_json)
{
    struct uuid person;
    struct label label;
    struct str box;
    char *plain;

    TRY(seal_person(sealed, &person));
    TRY(base64url_decode(str_slice(sealed, HEAD, sealed.n), arena, &box));
    label = label_of(prefix, person);
    plain = arena_alloc(arena, box.n + 1);
    TRY(open_box(key, &label, box, (unsigned char *)plain));
    *ret_json = (struct str){plain, box.n - NONCE - TAG};
    return OK;
}
