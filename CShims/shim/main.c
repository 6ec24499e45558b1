// The start of a shim: into its cgroup and namespaces, then into its loop. The daemon gives the socket as descriptor 3
// and, over it, the configuration.
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

enum { PROCFS_MAGIC = 0x9fa0, SOCKET = 3, FDS = 5 };

struct shim shim = {.user = -1, .pod_pid_namespace = -1, .reaper = -1};

_Noreturn static void fail(uint32_t stage) {
  struct shim_message hello = {.kind = SHIM_HELLO, .err = errno == 0 ? EIO : errno, .index = stage};
  if (shim.reaper > 0) (void)kill(shim.reaper, SIGKILL);
  (void)send(SOCKET, &hello, sizeof hello, MSG_NOSIGNAL);
  _exit(1);
}

struct setup {
  struct shim_config config;
  const char *text;
  int network;
  int cgroup;
};

static void receive_config(struct setup *setup) {
  static char bytes[SHIM_CONFIG_BYTES_MAX];
  struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * FDS)];
  } control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t count = recvmsg(SOCKET, &message, MSG_CMSG_CLOEXEC);
  struct cmsghdr *header = count < 0 ? NULL : CMSG_FIRSTHDR(&message);
  errno = EBADMSG;
  if (header == NULL || header->cmsg_type != SCM_RIGHTS || (size_t)count < sizeof setup->config)
    fail(SHIM_STAGE_CONFIG);
  memcpy(&setup->config, bytes, sizeof setup->config);
  setup->text = bytes + sizeof setup->config;
  size_t rest = (size_t)count - sizeof setup->config;
  if (rest != setup->config.text_bytes || (rest > 0 && setup->text[rest - 1] != '\0')) fail(SHIM_STAGE_CONFIG);
  setup->config.hostname[SHIM_NAME_BYTES - 1] = setup->config.domainname[SHIM_NAME_BYTES - 1] = '\0';
  int fds[FDS] = {-1, -1, -1, -1, -1};
  memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
  int next = 2;
  shim.directory = fds[0];
  shim.seed = fds[1];
  setup->network = setup->config.flags & SHIM_CONFIG_NETWORK ? fds[next++] : -1;
  setup->cgroup = setup->config.flags & SHIM_CONFIG_CGROUP ? fds[next++] : -1;
  shim.user = setup->config.flags & SHIM_CONFIG_USER ? fds[next] : -1;
}

/// Goes on in a child that is born in the pod's cgroup; the process that the daemon started ends. Moving oneself would
/// wait for every fork on the machine.
static void enter_cgroup(int cgroup) {
  struct clone_args args = {.exit_signal = SIGCHLD};
  if (cgroup >= 0) {
    args.flags = CLONE_INTO_CGROUP;
    args.cgroup = (uint64_t)cgroup;
  }
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) fail(SHIM_STAGE_CGROUP);
  if (pid > 0) _exit(0);
  if (cgroup >= 0) (void)close(cgroup);
}

/// Opens procfs and the null device and makes sure that they are what they are called.
static void open_known_files(void) {
  struct statfs kind;
  struct stat status;
  shim.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (shim.proc < 0 || fstatfs(shim.proc, &kind) < 0 || fstat(shim.proc, &status) < 0) fail(SHIM_STAGE_PROCFS);
  errno = ENODEV;
  if (kind.f_type != PROCFS_MAGIC || status.st_ino != 1) fail(SHIM_STAGE_PROCFS);
  shim.null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (shim.null < 0 || fstat(shim.null, &status) < 0) fail(SHIM_STAGE_PROCFS);
  errno = ENODEV;
  if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) fail(SHIM_STAGE_PROCFS);
  shim.own_pid_namespace = openat(shim.proc, "self/ns/pid", O_RDONLY | O_CLOEXEC);
  if (shim.own_pid_namespace < 0) fail(SHIM_STAGE_PROCFS);
  shim.children_pid_namespace = shim.own_pid_namespace;
}

/// In a child: into the user namespace, and there into new ones, which belong to it.
_Noreturn static void hold_namespaces(int apart, int ready, int done) {
  bool ok = setns(shim.user, CLONE_NEWUSER) == 0 && unshare(apart) == 0;
  int err = ok ? 0 : errno;
  char byte;
  (void)write(ready, &err, sizeof err);
  (void)read(done, &byte, 1);
  _exit(0);
}

static bool join_namespace(pid_t pid, const char *name, int kind) {
  char path[32];
  (void)snprintf(path, sizeof path, "%d/ns/%s", (int)pid, name);
  int fd = openat(shim.proc, path, O_RDONLY | O_CLOEXEC);
  bool ok = fd >= 0 && setns(fd, kind) == 0;
  int err = errno;
  if (fd >= 0) (void)close(fd);
  errno = err;
  return ok;
}

/// New namespaces that belong to the pod's user namespace. The shim itself stays outside of that, and may go
/// everywhere.
static bool unshare_owned(int apart) {
  int ready[2];
  int done[2];
  if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0) return false;
  struct clone_args args = {.exit_signal = SIGCHLD};
  pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) return false;
  if (pid == 0) {
    (void)close(done[1]);
    hold_namespaces(apart, ready[1], done[0]);
  }
  (void)close(ready[1]);
  int err = EIO;
  if (read(ready[0], &err, sizeof err) < 0) err = errno;
  errno = err;
  bool ok = err == 0 && (!(apart & CLONE_NEWIPC) || join_namespace(pid, "ipc", CLONE_NEWIPC)) &&
            (!(apart & CLONE_NEWUTS) || join_namespace(pid, "uts", CLONE_NEWUTS));
  err = errno;
  (void)close(ready[0]);
  (void)close(done[0]);
  (void)close(done[1]);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
  errno = err;
  return ok;
}

