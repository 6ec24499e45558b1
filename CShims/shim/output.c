// What containers write: to the log, and to whoever is attached.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shim.h"

static void stream_ready(struct source *source, uint32_t events);
static void sink_ready(struct source *source, uint32_t events);

bool open_stream(struct container *container, int which, int fd, bool is_terminal) {
  struct stream *stream = &container->output[which];
  *stream = (struct stream){
      .source.fd = -1, .container = container, .name = which == 0 ? "stdout" : "stderr", .is_terminal = is_terminal};
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) return false;
  return watch(&stream->source, fd, EPOLLIN, stream_ready);
}

static void drop_sink(struct sink *sink) {
  struct stream *stream = sink->stream;
  struct sink **at = &stream->container->sinks;
  while (*at != sink) at = &(*at)->next;
  *at = sink->next;
  bool was_pending = sink->pending != NULL;
  close_source(&sink->source);
  free(sink->pending);
  free(sink);
  if (was_pending && --stream->stalled == 0 && stream->source.fd >= 0)
    (void)watch(&stream->source, stream->source.fd, EPOLLIN, stream_ready);
}

static void close_stream(struct stream *stream) {
  for (struct sink *sink = stream->container->sinks, *next; sink != NULL; sink = next) {
    next = sink->next;
    // What it still owes is its own loss: nothing more will come, and its deadline would be waited for in vain.
    if (sink->stream == stream) drop_sink(sink);
  }
  close_source(&stream->source);
  free(stream->partial);
  stream->partial = NULL;
  stream->partial_bytes = 0;
}

void close_streams(struct container *container) {
  for (int which = 0; which < 2; which++)
    if (container->output[which].container != NULL) close_stream(&container->output[which]);
}

/// Gives bytes to an attached client; what does not fit stops the stream until it does or the client is dropped.
static void feed(struct sink *sink, const char *bytes, size_t length) {
  ssize_t written = write(sink->source.fd, bytes, length);
  if (written < 0 && errno != EAGAIN && errno != EINTR) {
    drop_sink(sink);
    return;
  }
  size_t done = written < 0 ? 0 : (size_t)written;
  if (done == length) return;
  sink->pending = malloc(length - done);
  if (sink->pending == NULL) {
    drop_sink(sink);
    return;
  }
  sink->pending_bytes = length - done;
  memcpy(sink->pending, bytes + done, length - done);
  sink->deadline_ms = now_ms() + sink->patience_ms;
  sink->stream->stalled++;
  rewatch(&sink->source, EPOLLOUT);
}

static void fan_out(struct stream *stream, const char *bytes, size_t length) {
  for (struct sink *sink = stream->container->sinks, *next; sink != NULL; sink = next) {
    next = sink->next;
    if (sink->stream == stream) feed(sink, bytes, length);
  }
  if (stream->stalled > 0) unwatch(&stream->source);
}

static void sink_ready(struct source *source, uint32_t events) {
  struct sink *sink = (struct sink *)source;
  if ((events & (EPOLLERR | EPOLLHUP)) || sink->pending == NULL) {
    drop_sink(sink);
    return;
  }
  ssize_t written = write(source->fd, sink->pending, sink->pending_bytes);
  if (written < 0) {
    if (errno != EAGAIN && errno != EINTR) drop_sink(sink);
    return;
  }
  sink->pending_bytes -= (size_t)written;
  memmove(sink->pending, sink->pending + written, sink->pending_bytes);
  sink->deadline_ms = now_ms() + sink->patience_ms;
  if (sink->pending_bytes > 0) return;
  free(sink->pending);
  sink->pending = NULL;
  rewatch(source, 0);
  struct stream *stream = sink->stream;
  if (--stream->stalled == 0) (void)watch(&stream->source, stream->source.fd, EPOLLIN, stream_ready);
}

bool add_sink(struct container *container, int which, int fd, int64_t patience_ms) {
  unsigned count = 0;
  for (struct sink *sink = container->sinks; sink != NULL; sink = sink->next) count++;
  struct stream *stream = &container->output[which];
  errno = count >= SINKS_MAX ? EMFILE : EPIPE;
  if (count >= SINKS_MAX || stream->container == NULL || stream->source.fd < 0) return false;
  struct sink *sink = calloc(1, sizeof *sink);
  if (sink == NULL) return false;
  sink->stream = stream;
  sink->patience_ms = patience_ms;
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || !watch(&sink->source, fd, 0, sink_ready)) {
    free(sink);
    return false;
  }
  sink->next = container->sinks;
  container->sinks = sink;
  return true;
}

/// Drops clients that took nothing for too long. The next deadline, or 0.
int64_t expire_sinks(int64_t now) {
  int64_t earliest = 0;
  for (struct container *container = shim.containers; container != NULL; container = container->next) {
    for (struct sink *sink = container->sinks, *next; sink != NULL; sink = next) {
      next = sink->next;
      if (sink->pending == NULL) continue;
      if (sink->deadline_ms <= now)
        drop_sink(sink);
      else if (earliest == 0 || sink->deadline_ms < earliest)
        earliest = sink->deadline_ms;
    }
  }
  return earliest;
}

static bool keep_partial(struct stream *stream, const char *bytes, size_t length) {
  free(stream->partial);
  stream->partial = NULL;
  stream->partial_bytes = 0;
  if (length == 0) return true;
  stream->partial = malloc(length);
  if (stream->partial == NULL) return false;
  memcpy(stream->partial, bytes, length);
  stream->partial_bytes = length;
  return true;
}

/// Takes one read's worth. Returns bytes read; 0 where there is nothing now or the stream has ended (and is closed).
static size_t take(struct stream *stream) {
  static char buffer[LINE_BYTES_MAX + 1];
  size_t used = stream->partial_bytes;
  if (used > 0) memcpy(buffer, stream->partial, used);
  ssize_t count = read(stream->source.fd, buffer + used, LINE_BYTES_MAX - used);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (count <= 0) {  // a terminal whose last user is gone says EIO
    buffer[used] = '\n';
    if (used > 0) log_lines(stream->container, stream->name, buffer, used + 1, false);
    close_stream(stream);
    return 0;
  }
  size_t total = used + (size_t)count;
  char *last = memrchr(buffer, '\n', total);
  size_t whole = last == NULL ? 0 : (size_t)(last - buffer) + 1;
  log_lines(stream->container, stream->name, buffer, whole, false);
  size_t rest = total - whole;
  if (rest == LINE_BYTES_MAX || !keep_partial(stream, buffer + whole, rest)) {
    log_lines(stream->container, stream->name, buffer + whole, rest, true);
    (void)keep_partial(stream, NULL, 0);
  }
  fan_out(stream, buffer + used, (size_t)count);
  return (size_t)count;
}

static void stream_ready(struct source *source, uint32_t events) {
  (void)events;
  (void)take((struct stream *)source);
}

void drain_streams(struct container *container) {
  for (int which = 0; which < 2; which++) {
    struct stream *stream = &container->output[which];
    if (stream->container == NULL) continue;
    size_t drained = 0;
    while (stream->source.fd >= 0 && stream->stalled == 0 && drained < DRAIN_BYTES_MAX) {
      size_t count = take(stream);
      if (count == 0) break;
      drained += count;
    }
  }
}
