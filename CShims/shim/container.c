// Containers: start, exit, and what is kept of them in between.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

struct container *find_container(const char *id) {
  for (struct container *container = shim.containers; container != NULL; container = container->next)
    if (strcmp(container->id, id) == 0) return container;
  return NULL;
}

static void free_container(struct container *container) {
  struct container **at = &shim.containers;
  while (*at != container) at = &(*at)->next;
  *at = container->next;
  forget_container_of_execs(container);
  close_input(container);
  close_streams(container);
  close_source(&container->launch.source);
  close_fd(&container->launch.terminal);
  close_fd(&container->pidfd);
  close_fd(&container->cgroup);
  close_fd(&container->log);
  free(container);
}

/// It is gone altogether: who waits for that is told.
static void container_gone(struct container *container) {
  struct client *client = container->forget_client;
  uint64_t number = container->forget_number;
  free_container(container);
  if (client != NULL) answer(client, number, 0);
}

/// Drops what is known of a container that has exited, or of one that waits for its start, when it has ended. Unknown
/// is not an error; EBUSY while it runs.
void forget_container(struct client *client, uint64_t number, struct container *container) {
  int err = container == NULL || container->has_exited || container->is_prepared ? 0 : EBUSY;
  if (container == NULL || err != 0) {
    answer(client, number, err);
    return;
  }
  // Whoever asked before asks again, or is gone.
  if (container->forget_client != NULL) answer(container->forget_client, container->forget_number, EALREADY);
  container->forget_client = client;
  container->forget_number = number;
  if (container->is_prepared)
    (void)kill_container(container);
  else
    container_gone(container);
}

/// An id names a directory, so that it may be only one component.
static bool id_ok(const char *id) {
  size_t length = strnlen(id, SHIM_ID_BYTES);
  if (length == 0 || length >= SHIM_ID_BYTES || id[0] == '.') return false;
  for (size_t i = 0; i < length; i++) {
    char c = id[i];
    bool ok =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!ok) return false;
  }
  return true;
}

static void container_started(struct container *container) {
  struct launch *launch = &container->launch;
  container->is_running = true;
  if (launch->terminal >= 0) {
    if (container->input == -2) container->input = fcntl(launch->terminal, F_DUPFD_CLOEXEC, 3);
    if (open_stream(container, 0, launch->terminal, true)) launch->terminal = -1;
  }
  if (container->input == -2) container->input = -1;
  struct shim_message message = describe(container);
  message.kind = SHIM_ANSWER;
  message.number = launch->number;
  message.index = SHIM_NO_INDEX;
  answer_with(launch->client, &message, -1);
  launch->client = NULL;
}

static void launch_ready(struct source *source, uint32_t events) {
  (void)events;
  struct container *container = (struct container *)((char *)source - offsetof(struct container, launch));
  bool is_over = read_reports(&container->launch);
  struct launch *launch = &container->launch;
  // A failed one is answered for when it is reaped, so that nothing of it is left by then.
  if (is_over && launch->failed_err == 0 && !container->is_prepared) container_started(container);
}

struct pipes {
  int read[3];
  int write[3];
};

static void close_pipes(struct pipes *pipes) {
  for (int i = 0; i < 3; i++) {
    close_fd(&pipes->read[i]);
    close_fd(&pipes->write[i]);
  }
}

static bool open_pipe(struct pipes *pipes, int which) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return false;
  pipes->read[which] = ends[0];
  pipes->write[which] = ends[1];
  return true;
}

static int request_namespace(const struct shim_request *request, struct launch_request *launch) {
  launch->pid_namespace = shim.own_pid_namespace;
  switch (request->arg[0]) {
  case SHIM_PID_CONTAINER:
    launch->new_pid_namespace = true;
    return 0;
  case SHIM_PID_NODE:
    return 0;
  case SHIM_PID_POD:
    launch->pid_namespace = shim.pod_pid_namespace;
    return shim.pod_pid_namespace >= 0 ? 0 : ENOTSUP;
  case SHIM_PID_TARGET: {
    struct container *target = find_container(request->target);
    if (target == NULL || !target->is_running) return ESRCH;
    launch->target = target->pidfd;
    return 0;
  }
  default:
    return EINVAL;
  }
}

