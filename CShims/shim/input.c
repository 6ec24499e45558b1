// What attached clients send to a container's standard input.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shim.h"

enum { PUMP_BYTES = 4096 };

static void drop_pump(struct pump *pump) {
  struct pump **at = &pump->container->pumps;
  while (*at != pump) at = &(*at)->next;
  *at = pump->next;
  close_source(&pump->source);
  close_source(&pump->target);
  free(pump->pending);
  free(pump);
}

/// Ends the container's input, whoever was feeding it.
void close_input(struct container *container) {
  for (struct pump *pump = container->pumps, *next; pump != NULL; pump = next) {
    next = pump->next;
    drop_pump(pump);
  }
  close_fd(&container->input);
}

/// The client has no more: the container's input ends too where it was to end with its first client.
static void end_pump(struct pump *pump) {
  struct container *container = pump->container;
  bool ends_input = container->stdin_once;
  drop_pump(pump);
  if (ends_input) close_input(container);
}

static void target_ready(struct source *source, uint32_t events) {
  (void)events;
  struct pump *pump = (struct pump *)((char *)source - offsetof(struct pump, target));
  ssize_t written = write(source->fd, pump->pending, pump->pending_bytes);
  if (written < 0) {
    if (errno != EAGAIN && errno != EINTR) drop_pump(pump);
    return;
  }
  pump->pending_bytes -= (size_t)written;
  memmove(pump->pending, pump->pending + written, pump->pending_bytes);
  if (pump->pending_bytes > 0) return;
  close_source(&pump->target);
  (void)watch(&pump->source, pump->source.fd, EPOLLIN, pump->source.ready);
}

static void pump_ready(struct source *source, uint32_t events) {
  (void)events;
  struct pump *pump = (struct pump *)source;
  ssize_t count = read(source->fd, pump->pending, PUMP_BYTES);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) {
    end_pump(pump);
    return;
  }
  ssize_t written = write(pump->container->input, pump->pending, (size_t)count);
  if (written < 0 && errno != EAGAIN && errno != EINTR) {
    drop_pump(pump);
    return;
  }
  size_t done = written < 0 ? 0 : (size_t)written;
  pump->pending_bytes = (size_t)count - done;
  if (pump->pending_bytes == 0) return;
  memmove(pump->pending, pump->pending + done, pump->pending_bytes);
  // A descriptor of its own: several clients may wait for the same input.
  int fd = fcntl(pump->container->input, F_DUPFD_CLOEXEC, 3);
  unwatch(source);
  if (fd >= 0 && watch(&pump->target, fd, EPOLLOUT, target_ready)) return;
  if (fd >= 0) (void)close(fd);
  drop_pump(pump);
}

bool add_pump(struct container *container, int fd) {
  errno = EPIPE;
  if (container->input < 0) return false;
  struct pump *pump = calloc(1, sizeof *pump);
  if (pump == NULL) return false;
  pump->source.fd = -1;
  pump->target.fd = -1;
  pump->container = container;
  pump->pending = malloc(PUMP_BYTES);
  if (pump->pending == NULL || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || !watch(&pump->source, fd, EPOLLIN, pump_ready)) {
    free(pump->pending);
    free(pump);
    return false;
  }
  pump->next = container->pumps;
  container->pumps = pump;
  return true;
}
