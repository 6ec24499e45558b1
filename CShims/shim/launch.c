// A clone that walks a plan, and what it reports.
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

/// Chooses the PID namespace that the next child is born in.
static int select_pid_namespace(const struct launch_request *request) {
  if (request->target >= 0) {
    shim.children_pid_namespace = -1;
    return setns(request->target, CLONE_NEWPID);
  }
  if (shim.children_pid_namespace == request->pid_namespace) return 0;
  shim.children_pid_namespace = -1;
  if (setns(request->pid_namespace, CLONE_NEWPID) < 0) return -1;
  shim.children_pid_namespace = request->pid_namespace;
  return 0;
}

/// Maps a plan privately and writable, because its walker turns offsets into pointers. MAP_FAILED with errno.
static uint8_t *map_plan(int fd, size_t *length) {
  struct stat status;
  if (fstat(fd, &status) < 0) return MAP_FAILED;
  if (status.st_size <= 0 || status.st_size > CSANDBOX_BYTES_MAX) {
    errno = EBADMSG;
    return MAP_FAILED;
  }
  *length = (size_t)status.st_size;
  // Populated at once: it is small, all of it is read, and the child copies these tables instead of faulting.
  uint8_t *plan = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (plan != MAP_FAILED && csandbox_validate(plan, *length) != 0) {
    (void)munmap(plan, *length);
    errno = EBADMSG;
    return MAP_FAILED;
  }
  return plan;
}

/// Whether a plan has a WAIT: a packet to one that has none would lie unread in its socket.
static bool plan_waits(const uint8_t *plan) {
  const struct csandbox_header *header = (const void *)plan;
  const struct csandbox_op *ops = (const void *)(plan + sizeof *header);
  for (unsigned i = 0; i < header->op_count; i++)
    if (ops[i].code == CSANDBOX_WAIT) return true;
  return false;
}

static pid_t clone_child(const struct launch_request *request, int *pidfd) {
  struct clone_args args = {
      .flags = CLONE_PIDFD | (request->new_pid_namespace ? CLONE_NEWPID : 0),
      .pidfd = (uint64_t)(uintptr_t)pidfd,
      .exit_signal = SIGCHLD,
  };
  if (request->cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (uint64_t)request->cgroup;
  }
  return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

/// Starts a child on its plan; its reports come to `ready`. 0, or an error number with nothing started.
int launch_child(
    struct launch *launch, const struct launch_request *request, void (*ready)(struct source *, uint32_t), pid_t *pid,
    int *pidfd) {
  static struct csandbox_child child;
  launch->source.fd = -1;
  launch->failed_err = 0;
  launch->failed_index = SHIM_NO_INDEX;
  launch->terminal = -1;
  size_t length = request->plan_length;
  uint8_t *plan = request->plan_bytes;
  if (plan == NULL) {
    plan = map_plan(request->plan, &length);
    if (plan == MAP_FAILED) return errno;
  } else if (csandbox_validate(plan, length) != 0) {
    return EBADMSG;
  }
  if (request->waits && !plan_waits(plan)) {
    if (plan != request->plan_bytes) (void)munmap(plan, length);
    return EBADMSG;
  }
  int ends[2] = {-1, -1};
  int err = 0;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 || select_pid_namespace(request) < 0) {
    err = errno;
    goto done;
  }
  // Before it asks: it does not wait then.
  if (!request->waits && plan_waits(plan) && send(ends[0], "", 1, MSG_NOSIGNAL) < 0) {
    err = errno;
    goto done;
  }
  child.plan = plan;
  child.report = ends[1];
  memcpy(child.stdio, request->stdio, sizeof child.stdio);
  memset(child.slots, 0xff, sizeof child.slots);
  child.slots[CSANDBOX_SLOT_SEED] = shim.seed;
  child.slots[CSANDBOX_SLOT_PROC] = shim.proc;
  child.slots[CSANDBOX_SLOT_TARGET] = request->target;
  child.slots[CSANDBOX_SLOT_USER] = shim.user;
  *pid = clone_child(request, pidfd);
  if (*pid == 0) csandbox_child_run(&child);
  if (*pid < 0) {
    err = errno;
  } else if (watch(&launch->source, ends[0], EPOLLIN, ready)) {
    ends[0] = -1;
  } else {
    // It cannot be watched, so it cannot be had: its exit is reaped as a stranger's.
    err = errno;
    (void)syscall(SYS_pidfd_send_signal, *pidfd, SIGKILL, NULL, 0);
    close_fd(pidfd);
  }
done:
  if (plan != request->plan_bytes) (void)munmap(plan, length);
  close_fd(&ends[0]);
  close_fd(&ends[1]);
  return err;
}

/// Takes one report. 1: taken, 0: none now, -1: the child has none to give any more.
static int read_report(struct launch *launch) {
  struct csandbox_report report;
  struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t count = recvmsg(launch->source.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  // It ended without having read that it may go on; what it said before is still to be read.
  if (count < 0 && errno == ECONNRESET) return 1;
  if (count <= 0) return -1;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
    close_fd(&launch->terminal);
    memcpy(&launch->terminal, CMSG_DATA(header), sizeof launch->terminal);
  }
  if (count != sizeof report) return 1;
  if (report.kind == CSANDBOX_REPORT_OOM_CLAMPED) launch->oom_clamped = true;
  if (report.kind == CSANDBOX_REPORT_FAILED && launch->failed_err == 0) {
    launch->failed_err = report.err == 0 ? EIO : report.err;
    launch->failed_index = report.index;
  }
  return 1;
}

/// Whether the child has left its plan, by exec or by failing. Closes the reports then.
bool read_reports(struct launch *launch) {
  if (launch->source.fd < 0) return true;
  int taken;
  do taken = read_report(launch);
  while (taken > 0);
  if (taken == 0) return false;
  close_source(&launch->source);
  return true;
}

/// Lets a child past its WAIT. False where it has ended.
bool go(struct launch *launch) {
  return launch->source.fd >= 0 && send(launch->source.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}
