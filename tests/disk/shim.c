/* A disk that fails as it is told: loaded before libc into every program of the exam.

   The first byte of the file $DISK_CONTROL says how, the rest (ended by 0) which folder it is:
   '-' well, 'F' no space, 'R' read-only, 'E' syncs fail, 'S' each sync takes 300 ms. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const volatile char *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_CONTROL");
    int file = path ? open(path, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) control = page;
    if (file >= 0) close(file);
}

static char path_mode(const char *path) {
    char mode = control ? control[0] : '-';
    const char *folder = (const char *)control + 1;
    return mode == '-' || strncmp(path, folder, strlen(folder)) != 0 ? 0 : mode;
}

static char file_mode(int file) {
    char name[64], path[4096];
    if (!control || control[0] == '-') return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return path_mode(path);
}

static int refuses(char mode) {
    if (mode != 'F' && mode != 'R') return 0;
    errno = mode == 'F' ? ENOSPC : EROFS;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *bytes, size_t length) {
    return refuses(file_mode(file)) ? -1 : REAL(write)(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
    return refuses(file_mode(file)) ? -1 : REAL(pwrite)(file, bytes, length, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    return refuses(file_mode(file)) ? -1 : REAL(pwrite64)(file, bytes, length, at);
}

static int sync_as_told(int file, int (*real)(int)) {
    char mode = file_mode(file);
    if (mode == 'S') usleep(300000);
    if (mode == 'E') {
        errno = EIO;
        return -1;
    }
    return real(file);
}

int fsync(int file) { return sync_as_told(file, REAL(fsync)); }

int fdatasync(int file) { return sync_as_told(file, REAL(fdatasync)); }

static int open_as_told(const char *path, int flags, mode_t mode, int (*real)(const char *, int, ...)) {
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (writes && path_mode(path) == 'R') {
        errno = EROFS;
        return -1;
    }
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return open_as_told(path, flags, mode, REAL(open));
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return open_as_told(path, flags, mode, REAL(open64));
}
