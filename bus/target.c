/*
 * See target.h. The ranges are those of the IANA special-purpose registries (RFC 6890 and what came after).
 */
#include "bus/target.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

/* ---- addresses ---- */

struct range {
    uint8_t prefix[16];
    int bits;
};

static const struct range closed4[] = {
    {{0}, 8},                 /* this network, 0.0.0.0 */
    {{10}, 8},                /* private */
    {{100, 64}, 10},          /* shared, carrier-grade NAT */
    {{127}, 8},               /* loopback */
    {{169, 254}, 16},         /* link-local, metadata services */
    {{172, 16}, 12},          /* private */
    {{192, 0, 0}, 24},        /* protocol assignments */
    {{192, 0, 2}, 24},        /* documentation */
    {{192, 88, 99}, 24},      /* 6to4 relays */
    {{192, 168}, 16},         /* private */
    {{198, 18}, 15},          /* benchmarks */
    {{198, 51, 100}, 24},     /* documentation */
    {{203, 0, 113}, 24},      /* documentation */
    {{224}, 4},               /* multicast */
    {{240}, 4},               /* reserved, broadcast */
    {{168, 63, 129, 16}, 32}, /* a cloud's metadata service on a public address */
};

/* Outside of 2000::/3 nothing is public; these are the exceptions inside. */
static const struct range closed6[] = {
    {{0x20, 0x01, 0x00}, 23},       /* protocol assignments, Teredo among them */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4: an IPv4 address in it */
    {{0x3f, 0xff}, 20},             /* documentation */
};
static const struct range global6 = {{0x20}, 3};

static bool inside(const uint8_t *address, const struct range *range)
{
    int whole = range->bits / 8, rest = range->bits % 8;
    if (memcmp(address, range->prefix, (size_t)whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ range->prefix[whole]) >> (8 - rest) == 0;
}

static bool inside_any(const uint8_t *address, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (inside(address, &ranges[i]))
            return true;
    return false;
}

bool address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        return !inside_any((const uint8_t *)&in->sin_addr, closed4, sizeof(closed4) / sizeof(*closed4));
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)address;
        return inside(in->sin6_addr.s6_addr, &global6) &&
               !inside_any(in->sin6_addr.s6_addr, closed6, sizeof(closed6) / sizeof(*closed6));
    }
    return false;
}

/* ---- names ---- */

/* Names that are private by definition (RFC 6761, 6762, 8375, ICANN's .internal), or belong to such a
 * service. */
static const char *const closed_names[] = {
    "localhost", "local",     "localdomain", "internal", "intranet",
    "lan",       "home.arpa", "test",        "invalid",  "onion",
};

static bool is_under(struct str host, struct str name)
{
    if (host.n < name.n || !str_ieq(str_slice(host, host.n - name.n, host.n), name))
        return false;
    return host.n == name.n || host.p[host.n - name.n - 1] == '.';
}

static bool is_closed_name(struct str host)
{
    for (size_t i = 0; i < sizeof(closed_names) / sizeof(*closed_names); i++)
        if (is_under(host, str_of(closed_names[i])))
            return true;
    return str_find(host, '.') == host.n; /* one label: a name of this network */
}

/* The address that is written there: the forms of inet_aton too (2130706433, 0x7f.1), since resolvers take
 * them. */
static bool literal(struct str host, struct sockaddr_storage *ret)
{
    char text[TARGET_HOST_MAX + 1];
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    *ret = (struct sockaddr_storage){0};
    if (inet_aton(text, &in->sin_addr)) {
        ret->ss_family = AF_INET;
        return true;
    }
    ret->ss_family = AF_INET6;
    return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1;
}

static bool is_name(struct str host)
{
    for (size_t i = 0, label = 0; i < host.n; i++) {
        char c = host.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == '.' ? label == 0 : !letter && c != '_' && (c != '-' || label == 0))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return host.n > 0;
}

/* ---- URLs ---- */

/* Services that speak something else and could be talked into mischief by a request; and all below 1024. */
static const int closed_ports[] = {1433, 1521,  2049,  2375,  2376,  2379,  2380,  3306,  3389, 4369, 5432,
                                   5672, 5900,  5984,  6379,  6443,  6667,  7000,  7001,  9042, 9092, 9200,
                                   9300, 10250, 11211, 15672, 16379, 25672, 26379, 27017, 50070};

