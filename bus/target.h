/*
 * Where the shop may send HTTP requests that somebody else asked for. A URL from outside is a way into the
 * network the shop runs in, so it is looked at twice: its form when it is taken (no literal private address,
 * no name that is private by definition), and the address itself at each connect, after names were resolved:
 * what is checked is what is connected to, so a name that changes its mind in between gains nothing.
 */
#pragma once

#include <sys/socket.h>

#include "bus/base/arena.h"

enum { TARGET_URL_MAX = 2048, TARGET_HOST_MAX = 253 };

struct target {
    bool tls;
    struct str host; /* borrowed; an IPv6 address without its brackets */
    int port;
};

/* A URL of the form http[s]://host[:port][/path][?query]. INVALID, with a sentence for whoever sent it:
 * longer than TARGET_URL_MAX, user or password, fragment, blanks or control characters, a host that is no
 * name and no address. Unless private targets are allowed also: http, a port that is neither 443, nor 8443,
 * nor one from 1024 on that is not a well-known service's, and a host that is not public by its form. */
err target_read(struct str url, bool allow_private, struct target *ret) _must_use_;

/* Is this an address of the public internet? Loopback, private (RFC 1918), shared (RFC 6598), link-local with
 * the metadata services there, unique local, multicast, reserved, documentation and unspecified ones are not,
 * nor are IPv6 forms that contain such an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo). */
bool address_is_public(const struct sockaddr *address);

/* Resolves a host: getaddrinfo, or a test's own. ret has room for n addresses; returns how many there are, 0
 * when the name is not known. Blocks. */
typedef int target_resolver(const char *host, struct sockaddr_storage *ret, int n);
extern target_resolver *target_resolve;
/* Blocks. INVALID when the host has an address that is not public; a name that nobody knows yet is fine. */
err target_check(struct str host) _must_use_;
