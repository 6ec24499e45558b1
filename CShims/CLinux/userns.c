// A user namespace with its maps written, and a network namespace that belongs to it.
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/// A file of a process, opened before anything else can have its number: the process is a child that waits.
static int open_of(pid_t pid, const char *name, int flags) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  return open(path, flags | O_CLOEXEC);
}

static int write_map(pid_t pid, const char *name, const char *map) {
  int fd = open_of(pid, name, O_WRONLY);
  if (fd < 0) return -1;
  // In one piece: the kernel takes a map once.
  ssize_t written = write(fd, map, strlen(map));
  int err = errno;
  (void)close(fd);
  errno = err;
  return written < 0 ? -1 : 0;
}

struct clinux_user_namespace clinux_user_namespace(const char *uid_map, const char *gid_map, int with_network) {
  struct clinux_user_namespace made = {.user = -1, .network = -1, .stage = CLINUX_USER_PIPE};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) {
    made.err = errno;
    return made;
  }
  made.stage = CLINUX_USER_CLONE;
  int pidfd = -1;
  struct clone_args args = {
      .flags = CLONE_NEWUSER | CLONE_PIDFD | (with_network ? CLONE_NEWNET : 0),
      .pidfd = (uint64_t)(uintptr_t)&pidfd,
      .exit_signal = SIGCHLD};
  pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    // Nothing but waiting until the parent has what it wants, or is gone. It keeps nothing else open: with the writing
    // end of another child's pipe, which another thread makes meanwhile, the two would wait for each other.
    char byte;
    if (ends[0] > 0) (void)syscall(SYS_close_range, 0U, (unsigned int)ends[0] - 1U, 0U);
    (void)syscall(SYS_close_range, (unsigned int)ends[0] + 1U, ~0U, 0U);
    (void)read(ends[0], &byte, 1);
    _exit(0);
  }
  if (pid > 0) {
    made.stage = CLINUX_USER_UID_MAP;
    if (write_map(pid, "uid_map", uid_map) == 0) made.stage = CLINUX_USER_GID_MAP;
    if (made.stage == CLINUX_USER_GID_MAP && write_map(pid, "gid_map", gid_map) == 0) made.stage = CLINUX_USER_OPEN;
    if (made.stage == CLINUX_USER_OPEN) {
      made.user = open_of(pid, "ns/user", O_RDONLY);
      if (made.user >= 0 && with_network) made.network = open_of(pid, "ns/net", O_RDONLY);
      if (made.user >= 0 && (!with_network || made.network >= 0)) made.stage = CLINUX_USER_OK;
    }
  }
  made.err = made.stage == CLINUX_USER_OK ? 0 : errno;
  (void)close(ends[0]);
  (void)close(ends[1]);
  if (pid > 0) {
    int ignored;
    (void)clinux_waitid_pidfd(pidfd, 0, &ignored);
    (void)close(pidfd);
  }
  if (made.stage != CLINUX_USER_OK && made.user >= 0) {
    (void)close(made.user);
    made.user = -1;
  }
  return made;
}

int clinux_namespace_belongs(int namespace, int user) {
  struct stat owner_status;
  struct stat user_status;
  int owner = ioctl(namespace, NS_GET_USERNS);
  if (owner < 0) return -1;
  int result = fstat(owner, &owner_status) < 0 || fstat(user, &user_status) < 0 ? -1 : 0;
  int err = errno;
  (void)close(owner);
  errno = err;
  if (result < 0) return -1;
  return owner_status.st_ino == user_status.st_ino && owner_status.st_dev == user_status.st_dev;
}
