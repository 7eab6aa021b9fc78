/* Stands between a server and the system (LD_PRELOAD), for the files under one folder.
 *
 *   SHIM_FOLDER   the folder; nothing else is looked at
 *   SHIM_LOG      where every change of a file or a name is recorded, in its order, with its bytes
 *   SHIM_FAULT    a file; while it is there its first word is the fault that is made:
 *                 erofs, enospc, eio (writes fail), syncio (syncs fail), hang (syncs wait until it goes)
 *
 *   SHIM_KILL     OP:TEXT:COUNT:WHEN: with the COUNT-th OP (write, sync, rename, unlink, create) on a name with TEXT in
 *                 it the process is killed as by SIGKILL: before it, at half of it (a write), or after it
 *
 * A record is 6 numbers of 8 bytes (op, inode, offset, length, bytes of name a, bytes of name b), the
 * names relative to the folder, and for a write its bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OP_CREATE = 1, OP_MKDIR, OP_RENAME, OP_UNLINK, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_RANGE };

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -2;
static const char *folder, *fault_file;

static void init(void) {
  if (log_fd != -2) return;
  folder = getenv("SHIM_FOLDER");
  fault_file = getenv("SHIM_FAULT");
  const char *path = getenv("SHIM_LOG");
  log_fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
}

static char kill_op[16], kill_text[64], kill_when[16];
static int kill_count = -1, kill_seen;

/* What is to happen at this operation: 0, or the first letter of before, half, after. */
static char kill_at(const char *op, const char *name) {
  if (kill_count < 0) {
    const char *text = getenv("SHIM_KILL");
    if (!text || sscanf(text, "%15[^:]:%63[^:]:%d:%15s", kill_op, kill_text, &kill_count, kill_when) != 4) kill_count = 0;
  }
  if (kill_count == 0 || strcmp(op, kill_op) != 0 || !strstr(name, kill_text)) return 0;
  return __sync_add_and_fetch(&kill_seen, 1) == kill_count ? kill_when[0] : 0;
}

static void die(void) {
  syscall(SYS_kill, syscall(SYS_getpid), 9);
  for (;;) syscall(SYS_pause);
}

/* The name below the folder, or null. */
static const char *below(const char *path) {
  init();
  if (!folder || !path) return NULL;
  size_t len = strlen(folder);
  if (strncmp(path, folder, len) != 0) return NULL;
  if (path[len] == 0) return "";
  return path[len] == '/' ? path + len + 1 : NULL;
}

static const char *below_at(int dir, const char *path, char *buffer) {
  init();
  if (!folder || !path) return NULL;
  if (path[0] == '/') return below(path);
  char link[64];
  ssize_t len;
  if (dir == AT_FDCWD) {
    if (!getcwd(buffer, PATH_MAX)) return NULL;
    len = strlen(buffer);
  } else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    len = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX);
    if (len < 0) return NULL;
  }
  snprintf(buffer + len, PATH_MAX - len, "/%s", path);
  return below(buffer);
}

/* The name of the file that `ours` found last. */
static __thread char path[PATH_MAX + 1];

/* The inode, if this is a file or a folder of ours; else 0. */
static uint64_t ours(int fd) {
  init();
  if (!folder) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX);
  if (len < 0) return 0;
  path[len] = 0;
  if (!below(path)) return 0;
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t inode(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 ? st.st_ino : 0;
}

/* Called under `order`. */
static void record(uint64_t op, uint64_t ino, uint64_t offset, uint64_t len, const char *a, const char *b, const void *data) {
  if (log_fd < 0) return;
  uint64_t head[6] = {op, ino, offset, len, a ? strlen(a) : 0, b ? strlen(b) : 0};
  struct iovec parts[4] = {{head, sizeof head}, {(void *)a, head[4]}, {(void *)b, head[5]}, {(void *)data, data ? len : 0}};
  size_t want = sizeof head + head[4] + head[5] + (data ? len : 0);
  if (syscall(SYS_writev, log_fd, parts, 4) != (ssize_t)want) {
    static const char text[] = "shim: the log could not be written\n";
    syscall(SYS_write, 2, text, sizeof text - 1);
    abort();
  }
}

