// The socket: clients come, ask, and may die at any moment.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

static void drop_client(struct client *client) {
  struct client **at = &shim.clients;
  while (*at != client) at = &(*at)->next;
  *at = client->next;
  forget_client_of_execs(client);
  for (struct container *container = shim.containers; container != NULL; container = container->next) {
    if (container->launch.client == client) container->launch.client = NULL;
    if (container->forget_client == client) container->forget_client = NULL;
  }
  if (shim.stop_client == client) shim.stop_client = NULL;
  close_source(&client->source);
  free(client);
}

/// Sends a packet. A client that does not read is shut out: its next event is the end of its connection.
static void send_packet(struct client *client, const void *bytes, size_t length, int fd) {
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  }
  if (sendmsg(client->source.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
    (void)shutdown(client->source.fd, SHUT_RDWR);
}

void answer_with(struct client *client, const struct shim_message *message, int fd) {
  if (client != NULL) send_packet(client, message, sizeof *message, fd);
}

/// Nothing for a request without a number.
void answer(struct client *client, uint64_t number, int err) {
  if (number == 0) return;
  struct shim_message message = {.kind = SHIM_ANSWER, .number = number, .err = err, .index = SHIM_NO_INDEX};
  answer_with(client, &message, -1);
}

void broadcast(const struct shim_message *message) {
  for (struct client *client = shim.clients; client != NULL; client = client->next) answer_with(client, message, -1);
}

struct shim_message describe(const struct container *container) {
  struct shim_message message = {
      .kind = SHIM_ITEM,
      .pid = container->pid,
      .status = container->status,
      .started_ns = container->started_ns,
      .finished_ns = container->finished_ns,
      .flags = (container->is_running ? SHIM_IS_RUNNING : 0) | (container->is_prepared ? SHIM_IS_PREPARED : 0) |
               (container->out_of_memory ? SHIM_OUT_OF_MEMORY : 0) | (container->log_failed ? SHIM_LOG_FAILED : 0) |
               (container->launch.oom_clamped ? SHIM_OOM_CLAMPED : 0),
  };
  memcpy(message.id, container->id, sizeof message.id);
  return message;
}

static void list_containers(struct client *client, const struct shim_request *request) {
  uint64_t number = request->number;
  bool with_prepared = request->flags & SHIM_PREPARED;
  static struct shim_message items[SHIM_MESSAGES_PER_PACKET];
  size_t count = 0;
  for (struct container *container = shim.containers; container != NULL; container = container->next) {
    if (!container->is_running && !container->has_exited && !(container->is_prepared && with_prepared)) continue;
    items[count] = describe(container);
    items[count++].number = number;
    if (count < SHIM_MESSAGES_PER_PACKET) continue;
    send_packet(client, items, count * sizeof items[0], -1);
    count = 0;
  }
  if (count > 0) send_packet(client, items, count * sizeof items[0], -1);
  answer(client, number, 0);
}

static int attach_client(struct container *container, const struct shim_request *request, int *fds) {
  int next = 0;
  int64_t patience = (int64_t)(request->arg[0] & INT32_MAX);
  if (request->flags & SHIM_HAS_STDIN) {
    if (!add_pump(container, fds[next])) return errno;
    fds[next++] = -1;
  }
  for (int which = 0; which < 2; which++) {
    if (!(request->flags & (which == 0 ? SHIM_HAS_STDOUT : SHIM_HAS_STDERR))) continue;
    // A terminal has one output; a client of both gets the end of its second one.
    if (!(which == 1 && container->has_terminal)) {
      if (!add_sink(container, which, fds[next], patience)) return errno;
      fds[next] = -1;
    }
    next++;
  }
  return 0;
}

static int resize(int terminal, const struct shim_request *request) {
  struct winsize size = {.ws_col = (unsigned short)request->arg[0], .ws_row = (unsigned short)request->arg[2]};
  if (terminal < 0) return ENOTTY;
  return ioctl(terminal, TIOCSWINSZ, &size) < 0 ? errno : 0;
}

static int send_signal(int pidfd, uint64_t signal) {
  if (pidfd < 0) return 0;
  if (signal > 64) return EINVAL;
  if (syscall(SYS_pidfd_send_signal, pidfd, (int)signal, NULL, 0) == 0 || errno == ESRCH) return 0;
  return errno;
}

static void stop(struct client *client, uint64_t number) {
  shim.is_stopping = true;
  shim.stop_client = client;
  shim.stop_number = number;
  shim.stop_deadline_ms = now_ms() + SHUTDOWN_SECONDS * 1000;
  kill_execs(NULL);
  for (struct container *container = shim.containers; container != NULL; container = container->next)
    (void)kill_container(container);
  if (shim.reaper > 0) (void)kill(shim.reaper, SIGKILL);
}

/// Ends the shim when it has been told to and nothing of its pod runs.
static void stop_when_done(void) {
  if (!shim.is_stopping || shim.reaper > 0 || shim.execs != NULL) return;
  for (struct container *container = shim.containers; container != NULL; container = container->next)
    if (!container->has_exited) return;
  (void)unlinkat(shim.directory, "shim.sock", 0);
  if (shim.stop_client != NULL) answer(shim.stop_client, shim.stop_number, 0);
  _exit(0);
}

/// What concerns one container, once it is found.
static int
container_request(struct client *client, struct container *container, const struct shim_request *request, int *fds) {
  struct exec *exec = NULL;
  bool of_exec = request->kind == SHIM_SIGNAL || request->kind == SHIM_RESIZE;
  if (of_exec && request->arg[1] != 0) {
    exec = find_exec(client, request->arg[1]);
    if (exec == NULL) return 0;  // it has ended
  }
  if (container == NULL && exec == NULL) return ENOENT;
  switch (request->kind) {
  case SHIM_SIGNAL:
    return send_signal(exec != NULL ? exec->pidfd : container->pidfd, request->arg[0]);
  case SHIM_KILL:
    return kill_container(container);
  case SHIM_RESIZE:
    if (exec != NULL) return resize(exec->terminal, request);
    return resize(container->has_terminal ? container->output[0].source.fd : -1, request);
  case SHIM_REOPEN:
    if (fds[0] < 0) return EINVAL;
    close_fd(&container->log);
    container->log = fds[0];
    container->log_torn = false;
    fds[0] = -1;
    return 0;
  case SHIM_ATTACH:
    return container->is_running ? attach_client(container, request, fds) : ESRCH;
  case SHIM_CLOSE_STDIN:
    close_input(container);
    return 0;
  default:
    return EINVAL;
  }
}

/// The plan in the packet of the request under way. Its clone has a copy, so that the next one may be read over it.
static _Alignas(8) uint8_t inline_plan[SHIM_PLAN_BYTES_MAX];

static void handle_request(struct client *client, struct shim_request *request, int *fds, size_t plan_bytes) {
  request->id[SHIM_ID_BYTES - 1] = '\0';
  request->target[SHIM_ID_BYTES - 1] = '\0';
  switch (request->kind) {
  case SHIM_START:
  case SHIM_PREPARE:
    start_container(client, request, fds, plan_bytes == 0 ? NULL : inline_plan, plan_bytes);
    return;
  case SHIM_EXEC:
    start_exec(client, request, fds);
    return;
  case SHIM_FORGET:
    forget_container(client, request->number, find_container(request->id));
    return;
  case SHIM_STATE:
    list_containers(client, request);
    return;
  case SHIM_SHUTDOWN:
    stop(client, request->number);
    stop_when_done();
    return;
  default:
    break;
  }
  answer(client, request->number, container_request(client, find_container(request->id), request, fds));
}

static void client_ready(struct source *source, uint32_t events) {
  (void)events;
  struct client *client = (struct client *)source;
  struct shim_request request;
  struct iovec parts[] = {
      {.iov_base = &request, .iov_len = sizeof request}, {.iov_base = inline_plan, .iov_len = sizeof inline_plan}};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * SHIM_FDS_MAX)];
  } control;
  struct msghdr message = {
      .msg_iov = parts, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t count = recvmsg(source->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  int fds[SHIM_FDS_MAX] = {-1, -1, -1, -1};
  if (count >= 0) {
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS)
      memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
  }
  bool ok = count >= (ssize_t)sizeof request && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
  size_t plan_bytes = ok ? (size_t)count - sizeof request : 0;
  ok = ok && (plan_bytes > 0) ==
                 ((request.kind == SHIM_START || request.kind == SHIM_PREPARE) && (request.flags & SHIM_HAS_PLAN));
  if (ok) handle_request(client, &request, fds, plan_bytes);
  for (int i = 0; i < SHIM_FDS_MAX; i++) close_fd(&fds[i]);
  // The end of the connection, or something that no client of ours sends.
  if (!ok) drop_client(client);
}

