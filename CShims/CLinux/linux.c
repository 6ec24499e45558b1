#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

_Static_assert(CLINUX_RESOLVE_IN_ROOT == RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT");
_Static_assert(CLINUX_RESOLVE_BENEATH == RESOLVE_BENEATH, "RESOLVE_BENEATH");
_Static_assert(CLINUX_RESOLVE_NO_SYMLINKS == RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS");
_Static_assert(CLINUX_RESOLVE_NO_MAGICLINKS == RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS");
_Static_assert(CLINUX_RESOLVE_NO_XDEV == RESOLVE_NO_XDEV, "RESOLVE_NO_XDEV");
_Static_assert(CLINUX_CLONE_NEWNET == CLONE_NEWNET, "CLONE_NEWNET");
_Static_assert(CLINUX_CLONE_NEWNS == CLONE_NEWNS, "CLONE_NEWNS");
_Static_assert(CLINUX_CLONE_NEWIPC == CLONE_NEWIPC, "CLONE_NEWIPC");
_Static_assert(CLINUX_CLONE_NEWUTS == CLONE_NEWUTS, "CLONE_NEWUTS");
_Static_assert(CLINUX_CLONE_NEWPID == CLONE_NEWPID, "CLONE_NEWPID");
_Static_assert(CLINUX_CLONE_NEWCGROUP == CLONE_NEWCGROUP, "CLONE_NEWCGROUP");
_Static_assert(CLINUX_CLONE_NEWUSER == CLONE_NEWUSER, "CLONE_NEWUSER");
_Static_assert(CLINUX_O_PATH == O_PATH, "O_PATH");
_Static_assert(CLINUX_O_TMPFILE == O_TMPFILE, "O_TMPFILE");
_Static_assert(CLINUX_AT_EMPTY_PATH == AT_EMPTY_PATH, "AT_EMPTY_PATH");

int clinux_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
  return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

int clinux_setns(int fd, int nstype) { return setns(fd, nstype); }
int clinux_unshare(int flags) { return unshare(flags); }
int clinux_pidfd_open(pid_t pid, unsigned int flags) { return (int)syscall(SYS_pidfd_open, pid, flags); }
int clinux_pidfd_send_signal(int pidfd, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}
int clinux_close_range(unsigned int first, unsigned int last, unsigned int flags) {
  return (int)syscall(SYS_close_range, first, last, flags);
}
int clinux_memfd_create(const char *name, unsigned int flags) { return memfd_create(name, flags); }
int clinux_memfd_seal(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
}
int clinux_renameat2(int olddir, const char *oldpath, int newdir, const char *newpath, unsigned int flags) {
  return renameat2(olddir, oldpath, newdir, newpath, flags);
}
int clinux_fcntl_dupfd_cloexec(int fd, int minimum) { return fcntl(fd, F_DUPFD_CLOEXEC, minimum); }
int clinux_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  return mount(source, target, type, flags, data);
}
int clinux_umount2(const char *target, int flags) { return umount2(target, flags); }
int clinux_flock_exclusive_nonblocking(int fd) { return flock(fd, LOCK_EX | LOCK_NB); }
int clinux_prctl(int option, unsigned long argument) { return prctl(option, argument, 0, 0, 0); }
long clinux_getrandom(void *buffer, size_t length) { return getrandom(buffer, length, 0); }

const char *clinux_errno_name(int err) { return strerrorname_np(err); }
int clinux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int clinux_statfs(const char *path, struct clinux_space *space) {
  struct statfs info;
  if (statfs(path, &info) < 0) {
    return -1;
  }
  *space = (struct clinux_space){
      .block_bytes = (uint64_t)info.f_bsize,
      .blocks = info.f_blocks,
      .available_blocks = info.f_bavail,
      .inodes = info.f_files,
      .free_inodes = info.f_ffree,
      .kind = (uint64_t)info.f_type};
  return 0;
}

int clinux_thread_start(void *(*body)(void *), void *argument) {
  pthread_attr_t attributes;
  int err = pthread_attr_init(&attributes);
  if (err != 0) {
    return err;
  }
  pthread_t thread;
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  err = pthread_create(&thread, &attributes, body, argument);
  (void)pthread_attr_destroy(&attributes);
  return err;
}

int clinux_waitid_pidfd(int pidfd, int nohang, int *wait_status) {
  siginfo_t info = {0};
  if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | (nohang ? WNOHANG : 0)) < 0) {
    return -1;
  }
  if (info.si_pid == 0) {
    return 0;
  }
  switch (info.si_code) {
  case CLD_EXITED:
    *wait_status = (info.si_status & 0xff) << 8;
    break;
  case CLD_DUMPED:
    *wait_status = (info.si_status & 0x7f) | 0x80;
    break;
  default:
    *wait_status = info.si_status & 0x7f;
    break;
  }
  return 1;
}

enum { MAX_DESCRIPTORS = 16 };

ssize_t clinux_sendmsg_fds(int socket, const void *bytes, size_t length, const int *fds, size_t count) {
  if (count > MAX_DESCRIPTORS) {
    errno = EINVAL;
    return -1;
  }
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
  } control;
  memset(&control, 0, sizeof control);
  struct iovec vector = {.iov_base = (void *)bytes, .iov_len = length};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = control.space;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL);
}

ssize_t clinux_recvmsg_fds(int socket, void *bytes, size_t length, int *fds, size_t capacity, size_t *count) {
  *count = 0;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int) * MAX_DESCRIPTORS)];
  } control;
  struct iovec vector = {.iov_base = bytes, .iov_len = length};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
  ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) {
    return -1;
  }
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    size_t came = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < came; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      if (*count < capacity) {
        fds[(*count)++] = fd;
      } else {
        (void)close(fd);
      }
    }
  }
  return received;
}

int clinux_peer_credentials(int socket, pid_t *pid, uid_t *uid, gid_t *gid) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) {
    return -1;
  }
  *pid = credentials.pid;
  *uid = credentials.uid;
  *gid = credentials.gid;
  return 0;
}