static void enter_namespaces(const struct setup *setup) {
  if (setup->network >= 0) {
    if (setns(setup->network, CLONE_NEWNET) < 0) fail(SHIM_STAGE_NETWORK);
    (void)close(setup->network);
  }
  uint32_t flags = setup->config.flags;
  int apart = (flags & SHIM_CONFIG_IPC ? CLONE_NEWIPC : 0) | (flags & SHIM_CONFIG_UTS ? CLONE_NEWUTS : 0);
  if (apart != 0 && !(shim.user >= 0 ? unshare_owned(apart) : unshare(apart) == 0)) fail(SHIM_STAGE_UNSHARE);
  const char *name = setup->config.hostname;
  if (name[0] != '\0' && sethostname(name, strlen(name)) < 0) fail(SHIM_STAGE_HOSTNAME);
  name = setup->config.domainname;
  if (name[0] != '\0' && setdomainname(name, strlen(name)) < 0) fail(SHIM_STAGE_DOMAINNAME);
}

static int write_proc(const char *path, const char *text) {
  int fd = openat(shim.proc, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  ssize_t written = write(fd, text, strlen(text));
  int err = errno;
  (void)close(fd);
  errno = err;
  return written < 0 ? -1 : 0;
}

/// Pairs of a path below sys, and a value, which the daemon has checked.
static void set_sysctls(const struct setup *setup) {
  const char *at = setup->text;
  const char *end = at + setup->config.text_bytes;
  for (uint32_t i = 0; i < setup->config.sysctl_count; i++) {
    char path[256];
    const char *value = at + strlen(at) + 1;
    errno = EBADMSG;
    if (value >= end || (size_t)snprintf(path, sizeof path, "sys/%s", at) >= sizeof path) fail(SHIM_STAGE_SYSCTL + i);
    if (write_proc(path, value) < 0) fail(SHIM_STAGE_SYSCTL + i);
    at = value + strlen(value) + 1;
    if (at >= end && i + 1 < setup->config.sysctl_count) fail(SHIM_STAGE_SYSCTL + i);
  }
}

/// A seed of the pod's own, with the /dev/shm that its containers share mounted on it. The shim itself comes back.
static void add_shared_memory(uint64_t bytes) {
  int home = openat(shim.proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC);
  char size[24];
  (void)snprintf(size, sizeof size, "%llu", (unsigned long long)bytes);
  int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
  bool ok = home >= 0 && context >= 0 && fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
            fsconfig(context, FSCONFIG_SET_STRING, "mode", "1777", 0) == 0 &&
            fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0;
  int mount = ok ? fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) : -1;
  ok = mount >= 0 && setns(shim.seed, CLONE_NEWNS) == 0 && unshare(CLONE_NEWNS) == 0 &&
       move_mount(mount, "", AT_FDCWD, "/shm", MOVE_MOUNT_F_EMPTY_PATH) == 0;
  int seed = ok ? openat(shim.proc, "self/ns/mnt", O_RDONLY | O_CLOEXEC) : -1;
  if (seed < 0 || setns(home, CLONE_NEWNS) < 0) fail(SHIM_STAGE_SHM);
  (void)close(context);
  (void)close(mount);
  (void)close(home);
  (void)close(shim.seed);
  shim.seed = seed;
}

static void children_ready(struct source *source, uint32_t events) {
  (void)events;
  struct signalfd_siginfo info;
  (void)read(source->fd, &info, sizeof info);
  children_changed();
}

static void open_events(void) {
  sigset_t signals;
  (void)sigemptyset(&signals);
  (void)sigaddset(&signals, SIGCHLD);
  shim.epoll = epoll_create1(EPOLL_CLOEXEC);
  int children = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (shim.epoll < 0 || children < 0 || !watch(&shim.children, children, EPOLLIN, children_ready))
    fail(SHIM_STAGE_EVENTS);
}

/// Signals are for its containers: the shim ends only when it is told to, or by SIGKILL.
static void set_process_attributes(void) {
  sigset_t all;
  (void)sigfillset(&all);
  (void)sigprocmask(SIG_SETMASK, &all, NULL);
  (void)setsid();
  (void)chdir("/");
  (void)umask(0077);
  (void)prctl(PR_SET_NAME, "martlet-shim", 0, 0, 0);
  // A container's process may come to see a child of ours before its exec: nothing of us shall be read or traced.
  (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  // Containers inherit this keyring and not the session's of whoever started the daemon.
  (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

static void set_oom_score(int score) {
  char text[16];
  (void)snprintf(text, sizeof text, "%d", score);
  // Without CAP_SYS_RESOURCE it may not go below what it has; then it stays there.
  if (write_proc("self/oom_score_adj", text) < 0 && errno != EACCES && errno != EPERM) fail(SHIM_STAGE_OOM_SCORE);
}

int main(void) {
  struct setup setup;
  (void)fcntl(SOCKET, F_SETFD, FD_CLOEXEC);
  receive_config(&setup);
  enter_cgroup(setup.cgroup);
  set_process_attributes();
  open_known_files();
  enter_namespaces(&setup);
  set_oom_score(setup.config.oom_score);
  set_sysctls(&setup);
  add_shared_memory(setup.config.shm_bytes);
  if (setup.config.flags & SHIM_CONFIG_REAPER) {
    errno = start_reaper();
    if (errno != 0) fail(SHIM_STAGE_REAPER);
  }
  open_events();
  if (!open_listener()) fail(SHIM_STAGE_SOCKET);
  if (!add_client(SOCKET)) fail(SHIM_STAGE_EVENTS);
  run_loop();
}