/* Whether this fault is on. */
static int fault(const char *name) {
  init();
  if (!fault_file) return 0;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, fault_file, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  char text[16] = {0};
  ssize_t len = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  return len > 0 && strncmp(text, name, strlen(name)) == 0;
}

static int write_fault(void) {
  if (!fault_file) return 0;
  if (fault("erofs")) return EROFS;
  if (fault("enospc")) return ENOSPC;
  if (fault("eio")) return EIO;
  return 0;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(code) do { int c = (code); if (c) { errno = c; return -1; } } while (0)

static int opened(int dir, const char *path, int flags, int mode, int (*open_it)(int, const char *, int, int)) {
  char buffer[2 * PATH_MAX];
  const char *name = below_at(dir, path, buffer);
  if (!name || !(flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))) return open_it(dir, path, flags, mode);
  if ((flags & (O_CREAT | O_TRUNC)) != 0) FAIL(write_fault());
  pthread_mutex_lock(&order);
  struct stat st;
  int there = syscall(SYS_newfstatat, dir, path, &st, 0) == 0;
  char killed = !there && (flags & O_CREAT) ? kill_at("create", name) : 0;
  if (killed == 'b') die();
  int fd = open_it(dir, path, flags, mode);
  if (killed) die();
  int saved = errno;
  if (fd >= 0 && fstat(fd, &st) == 0) {
    if (!there && (flags & O_CREAT)) record(OP_CREATE, st.st_ino, 0, 0, name, NULL, NULL);
    else if (flags & O_TRUNC) record(OP_TRUNCATE, st.st_ino, 0, 0, NULL, NULL, NULL);
  }
  pthread_mutex_unlock(&order);
  errno = saved;
  return fd;
}

static int plain_open(int dir, const char *path, int flags, int mode) {
  long fd = syscall(SYS_openat, dir, path, flags, mode);
  return (int)fd;
}

static int mode_of(int flags, va_list list) { return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(list, int) : 0; }
#define OPEN(dir) va_list list; va_start(list, flags); int mode = mode_of(flags, list); va_end(list); return opened(dir, path, flags, mode, plain_open)
int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int dir, const char *path, int flags, ...) { OPEN(dir); }
int openat64(int dir, const char *path, int flags, ...) { OPEN(dir); }

static ssize_t written(int fd, const void *data, size_t len, off_t at, int positioned) {
  uint64_t ino = ours(fd);
  if (!ino) return positioned ? syscall(SYS_pwrite64, fd, data, len, at) : syscall(SYS_write, fd, data, len);
  FAIL(write_fault());
  pthread_mutex_lock(&order);
  if (!positioned) {
    struct stat st;
    int append = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
    at = append && fstat(fd, &st) == 0 ? st.st_size : lseek(fd, 0, SEEK_CUR);
  }
  char killed = kill_at("write", path);
  if (killed == 'b') die();
  if (killed == 'h') len /= 2;
  ssize_t done = positioned ? syscall(SYS_pwrite64, fd, data, len, at) : syscall(SYS_write, fd, data, len);
  if (killed) die();
  int saved = errno;
  if (done > 0) record(OP_WRITE, ino, at, done, NULL, NULL, data);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}
