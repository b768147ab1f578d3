/* A disk that is slow to sync, or cannot: for an agent that has this by LD_PRELOAD. What it is now, is in the file that TORTURE_DISK names:
 * "slow MILLISECONDS" or "fails"; no such file: it is well. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int synced(long call, int fd)
{
    const char *path = getenv("TORTURE_DISK");
    FILE *file = path ? fopen(path, "re") : NULL;
    char word[8] = "";
    long millis = 0;
    if (file) {
        int words = fscanf(file, "%7s %ld", word, &millis);
        fclose(file);
        if (words >= 1 && word[0] == 'f') {
            errno = EIO;
            return -1;
        }
    }
    struct timespec time = {millis / 1000, millis % 1000 * 1000000};
    nanosleep(&time, NULL);
    return syscall(call, fd);
}

int fsync(int fd)
{
    return synced(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return synced(SYS_fdatasync, fd);
}