static bool is_open_port(int port)
{
    if (port < 1024)
        return port == 443;
    for (size_t i = 0; i < sizeof(closed_ports) / sizeof(*closed_ports); i++)
        if (port == closed_ports[i])
            return false;
    return true;
}

static err parse_port(struct str text, struct target *ret)
{
    int64_t port = 0;
    if (text.n == 0)
        return OK;
    if (failed(str_int64(text, &port)) || port < 1 || port > 65535)
        return FAIL(INVALID, "must have a port from 1 to 65535");
    ret->port = (int)port;
    return OK;
}

/* host, host:port, [v6] or [v6]:port */
static err parse_authority(struct str text, struct target *ret)
{
    struct sockaddr_storage address;
    if (str_find(text, '@') < text.n)
        return FAIL(INVALID, "must not name a user");
    size_t end = str_find(text, text.n && text.p[0] == '[' ? ']' : ':');
    bool bracket = text.n && text.p[0] == '[';
    if (bracket && end == text.n)
        return FAIL(INVALID, "must name a host");
    ret->host = str_slice(text, bracket, end);
    struct str rest = str_slice(text, bracket ? end + 1 : end, text.n);
    if (rest.n && rest.p[0] != ':')
        return FAIL(INVALID, "must name a host");
    if (ret->host.n == 0 || ret->host.n > TARGET_HOST_MAX)
        return FAIL(INVALID, "must name a host of at most %d characters", TARGET_HOST_MAX);
    bool is_literal = literal(ret->host, &address);
    if (bracket ? !is_literal || address.ss_family != AF_INET6 : !is_name(ret->host))
        return FAIL(INVALID, "must name a host");
    return rest.n ? parse_port(str_slice(rest, 1, rest.n), ret) : OK;
}

static err check_public(const struct target *target)
{
    struct sockaddr_storage address;
    if (!target->tls)
        return FAIL(INVALID, "must begin with https://");
    if (!is_open_port(target->port))
        return FAIL(INVALID, "must not use port %d", target->port);
    struct str host = target->host;
    if (host.p[host.n - 1] == '.')
        host.n--;
    bool is_public = literal(host, &address) ? address_is_public((struct sockaddr *)(void *)&address)
                                             : !is_closed_name(host);
    return is_public ? OK : FAIL(INVALID, "must not lead into a private network");
}

err target_read(struct str url, bool allow_private, struct target *ret)
{
    *ret = (struct target){.tls = str_starts(url, STR("https://"))};
    if (url.n > TARGET_URL_MAX)
        return FAIL(INVALID, "must have at most %d characters", TARGET_URL_MAX);
    if (!ret->tls && !str_starts(url, STR("http://")))
        return FAIL(INVALID, "must begin with https://");
    for (size_t i = 0; i < url.n; i++)
        if (url.p[i] <= ' ' || url.p[i] == 0x7f || url.p[i] == '#' || url.p[i] == '\\')
            return FAIL(INVALID, "must hold no blank, no fragment and no character beyond ASCII");
    ret->port = ret->tls ? 443 : 80;
    struct str rest = str_slice(url, ret->tls ? 8 : 7, url.n);
    size_t end = str_find(rest, '/'), query = str_find(rest, '?');
    TRY(parse_authority(str_slice(rest, 0, end < query ? end : query), ret));
    return allow_private ? OK : check_public(ret);
}

/* ---- resolving ---- */

static int by_getaddrinfo(const char *host, struct sockaddr_storage *ret, int n)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int known = 0;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return 0;
    for (struct addrinfo *a = found; a && known < n; a = a->ai_next)
        if (a->ai_addrlen <= sizeof(*ret))
            memcpy(&ret[known++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(found);
    return known;
}

target_resolver *target_resolve = by_getaddrinfo;

err target_check(struct str host)
{
    enum { MOST = 32 };
    char text[TARGET_HOST_MAX + 1];
    struct sockaddr_storage found[MOST];
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    int n = target_resolve(text, found, MOST);
    for (int i = 0; i < n; i++)
        if (!address_is_public((struct sockaddr *)(void *)&found[i]))
            return FAIL(INVALID, "must not lead into a private network");
    return OK;
}
