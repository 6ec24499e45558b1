#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

/// Watches a descriptor, which the source owns from now on. False with errno: the source is as it was.
bool watch(struct source *source, int fd, uint32_t events, void (*ready)(struct source *, uint32_t)) {
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (epoll_ctl(shim.epoll, EPOLL_CTL_ADD, fd, &event) < 0) return false;
  source->fd = fd;
  source->ready = ready;
  source->interest = events;
  return true;
}

void rewatch(struct source *source, uint32_t events) {
  if (source->interest == events) return;
  struct epoll_event event = {.events = events, .data.ptr = source};
  if (epoll_ctl(shim.epoll, EPOLL_CTL_MOD, source->fd, &event) == 0) source->interest = events;
}

void unwatch(struct source *source) { (void)epoll_ctl(shim.epoll, EPOLL_CTL_DEL, source->fd, NULL); }

void close_source(struct source *source) {
  if (source->fd < 0) return;
  // A copy of the descriptor in some child would keep a closed one in the epoll.
  unwatch(source);
  close_fd(&source->fd);
}

void close_fd(int *fd) {
  if (*fd >= 0) (void)close(*fd);
  *fd = -1;
}

static int64_t clock_ns(clockid_t clock) {
  struct timespec now;
  (void)clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t now_ms(void) { return clock_ns(CLOCK_BOOTTIME) / 1000000; }
int64_t wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

static int64_t earlier(int64_t left, int64_t right) {
  if (left == 0 || right == 0) return left == 0 ? right : left;
  return left < right ? left : right;
}

/// Milliseconds until something has to be done without an event, or -1.
static int timeout_ms(void) {
  int64_t now = now_ms();
  int64_t deadline = earlier(expire_execs(now), expire_sinks(now));
  if (shim.stop_client != NULL) {
    if (now >= shim.stop_deadline_ms) {
      answer(shim.stop_client, shim.stop_number, ETIMEDOUT);
      shim.stop_client = NULL;
    } else {
      deadline = earlier(deadline, shim.stop_deadline_ms);
    }
  }
  if (deadline == 0) return -1;
  return deadline <= now ? 0 : (int)(deadline - now);
}

_Noreturn void run_loop(void) {
  for (;;) {
    // One event at a time: what it does may free what the next one would be about.
    struct epoll_event event;
    int count = epoll_wait(shim.epoll, &event, 1, timeout_ms());
    if (count < 0 && errno != EINTR) _exit(1);
    if (count != 1) continue;
    struct source *source = event.data.ptr;
    source->ready(source, event.events);
  }
}
