/* The questions of probe.h, over plain sockets: the supervisor links nothing. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "compose/home.h"
#include "compose/probe.h"

static const char *setting(const char *name, const char *fallback)
{
    const char *value = getenv(name);

    return value && *value ? value : fallback;
}

static int door_port(void)
{
    int port = atoi(setting("PORT", "8000"));

    if (port < 1 || port > 65535)
        die("PORT=%s is not a port", setting("PORT", ""));
    return port;
}

/* Where the door can be reached from here: the address it is bound to, loopback when bound to all. */
static const char *door_host(void)
{
    const char *bound = setting("BIND", "127.0.0.1");
    struct in_addr address;

    return inet_pton(AF_INET, bound, &address) == 1 && address.s_addr != 0 ? bound : "127.0.0.1";
}

const char *probe_url(void)
{
    static char url[60];

    snprintf(url, sizeof(url), "http://%s:%d", door_host(), door_port());
    return url;
}

/* Sends the request, reads until the other side closes, `enough` appears, or a second passes. Returns false
 * when nobody is there. */
static bool ask(const char *host, int port, const char *request, const char *enough, char *reply, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = 1};
    size_t n = 0;
    ssize_t r = -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, host, &address.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    reply[0] = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        r = send(fd, request, strlen(request), MSG_NOSIGNAL);
    while (r > 0 && n < size - 1 && (!enough || !strstr(reply, enough))) {
        r = recv(fd, reply + n, size - 1 - n, 0);
        n += r > 0 ? (size_t)r : 0;
        reply[n] = 0;
    }
    close(fd);
    return n > 0;
}

/* One that wants to know who asks answers that much when it answers at all, also while it still loads: our
 * programs know its password, and wait for the rest. */
bool probe_redis(int port)
{
    char reply[200];

    return ask("127.0.0.1", port, "PING\r\n", "\n", reply, sizeof(reply)) &&
           (strncmp(reply, "+PONG", 5) == 0 || strncmp(reply, "-NOAUTH", 7) == 0);
}

bool probe_postgres(const char *data)
{
    char name[80], text[1000];
    const char *line = text;

    snprintf(name, sizeof(name), "%s/postmaster.pid", data);
    home_read(name, text, sizeof(text));
    for (int i = 1; i < 8 && line; i++) { /* the eighth line is the state */
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return line && strncmp(line, "ready", 5) == 0;
}

int probe_health(char *body, size_t size)
{
    const char *hosts = setting("ALLOWED_HOSTS", "127.0.0.1");
    char request[300], reply[8192], *text;
    int named = (int)strcspn(hosts, ","), status = 0;

    if (strstr(hosts, "127.0.0.1") || strchr(hosts, '*')) {
        hosts = "127.0.0.1";
        named = 9;
    }
    snprintf(request, sizeof(request),
             "GET /health/detailed HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n",
             named < 200 ? named : 200, hosts);
    body[0] = 0;
    if (!ask(door_host(), door_port(), request, NULL, reply, sizeof(reply)))
        return 0;
    if (sscanf(reply, "HTTP/1.%*d %d", &status) != 1)
        return 0;
    text = strstr(reply, "\r\n\r\n");
    snprintf(body, size, "%s", text ? text + 4 : "");
    return status;
}

bool probe_port_is_free(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)door_port())};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool free_port;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)); /* connections in TIME_WAIT do not count */
    inet_pton(AF_INET, setting("BIND", "127.0.0.1"), &address.sin_addr);
    free_port = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return free_port;
}
