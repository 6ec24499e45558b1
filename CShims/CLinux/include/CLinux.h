// Linux calls and constants that the Glibc module does not export: one call a function, -1 and errno like the call
// itself, no logic.
#ifndef CLINUX_H
#define CLINUX_H

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int clinux_openat2(int dirfd, const char *_Nonnull path, uint64_t flags, uint64_t mode, uint64_t resolve);
int clinux_setns(int fd, int nstype);
int clinux_unshare(int flags);
int clinux_pidfd_open(pid_t pid, unsigned int flags);
int clinux_pidfd_send_signal(int pidfd, int signal);
int clinux_close_range(unsigned int first, unsigned int last, unsigned int flags);
int clinux_memfd_create(const char *_Nonnull name, unsigned int flags);
int clinux_memfd_seal(int fd);
int clinux_renameat2(
    int olddir, const char *_Nonnull oldpath, int newdir, const char *_Nonnull newpath, unsigned int flags);
int clinux_fcntl_dupfd_cloexec(int fd, int minimum);
int clinux_mount(
    const char *_Nullable source, const char *_Nonnull target, const char *_Nullable type, unsigned long flags,
    const char *_Nullable data);
int clinux_umount2(const char *_Nonnull target, int flags);
int clinux_flock_exclusive_nonblocking(int fd);
int clinux_prctl(int option, unsigned long argument);
long clinux_getrandom(void *_Nonnull buffer, size_t length);
/// "ENOENT" for 2; NULL for what is no error number.
const char *_Nullable clinux_errno_name(int err);
/// Both ends close-on-exec: read end first.
int clinux_pipe(int ends[_Nonnull 2]);
struct clinux_space {
  uint64_t block_bytes, blocks, available_blocks, inodes, free_inodes, kind;
};
int clinux_statfs(const char *_Nonnull path, struct clinux_space *_Nonnull space);
/// The thread that calls dies with it; 0, or the error number as pthread calls give it.
int clinux_thread_start(void *_Nullable (*_Nonnull body)(void *_Nullable), void *_Nullable argument);
/// Waits for a child through its pidfd; fills the exit status as waitpid gives it. 1: reaped, 0: still running
/// (nohang).
int clinux_waitid_pidfd(int pidfd, int nohang, int *_Nonnull wait_status);
/// Sends `length` bytes and `count` descriptors over a unix socket; bytes sent, or -1.
ssize_t
clinux_sendmsg_fds(int socket, const void *_Nonnull bytes, size_t length, const int *_Nullable fds, size_t count);
/// Receives bytes and up to `capacity` descriptors (close-on-exec); `*count` is how many came. Bytes, 0 at the end, or
/// -1.
ssize_t clinux_recvmsg_fds(
    int socket, void *_Nonnull bytes, size_t length, int *_Nullable fds, size_t capacity, size_t *_Nonnull count);
/// Peer of a connected unix socket.
int clinux_peer_credentials(int socket, pid_t *_Nonnull pid, uid_t *_Nonnull uid, gid_t *_Nonnull gid);
/// A program started with descriptors 0, 1 and 2 as given (a -1 is /dev/null) and every other one closed, in its own
/// session when asked, and with `death_signal` (0: none) to come when the calling thread ends. Vfork-like, so that the
/// size of the caller does not matter.
struct clinux_spawn_result {
  pid_t pid;
  int pidfd;
  int err;
};
/// A user namespace with these maps (lines of "inside outside count"), and where asked for a network namespace that
/// belongs to it, as descriptors; -1 both where a step failed. Copies the caller's page tables once.
enum clinux_user_stage {
  CLINUX_USER_OK = 0,
  CLINUX_USER_PIPE,
  CLINUX_USER_CLONE,
  CLINUX_USER_UID_MAP,
  CLINUX_USER_GID_MAP,
  CLINUX_USER_OPEN,
};
struct clinux_user_namespace {
  int user;
  int network;
  int stage;
  int err;
};
struct clinux_user_namespace
clinux_user_namespace(const char *_Nonnull uid_map, const char *_Nonnull gid_map, int with_network);
/// Whether a namespace belongs to a user namespace: 1 or 0, or -1.
int clinux_namespace_belongs(int namespace, int user);
struct clinux_spawn_result clinux_spawn(
    const char *_Nonnull path, char *_Nullable const *_Nonnull argv, char *_Nullable const *_Nonnull envp,
    const int stdio[_Nonnull 3], const int *_Nullable extra, size_t extra_count, int new_session, int death_signal);

// Numbers of the kernel's own, which its headers show only to C with _GNU_SOURCE; linux.c checks each.
enum {
  CLINUX_RESOLVE_IN_ROOT = 0x10,
  CLINUX_RESOLVE_BENEATH = 0x08,
  CLINUX_RESOLVE_NO_SYMLINKS = 0x04,
  CLINUX_RESOLVE_NO_MAGICLINKS = 0x02,
  CLINUX_RESOLVE_NO_XDEV = 0x01,
  CLINUX_CLONE_NEWNET = 0x40000000,
  CLINUX_CLONE_NEWNS = 0x00020000,
  CLINUX_CLONE_NEWIPC = 0x08000000,
  CLINUX_CLONE_NEWUTS = 0x04000000,
  CLINUX_CLONE_NEWPID = 0x20000000,
  CLINUX_CLONE_NEWCGROUP = 0x02000000,
  CLINUX_CLONE_NEWUSER = 0x10000000,
  CLINUX_O_PATH = 010000000,
  CLINUX_O_TMPFILE = 020200000,
  CLINUX_AT_EMPTY_PATH = 0x1000,
  CLINUX_TMPFS_MAGIC = 0x01021994,
  CLINUX_OVERLAYFS_MAGIC = 0x794c7630,
  CLINUX_CGROUP2_MAGIC = 0x63677270,
  CLINUX_PROC_MAGIC = 0x9fa0,
};

#endif
