/* Two loops, work on the pool and a drain under ThreadSanitizer: loops share nothing but counters and the
 * end. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/little.h"

enum { CLIENTS = 4, ROUNDS = 100 };

static int port;

/* raw_read has one buffer for all; a thread needs its own. */
static size_t read_until_close(int fd, char *p, size_t room)
{
    size_t n = 0;
    ssize_t got;

    while (n < room - 1 && (got = recv(fd, p + n, room - 1 - n, 0)) > 0)
        n += (size_t)got;
    p[n] = '\0';
    return n;
}

static void *ask(void *data)
{
    static const char *const asks[] = {"/ok", "/hot", "/later?ms=1", "/work", "/stream?n=50", "/nowhere"};
    char answer[8192], text[128];

    (void)data;
    for (int i = 0; i < ROUNDS; i++) {
        int fd = raw_connect(port);

        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                 asks[i % (int)(sizeof(asks) / sizeof(*asks))]);
        raw_say(fd, text);
        if (read_until_close(fd, answer, sizeof(answer)) == 0 || raw_status(answer) == 0)
            abort();
        close(fd);
    }
    return NULL;
}

int main(void)
{
    struct server *server = little_start(2);
    pthread_t threads[CLIENTS];

    port = server_port(server);
    for (int i = 0; i < CLIENTS; i++)
        if (pthread_create(&threads[i], NULL, ask, NULL) != 0)
            abort();
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    server_drain(server);
    server_stop(server);
    return 0;
}
