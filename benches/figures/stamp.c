/* The measured command: tells CLOCK_MONOTONIC to a FIFO as its first act.
 *   stamp FIFO TAG hold      then lives until a signal ends it
 *   stamp FIFO TAG exit MS   then lives that long, tells once more, and ends
 * One write a line, so that lines of many do not mix: `S TAG NS` at the start, `X TAG NS` at the end. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void say(const char *fifo, char kind, const char *tag, unsigned long long ns) {
    char line[160];
    int length = snprintf(line, sizeof line, "%c %s %llu\n", kind, tag, ns);
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, line, length) != length) _exit(3);
    close(fd);
}

int main(int count, char **words) {
    unsigned long long first = now();
    if (count < 4) return 2;
    say(words[1], 'S', words[2], first);
    if (strcmp(words[3], "exit") != 0) for (;;) pause();
    long ms = count > 4 ? atol(words[4]) : 0;
    struct timespec life = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&life, NULL);
    say(words[1], 'X', words[2], now());
    return 0;
}
