/* Stands between a process and its files below $MQ_IO_ROOT (LD_PRELOAD): numbers every change of them, writes each to
   $MQ_IO_LOG, and kills the process before the one that mq_arm named.

   A record: op, descriptor, offset or length, extra, bytes, then those bytes; all numbers are 64-bit, host order.
   O open (extra: 1 when it made the file; bytes: path)   W write   T truncate   S sync   C close
   U unlink (path)   L link (old path, 0, new path)   M mark (offset: the number given to mq_mark) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned char tracked[65536];
static int64_t points, kill_at;
static int log_fd = -2;

static int below(const char *path) {
    const char *root = getenv("MQ_IO_ROOT");
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static void record(char op, int64_t fd, int64_t offset, int64_t extra, const void *bytes, int64_t size) {
    if (log_fd == -2) {
        const char *path = getenv("MQ_IO_LOG");
        log_fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    }
    if (log_fd < 0) return;
    int64_t head[5] = {op, fd, offset, extra, size};
    syscall(SYS_write, log_fd, head, sizeof head);
    if (size) syscall(SYS_write, log_fd, bytes, (size_t)size);
}

static void point(void) {
    if (++points == kill_at) raise(SIGKILL);
}

void mq_arm(int64_t number) { points = 0; kill_at = number; }
int64_t mq_points(void) { return points; }
void mq_mark(int64_t number) { record('M', 0, number, 0, NULL, 0); }

static int opened(const char *path, int fd, int made) {
    if (fd >= 0 && fd < (int)sizeof tracked && below(path)) {
        tracked[fd] = 1;
        record('O', fd, 0, made, path, (int64_t)strlen(path));
    }
    return fd;
}

static int opening(const char *path, int flags, mode_t mode) {
    struct stat found;
    int made = (flags & O_CREAT) && below(path) && stat(path, &found) != 0;
    if (made) point();
    return opened(path, (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), made);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        return opening(path, flags, mode); }
OPEN(open)
OPEN(open64)

#define IS(fd) ((fd) >= 0 && (fd) < (int)sizeof tracked && tracked[fd])

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    if (IS(fd)) { point(); record('W', fd, at, 0, bytes, (int64_t)size); }
    return syscall(SYS_pwrite64, fd, bytes, size, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return pwrite64(fd, bytes, size, at); }

ssize_t write(int fd, const void *bytes, size_t size) {
    if (IS(fd)) { point(); record('W', fd, lseek(fd, 0, SEEK_CUR), 0, bytes, (int64_t)size); }
    return syscall(SYS_write, fd, bytes, size);
}

int ftruncate64(int fd, off64_t size) {
    if (IS(fd)) { point(); record('T', fd, size, 0, NULL, 0); }
    return (int)syscall(SYS_ftruncate, fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fsync(int fd) {
    if (IS(fd)) point();
    int done = (int)syscall(SYS_fsync, fd);
    if (IS(fd)) record('S', fd, 0, 0, NULL, 0);
    return done;
}

int fdatasync(int fd) {
    if (IS(fd)) point();
    int done = (int)syscall(SYS_fdatasync, fd);
    if (IS(fd)) record('S', fd, 0, 0, NULL, 0);
    return done;
}

int close(int fd) {
    if (IS(fd)) { record('C', fd, 0, 0, NULL, 0); tracked[fd] = 0; }
    return (int)syscall(SYS_close, fd);
}

int unlink(const char *path) {
    if (!below(path)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    point();
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (done == 0) record('U', 0, 0, 0, path, (int64_t)strlen(path));
    return done;
}

int link(const char *old, const char *new) {
    if (!below(new)) return (int)syscall(SYS_linkat, AT_FDCWD, old, AT_FDCWD, new, 0);
    point();
    int done = (int)syscall(SYS_linkat, AT_FDCWD, old, AT_FDCWD, new, 0);
    if (done == 0) {
        char both[8192];
        size_t first = strlen(old) + 1, second = strlen(new);
        if (first + second < sizeof both) {
            memcpy(both, old, first);
            memcpy(both + first, new, second);
            record('L', 0, 0, 0, both, (int64_t)(first + second));
        }
    }
    return done;
}
