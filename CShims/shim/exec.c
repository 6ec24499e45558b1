// Processes started in running containers: one clone, no mounts; their stdio is the client's.
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

static void free_exec(struct exec *exec) {
  struct exec **at = &shim.execs;
  while (*at != exec) at = &(*at)->next;
  *at = exec->next;
  close_source(&exec->launch.source);
  close_fd(&exec->launch.terminal);
  close_fd(&exec->terminal);
  close_fd(&exec->pidfd);
  free(exec);
}

static void exec_started(struct exec *exec) {
  struct launch *launch = &exec->launch;
  exec->is_running = true;
  exec->terminal = launch->terminal;
  launch->terminal = -1;
  if (exec->timeout_ms > 0) exec->deadline_ms = now_ms() + exec->timeout_ms;
  struct shim_message message = {
      .kind = SHIM_ANSWER, .number = launch->number, .pid = exec->pid, .handle = exec->handle, .index = SHIM_NO_INDEX};
  answer_with(launch->client, &message, exec->terminal);
  launch->client = NULL;
}

static void launch_ready(struct source *source, uint32_t events) {
  (void)events;
  struct exec *exec = (struct exec *)((char *)source - offsetof(struct exec, launch));
  if (read_reports(&exec->launch) && exec->launch.failed_err == 0) exec_started(exec);
}

static int begin_exec(struct exec *exec, const struct shim_request *request, const int *fds) {
  struct launch_request launch = {.plan = fds[0], .cgroup = exec->container->cgroup, .target = exec->container->pidfd};
  int next = 1;
  static const uint32_t has[3] = {SHIM_HAS_STDIN, SHIM_HAS_STDOUT, SHIM_HAS_STDERR};
  for (int i = 0; i < 3; i++) {
    launch.stdio[i] = shim.null;
    if (!(request->flags & has[i])) continue;
    if (fds[next] < 0) return EINVAL;
    launch.stdio[i] = fds[next++];
  }
  return launch_child(&exec->launch, &launch, launch_ready, &exec->pid, &exec->pidfd);
}

void start_exec(struct client *client, const struct shim_request *request, int *fds) {
  struct container *container = find_container(request->id);
  unsigned count = 0;
  for (struct exec *each = shim.execs; each != NULL; each = each->next) count++;
  int err = 0;
  if (container == NULL)
    err = ENOENT;
  else if (!container->is_running)
    err = ESRCH;
  else if (shim.is_stopping)
    err = ESHUTDOWN;
  else if (fds[0] < 0)
    err = EINVAL;
  else if (count >= EXECS_MAX)
    err = ENOSPC;
  struct exec *exec = err == 0 ? calloc(1, sizeof *exec) : NULL;
  if (exec == NULL) {
    answer(client, request->number, err == 0 ? ENOMEM : err);
    return;
  }
  exec->pidfd = exec->terminal = exec->launch.terminal = exec->launch.source.fd = -1;
  exec->client = exec->launch.client = client;
  exec->launch.number = request->number;
  exec->container = container;
  exec->handle = ++shim.last_handle;
  exec->timeout_ms = (int64_t)(request->arg[0] & INT32_MAX);
  exec->next = shim.execs;
  shim.execs = exec;
  err = begin_exec(exec, request, fds);
  if (err == 0) return;
  free_exec(exec);
  answer(client, request->number, err);
}

struct exec *find_exec(struct client *client, uint64_t handle) {
  for (struct exec *exec = shim.execs; exec != NULL; exec = exec->next)
    if (exec->handle == handle && exec->client == client) return exec;
  return NULL;
}

bool exec_exited(pid_t pid, int status) {
  struct exec *exec = shim.execs;
  while (exec != NULL && exec->pid != pid) exec = exec->next;
  if (exec == NULL) return false;
  (void)read_reports(&exec->launch);
  struct launch *launch = &exec->launch;
  if (launch->failed_err != 0) {
    struct shim_message message = {
        .kind = SHIM_ANSWER, .err = launch->failed_err, .number = launch->number, .index = launch->failed_index};
    answer_with(launch->client, &message, -1);
  } else {
    if (!exec->is_running) exec_started(exec);
    struct shim_message message = {
        .kind = SHIM_EXEC_EXITED,
        .pid = pid,
        .handle = exec->handle,
        .status = status,
        .finished_ns = wall_ns(),
        .flags = exec->timed_out ? SHIM_TIMED_OUT : 0};
    answer_with(exec->client, &message, -1);
  }
  free_exec(exec);
  return true;
}

void forget_client_of_execs(struct client *client) {
  for (struct exec *exec = shim.execs; exec != NULL; exec = exec->next) {
    if (exec->client == client) exec->client = NULL;
    if (exec->launch.client == client) exec->launch.client = NULL;
  }
}

static void kill_exec(const struct exec *exec) {
  if (exec->pidfd >= 0) (void)syscall(SYS_pidfd_send_signal, exec->pidfd, SIGKILL, NULL, 0);
}

void forget_container_of_execs(const struct container *container) {
  for (struct exec *exec = shim.execs; exec != NULL; exec = exec->next)
    if (exec->container == container) exec->container = NULL;
}

/// Kills the processes that were started in a container, or in any where it is NULL.
void kill_execs(const struct container *container) {
  for (struct exec *exec = shim.execs; exec != NULL; exec = exec->next)
    if (container == NULL || exec->container == container) kill_exec(exec);
}

/// Kills those whose time is over. The next deadline, or 0.
int64_t expire_execs(int64_t now) {
  int64_t earliest = 0;
  for (struct exec *exec = shim.execs; exec != NULL; exec = exec->next) {
    if (exec->deadline_ms == 0) continue;
    if (exec->deadline_ms <= now) {
      exec->timed_out = true;
      exec->deadline_ms = 0;
      kill_exec(exec);
    } else if (earliest == 0 || exec->deadline_ms < earliest) {
      earliest = exec->deadline_ms;
    }
  }
  return earliest;
}
