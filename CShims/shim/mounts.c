// The end of containers' mounts. The kernel takes a mount namespace apart when the last process of it ends, before that
// end is told to anybody: some hundred microseconds, or as long as a file system takes that has something to write
// back. So namespaces are kept, and let go of by a thread that nobody waits for but who wants a container gone.
//
// The thread has descriptors of its own: a clone would take copies of the shim's along, and a copy keeps a namespace.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

enum { STACK_BYTES = 64 * 1024, QUEUE_BYTES = 1 << 20, RETRY_MICROSECONDS = 1000 };

/// A pid says: keep its mount namespace. Without one: let go, and say the same number back.
struct order {
  uint64_t mounts;
  int32_t pid;
  uint32_t zero;
};

static struct source done;
static int orders = -1;  // the thread's end, in its own table and in the shim's
static bool is_started;

static struct kept {
  uint64_t mounts;
  int fd;
} kept[CONTAINERS_MAX];

/// The namespace of a process that is not reaped yet; -1 where it has ended or there is no room.
static void keep(const struct order *order, int pidfd) {
  size_t at = 0;
  while (at < CONTAINERS_MAX && kept[at].mounts != 0) at++;
  if (at == CONTAINERS_MAX) return;
  char path[32];
  (void)snprintf(path, sizeof path, "%d/ns/mnt", (int)order->pid);
  int fd = openat(shim.proc, path, O_RDONLY | O_CLOEXEC);
  // Still the process that was meant: its number is not another one's yet.
  if (fd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0)
    kept[at] = (struct kept){.mounts = order->mounts, .fd = fd};
  else
    close_fd(&fd);
}

static void let_go(uint64_t mounts) {
  for (size_t i = 0; i < CONTAINERS_MAX; i++) {
    if (kept[i].mounts != mounts) continue;
    kept[i].mounts = 0;
    close_fd(&kept[i].fd);
  }
}

static void close_others(void) {
  unsigned low = (unsigned)(orders < shim.proc ? orders : shim.proc);
  unsigned high = (unsigned)(orders < shim.proc ? shim.proc : orders);
  (void)syscall(SYS_close_range, 0U, low - 1, 0U);
  if (high > low + 1) (void)syscall(SYS_close_range, low + 1, high - 1, 0U);
  (void)syscall(SYS_close_range, high + 1, ~0U, 0U);
}

static void *obey(void *unused) {
  (void)unused;
  bool is_apart = unshare(CLONE_FILES) == 0;
  if (is_apart) close_others();
  for (;;) {
    struct order order;
    struct iovec part = {.iov_base = &order, .iov_len = sizeof order};
    union {
      struct cmsghdr header;
      char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t count = recvmsg(orders, &message, MSG_CMSG_CLOEXEC);
    if (count < 0) {
      // Out of memory, at worst: the order still lies there.
      (void)usleep(errno == EINTR ? 0 : RETRY_MICROSECONDS);
      continue;
    }
    if (count != sizeof order) return NULL;
    int pidfd = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) memcpy(&pidfd, CMSG_DATA(header), sizeof pidfd);
    if (order.pid > 0) {
      if (is_apart) keep(&order, pidfd);
    } else {
      let_go(order.mounts);
      while (send(orders, &order, sizeof order, MSG_NOSIGNAL) < 0) (void)usleep(RETRY_MICROSECONDS);
    }
    close_fd(&pidfd);
  }
}

static void done_ready(struct source *source, uint32_t events) {
  (void)events;
  struct order order;
  if (recv(source->fd, &order, sizeof order, MSG_DONTWAIT) == sizeof order) mounts_dissolved(order.mounts);
}

/// Starts the thread with the first container. Without it, containers take their mounts down themselves.
static bool start(void) {
  if (is_started) return done.fd >= 0;
  is_started = true;
  done.fd = -1;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return false;
  // Room for an order to keep and one to let go for each container there can be.
  int bytes = QUEUE_BYTES;
  for (int i = 0; i < 2; i++) (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  orders = ends[1];
  pthread_attr_t attributes;
  pthread_t thread;
  bool ok = pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
            pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
            watch(&done, ends[0], EPOLLIN, done_ready);
  if (ok && pthread_create(&thread, &attributes, obey, NULL) == 0) return true;
  if (done.fd >= 0) unwatch(&done);
  done.fd = -1;
  (void)close(ends[0]);
  (void)close(ends[1]);
  return false;
}

static bool give(const struct order *order, int pidfd) {
  struct iovec part = {.iov_base = (void *)order, .iov_len = sizeof *order};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (pidfd >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &pidfd, sizeof pidfd);
  }
  return sendmsg(done.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof *order;
}

/// Keeps the mount namespace that a child is in. What it is kept as, or 0.
uint64_t keep_mounts(pid_t pid, int pidfd) {
  static uint64_t last;
  if (!start()) return 0;
  struct order order = {.mounts = ++last, .pid = (int32_t)pid};
  return give(&order, pidfd) ? order.mounts : 0;
}

/// Begins to let go of one. Whether `mounts_dissolved` will be called.
bool dissolve_mounts(uint64_t mounts) {
  struct order order = {.mounts = mounts};
  return give(&order, -1);
}
