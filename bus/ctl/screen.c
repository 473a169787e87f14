#include "bus/ctl/screen.h"

#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool begun;

bool screen_is_there(void)
{
    return isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
}

/* Signals stay on: Ctrl-C is a signal, and the verb's loop ends by it as by q. */
void screen_begin(void)
{
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return;
    struct termios raw = before;
    raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    begun = true;
    fputs("\033[?1049h\033[?25l", stdout); /* the other screen, no cursor */
    fflush(stdout);
}

void screen_end(void)
{
    if (!begun)
        return;
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    begun = false;
}

void screen_size(int *ret_lines, int *ret_columns)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col;
    *ret_lines = known ? size.ws_row : 24;
    *ret_columns = known ? size.ws_col : 80;
}

/* Line by line with "clear to the end of the line", so that nothing flickers. */
void screen_show(struct str picture)
{
    int lines, columns;
    screen_size(&lines, &columns);
    fputs("\033[H", stdout);
    for (int line = 0; line < lines && picture.n; line++) {
        size_t end = str_find(picture, '\n');
        int n = (int)(end < (size_t)columns ? end : (size_t)columns);
        printf("%.*s\033[K%s", n, picture.p, line + 1 < lines ? "\r\n" : "");
        picture = str_slice(picture, end < picture.n ? end + 1 : end, picture.n);
    }
    fputs("\033[J", stdout);
    fflush(stdout);
}

int screen_key(int wait_ms)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char key;
    if (poll(&in, 1, wait_ms) <= 0)
        return 0;
    return read(STDIN_FILENO, &key, 1) == 1 ? key : 'q'; /* the terminal is gone */
}
