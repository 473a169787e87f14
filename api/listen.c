/* Sockets to listen on: one per loop on the same address and port, shared out by the kernel (SO_REUSEPORT).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/loop.h"

struct address {
    struct sockaddr_storage any;
    socklen_t n;
};

static err parse_address(const char *text, int port, struct address *ret)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&ret->any;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&ret->any;

    memset(ret, 0, sizeof(*ret));
    if (uv_ip4_addr(text, port, four) == 0) {
        ret->n = sizeof(*four);
        return OK;
    }
    if (uv_ip6_addr(text, port, six) == 0) {
        ret->n = sizeof(*six);
        return OK;
    }
    return FAIL(CONFIG, "BIND: %s is not an IP address", text);
}

static int port_of(int fd)
{
    struct sockaddr_storage any;
    socklen_t n = sizeof(any);

    if (getsockname(fd, (struct sockaddr *)&any, &n) < 0)
        return 0;
    return ntohs(any.ss_family == AF_INET ? ((struct sockaddr_in *)&any)->sin_port
                                          : ((struct sockaddr_in6 *)&any)->sin6_port);
}

err listen_bind(const char *address, int *port, int *ret_fd)
{
    struct address to;
    int fd, on = 1;

    TRY(parse_address(address, *port, &to));
    fd = socket(to.any.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return FAIL(UNAVAILABLE, "no socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&to.any, to.n) < 0) {
        int why = errno;

        close(fd);
        return FAIL(UNAVAILABLE, "cannot listen on %s port %d: %s", address, *port, strerror(why));
    }
    *port = port_of(fd);
    *ret_fd = fd;
    return OK;
}