bool add_client(int fd) {
  unsigned count = 0;
  for (struct client *client = shim.clients; client != NULL; client = client->next) count++;
  struct client *client = count < CLIENTS_MAX ? calloc(1, sizeof *client) : NULL;
  if (client == NULL || !watch(&client->source, fd, EPOLLIN, client_ready)) {
    free(client);
    return false;
  }
  client->next = shim.clients;
  shim.clients = client;
  struct shim_message hello = {
      .kind = SHIM_HELLO, .pid = getpid(), .flags = SHIM_PROTOCOL, .handle = SHIM_TAKES_PLANS | SHIM_PREPARES};
  answer_with(client, &hello, -1);
  return true;
}

static void listener_ready(struct source *source, uint32_t events) {
  (void)events;
  int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0) return;
  struct ucred peer;
  socklen_t length = sizeof peer;
  bool ours = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
  if (!ours || !add_client(fd)) (void)close(fd);
}

/// Listens at shim.sock in the pod's directory. Bound through the directory's descriptor, because a socket's path may
/// have no more than 107 bytes.
bool open_listener(void) {
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  (void)snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/shim.sock", shim.directory);
  mode_t before = umask(0177);
  (void)unlinkat(shim.directory, "shim.sock", 0);
  bool ok = bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, CLIENTS_MAX) == 0;
  (void)umask(before);
  if (ok && watch(&shim.listener, fd, EPOLLIN, listener_ready)) return true;
  int err = errno;
  (void)close(fd);
  errno = err;
  return false;
}

void children_changed(void) {
  reap_children();
  stop_when_done();
}