/// Pipes for the child, and our ends of them into the container. A terminal replaces them later.
static int prepare_stdio(struct container *container, uint32_t flags, struct pipes *pipes, int stdio[3]) {
  for (int i = 0; i < 3; i++) stdio[i] = shim.null;
  if (flags & SHIM_TERMINAL) {
    container->input = flags & SHIM_STDIN ? -2 : -1;  // -2: the terminal's, when it is there
    return 0;
  }
  if ((flags & SHIM_STDIN) && !open_pipe(pipes, 0)) return errno;
  if (!open_pipe(pipes, 1) || !open_pipe(pipes, 2)) return errno;
  if (flags & SHIM_STDIN) {
    stdio[0] = pipes->read[0];
    if (fcntl(pipes->write[0], F_SETFL, O_NONBLOCK) < 0) return errno;
    container->input = pipes->write[0];
    pipes->write[0] = -1;
  }
  for (int which = 0; which < 2; which++) {
    stdio[which + 1] = pipes->write[which + 1];
    if (!open_stream(container, which, pipes->read[which + 1], false)) return errno;
    pipes->read[which + 1] = -1;
  }
  return 0;
}

static int
begin_container(struct container *container, const struct shim_request *request, struct launch_request launch) {
  struct pipes pipes = {.read = {-1, -1, -1}, .write = {-1, -1, -1}};
  int err = request_namespace(request, &launch);
  if (err == 0) err = prepare_stdio(container, request->flags, &pipes, launch.stdio);
  container->owns_pid_namespace = launch.new_pid_namespace;
  container->started_ns = wall_ns();
  if (err == 0) err = launch_child(&container->launch, &launch, launch_ready, &container->pid, &container->pidfd);
  close_pipes(&pipes);
  return err;
}

/// Lets a container that PREPARE has begun go on. False where there is none, and the request wants one made.
static bool start_prepared(struct client *client, const struct shim_request *request) {
  struct container *container = find_container(request->id);
  if (container == NULL || !container->is_prepared || container->forget_client != NULL) {
    if (!(request->flags & SHIM_PREPARED)) return false;
    answer(client, request->number, ENOENT);
    return true;
  }
  container->is_prepared = false;
  container->launch.client = client;
  container->launch.number = request->number;
  container->started_ns = wall_ns();
  // One that cannot go on, or has just ended without a word, is answered for when it is reaped, as if it had never
  // been.
  if (!go(&container->launch)) {
    if (container->launch.failed_err == 0) container->launch.failed_err = ENOENT;
    if (container->pidfd >= 0) (void)syscall(SYS_pidfd_send_signal, container->pidfd, SIGKILL, NULL, 0);
  }
  return true;
}

void start_container(
    struct client *client, const struct shim_request *request, int *fds, uint8_t *plan, size_t plan_bytes) {
  int err = 0;
  unsigned count = 0;
  if (request->kind == SHIM_START && start_prepared(client, request)) return;
  for (struct container *each = shim.containers; each != NULL; each = each->next) count++;
  if (!id_ok(request->id) || (plan == NULL && fds[0] < 0))
    err = EINVAL;
  else if (find_container(request->id) != NULL)
    err = EEXIST;
  else if (shim.is_stopping)
    err = ESHUTDOWN;
  else if (count >= CONTAINERS_MAX)
    err = ENOSPC;
  struct container *container = err == 0 ? calloc(1, sizeof *container) : NULL;
  if (container == NULL) {
    answer(client, request->number, err == 0 ? ENOMEM : err);
    return;
  }
  memcpy(container->id, request->id, sizeof container->id);
  container->pidfd = container->input = container->cgroup = container->log = -1;
  container->launch.source.fd = container->launch.terminal = -1;
  container->launch.client = client;
  container->launch.number = request->number;
  container->is_prepared = request->kind == SHIM_PREPARE;
  container->has_terminal = request->flags & SHIM_TERMINAL;
  container->stdin_once = request->flags & SHIM_STDIN_ONCE;
  container->next = shim.containers;
  shim.containers = container;
  int next = plan == NULL ? 1 : 0;
  if (request->flags & SHIM_HAS_CGROUP) container->cgroup = fds[next], fds[next++] = -1;
  if (request->flags & SHIM_HAS_LOG) container->log = fds[next], fds[next] = -1;
  struct launch_request launch = {
      .plan = plan == NULL ? fds[0] : -1,
      .plan_bytes = plan,
      .plan_length = plan_bytes,
      .cgroup = container->cgroup,
      .waits = container->is_prepared,
      .target = -1};
  err = begin_container(container, request, launch);
  if (err == 0) return;
  free_container(container);
  answer(client, request->number, err);
}

