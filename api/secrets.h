/*
 * The door's keys, one per purpose: derived from ENCRYPTION_KEY, and the keys of access tokens from
 * JWT_SECRET_KEY. Read once at start; one per process, read-only afterwards.
 */
#pragma once

#include "bus/base/seal.h"

enum { JWT_KEYS_MAX = 2, JWT_KEY_MIN = 32, JWT_HEADER_MAX = 96 };

struct secrets {
    struct seal_key master;      /* wraps the keys of persons, makes blind indexes */
    struct seal_key command_id;  /* cmdid.h */
    struct seal_key fingerprint; /* of requests with an Idempotency-Key, and the name of anonymous clients */
    struct seal_key refresh;     /* refresh tokens */
    size_t n_jwt;
    struct jwt_key {
        struct str bytes;            /* as configured, at least JWT_KEY_MIN */
        char header[JWT_HEADER_MAX]; /* the one header segment accepted with this key: base64url, no dot */
    } jwt[JWT_KEYS_MAX];             /* the first one signs, all verify */
};

/* From the settings. CONFIG names the setting that is missing or weak. JWT_SECRET_KEY may hold two keys
 * separated by a comma while one replaces the other. */
err secrets_load(struct secrets *ret) _must_use_;