ssize_t write(int fd, const void *data, size_t len) { return written(fd, data, len, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t at) { return written(fd, data, len, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at) { return written(fd, data, len, at, 1); }

/* Would go unseen: whoever writes so must be seen here first. */
static int unseen(int fd, const char *name) {
  if (!ours(fd)) return 0;
  fprintf(stderr, "shim: %s is not recorded\n", name);
  abort();
}
ssize_t writev(int fd, const struct iovec *parts, int count) { unseen(fd, "writev"); return syscall(SYS_writev, fd, parts, count); }
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t len, unsigned flags) {
  if (ours(out)) { errno = EXDEV; return -1; }
  return syscall(SYS_copy_file_range, in, from, out, to, len, flags);
}

static int truncated(int fd, off_t len) {
  uint64_t ino = ours(fd);
  if (!ino) return (int)syscall(SYS_ftruncate, fd, len);
  FAIL(write_fault());
  pthread_mutex_lock(&order);
  int done = (int)syscall(SYS_ftruncate, fd, len);
  int saved = errno;
  if (done == 0) record(OP_TRUNCATE, ino, 0, len, NULL, NULL, NULL);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}
int ftruncate(int fd, off_t len) { return truncated(fd, len); }
int ftruncate64(int fd, off_t len) { return truncated(fd, len); }

static int synced(int fd, long call) {
  uint64_t ino = ours(fd);
  if (!ino) return (int)syscall(call, fd);
  if (fault("syncio")) { errno = EIO; return -1; }
  while (fault("hang")) usleep(10000);
  /* What counts is what was written before it began. */
  pthread_mutex_lock(&order);
  char killed = kill_at("sync", path);
  if (killed == 'b') die();
  int done = (int)syscall(call, fd);
  if (killed) die();
  int saved = errno;
  if (done == 0) record(OP_SYNC, ino, 0, 0, NULL, NULL, NULL);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }
int sync_file_range(int fd, off_t at, off_t len, unsigned flags) {
  uint64_t ino = ours(fd);
  if (!ino) return (int)syscall(SYS_sync_file_range, fd, at, len, flags);
  pthread_mutex_lock(&order);
  int done = (int)syscall(SYS_sync_file_range, fd, at, len, flags);
  int saved = errno;
  /* tmpfs does not know it; for the server it has worked. */
  if (done != 0 && (saved == ESPIPE || saved == EINVAL)) done = 0;
  if (done == 0) record(OP_RANGE, ino, at, len, NULL, NULL, NULL);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}

static int renamed(int a, const char *from, int b, const char *to) {
  char one[2 * PATH_MAX], two[2 * PATH_MAX];
  const char *old = below_at(a, from, one), *new = below_at(b, to, two);
  if (!old || !new) return (int)syscall(SYS_renameat, a, from, b, to);
  FAIL(write_fault());
  pthread_mutex_lock(&order);
  struct stat st = {0};
  syscall(SYS_newfstatat, a, from, &st, AT_SYMLINK_NOFOLLOW);
  char killed = kill_at("rename", new);
  if (killed == 'b') die();
  int done = (int)syscall(SYS_renameat, a, from, b, to);
  if (killed) die();
  int saved = errno;
  if (done == 0) record(OP_RENAME, st.st_ino, 0, 0, old, new, NULL);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to); }

static int unlinked(int dir, const char *path, int flags) {
  char buffer[2 * PATH_MAX];
  const char *name = below_at(dir, path, buffer);
  if (!name) return (int)syscall(SYS_unlinkat, dir, path, flags);
  FAIL(fault_file && fault("erofs") ? EROFS : 0);
  pthread_mutex_lock(&order);
  char killed = kill_at("unlink", name);
  if (killed == 'b') die();
  int done = (int)syscall(SYS_unlinkat, dir, path, flags);
  if (killed) die();
  int saved = errno;
  if (done == 0) record(OP_UNLINK, 0, 0, 0, name, NULL, NULL);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}
int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlinked(dir, path, flags); }
int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
  const char *name = below(path);
  if (!name) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  FAIL(write_fault());
  pthread_mutex_lock(&order);
  int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  int saved = errno;
  if (done == 0) record(OP_MKDIR, inode(path), 0, 0, name, NULL, NULL);
  pthread_mutex_unlock(&order);
  errno = saved;
  return done;
}