static int write_in(int directory, const char *name, const char *text) {
  int fd = openat(directory, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno;
  ssize_t written = write(fd, text, strlen(text));
  int err = written < 0 ? errno : 0;
  (void)close(fd);
  return err;
}

/// SIGKILL to every process of a container. 0, or an error number.
int kill_container(struct container *container) {
  if (container->cgroup >= 0) (void)write_in(container->cgroup, "cgroup.kill", "1");
  if (container->has_exited || container->pidfd < 0) return 0;
  if (syscall(SYS_pidfd_send_signal, container->pidfd, SIGKILL, NULL, 0) == 0 || errno == ESRCH) return 0;
  return errno;
}

/// Whether the kernel killed something in this cgroup for lack of memory. False where it has no memory controller.
static bool was_out_of_memory(int cgroup) {
  static const char key[] = "oom_kill ";
  char text[512];
  int fd = cgroup < 0 ? -1 : openat(cgroup, "memory.events.local", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  ssize_t count = read(fd, text, sizeof text - 1);
  (void)close(fd);
  if (count <= 0) return false;
  text[count] = '\0';
  const char *found = strstr(text, key);
  return found != NULL && found[sizeof key - 1] != '0';
}

static char *put_text(char *to, const char *text) {
  size_t length = strlen(text);
  memcpy(to, text, length);
  return to + length;
}

static char *put_number(char *to, int64_t value) {
  char digits[24];
  size_t at = sizeof digits;
  uint64_t left = value < 0 ? (uint64_t)-value : (uint64_t)value;
  do digits[--at] = (char)('0' + left % 10);
  while ((left /= 10) != 0);
  if (value < 0) digits[--at] = '-';
  memcpy(to, digits + at, sizeof digits - at);
  return to + (sizeof digits - at);
}

/// containers/ID/exit, by rename, so that it is never seen half written. A directory that is gone needs none.
static void write_exit_file(const struct container *container) {
  char path[SHIM_ID_BYTES + 16];
  char *end = put_text(put_text(path, "containers/"), container->id);
  *end = '\0';
  int directory = openat(shim.directory, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory < 0) return;
  char text[256];
  end = put_number(
      put_text(text, "{\"version\":1,\"exitCode\":"),
      WIFEXITED(container->status) ? WEXITSTATUS(container->status) : 128 + WTERMSIG(container->status));
  end = put_number(put_text(end, ",\"signal\":"), WIFSIGNALED(container->status) ? WTERMSIG(container->status) : 0);
  end = put_number(put_text(end, ",\"processID\":"), container->pid);
  end = put_number(put_text(end, ",\"startedAtNanoseconds\":"), container->started_ns);
  end = put_number(put_text(end, ",\"finishedAtNanoseconds\":"), container->finished_ns);
  end = put_text(put_text(end, ",\"outOfMemory\":"), container->out_of_memory ? "true}\n" : "false}\n");
  int fd = openat(directory, "exit.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd >= 0) {
    bool whole = write(fd, text, (size_t)(end - text)) == end - text;
    (void)close(fd);
    if (whole) (void)renameat(directory, "exit.new", directory, "exit");
  }
  (void)close(directory);
}

static void container_exited(struct container *container, int status) {
  struct launch *launch = &container->launch;
  (void)read_reports(launch);
  if (container->is_prepared) {
    container_gone(container);
    return;
  }
  if (launch->failed_err != 0) {
    struct shim_message message = {
        .kind = SHIM_ANSWER, .err = launch->failed_err, .number = launch->number, .index = launch->failed_index};
    memcpy(message.id, container->id, sizeof message.id);
    answer_with(launch->client, &message, -1);
    free_container(container);
    return;
  }
  if (!container->is_running) container_started(container);
  container->is_running = false;
  container->has_exited = true;
  container->status = status;
  container->finished_ns = wall_ns();
  container->out_of_memory = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && was_out_of_memory(container->cgroup);
  // Others of its processes live on only where PID 1 of their namespace is not this one.
  if (!container->owns_pid_namespace) {
    (void)kill_container(container);
    kill_execs(container);
  }
  drain_streams(container);
  close_input(container);
  close_fd(&container->pidfd);
  close_fd(&container->cgroup);
  write_exit_file(container);
  struct shim_message message = describe(container);
  message.kind = SHIM_EXITED;
  broadcast(&message);
}

void reap_children(void) {
  for (;;) {
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) return;
    int status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
    if (info.si_pid == shim.reaper) {
      shim.reaper = -1;
      continue;
    }
    if (exec_exited(info.si_pid, status)) continue;
    struct container *container = shim.containers;
    while (container != NULL && (container->pid != info.si_pid || container->has_exited)) container = container->next;
    if (container != NULL) container_exited(container, status);
  }
}
