// martlet-shim: one process a pod, which starts the pod's containers, holds their stdio and keeps their exit codes.
// One thread and one epoll; every file here is a part of its state.
#ifndef MARTLET_SHIM_H
#define MARTLET_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "CSandbox.h"

enum {
  CLIENTS_MAX = 16,
  CONTAINERS_MAX = 512,
  EXECS_MAX = 1024,
  SINKS_MAX = 64,              // attached outputs of one container
  LINE_BYTES_MAX = 16 * 1024,  // of a log line; longer ones are split
  DRAIN_BYTES_MAX = 1 << 20,   // read from a dead container's pipes before its exit is told
  SHUTDOWN_SECONDS = 10,
};

/// What epoll hands back: who a descriptor belongs to. The first member of each owner of a descriptor.
struct source {
  void (*ready)(struct source *source, uint32_t events);
  int fd;
  uint32_t interest;
};

struct client {
  struct source source;
  struct client *next;
};

/// An output of a container: the read end of a pipe, or its terminal.
struct stream {
  struct source source;
  struct container *container;
  const char *name;  // "stdout", "stderr"
  char *partial;     // a line's begin, until its end comes
  size_t partial_bytes;
  unsigned stalled;  // attached clients that still owe a write
  bool is_terminal;
};

/// An attached client's output.
struct sink {
  struct source source;
  struct sink *next;
  struct stream *stream;
  char *pending;
  size_t pending_bytes;
  int64_t deadline_ms;  // until which it must take something, while it has something pending
  int64_t patience_ms;
};

/// Bytes on their way from an attached client to a container's input.
struct pump {
  struct source source;  // the client's side, read
  struct source target;  // the container's side, only while it has no room
  struct pump *next;
  struct container *container;
  char *pending;
  size_t pending_bytes;
};

/// A child on its way through its plan.
struct launch {
  struct source source;  // its reports
  struct client *client;
  uint64_t number;
  uint32_t failed_index;
  int failed_err;  // 0: none so far
  int terminal;    // from its TERMINAL report, or -1
  bool oom_clamped;
};

struct container {
  struct container *next;
  char id[SHIM_ID_BYTES];
  struct launch launch;
  bool is_prepared;  // its start has not been asked for
  bool is_running;
  bool has_exited;
  bool owns_pid_namespace;
  bool has_terminal;
  bool stdin_once;
  bool log_failed;
  bool log_torn;  // the log ends in the middle of a line that could not be written whole
  bool out_of_memory;
  pid_t pid;
  int pidfd;
  int cgroup;
  int log;
  int input;  // write end of its stdin, or of its terminal
  int status;
  int64_t started_ns;
  int64_t finished_ns;
  struct stream output[2];
  struct sink *sinks;
  struct pump *pumps;
  struct client *forget_client;
  uint64_t forget_number;  // of whoever waits for it to be gone, or 0
};

struct exec {
  struct exec *next;
  struct launch launch;
  struct client *client;
  struct container *container;
  uint64_t handle;
  pid_t pid;
  int pidfd;
  int terminal;  // kept for resize
  bool timed_out;
  bool is_running;
  int64_t timeout_ms;
  int64_t deadline_ms;  // 0: none
};

struct shim {
  int epoll;
  int directory;
  int seed;
  int proc;
  int null;
  int user;  // the pod's user namespace, or -1
  int own_pid_namespace;
  int pod_pid_namespace;       // -1 without a reaper
  int children_pid_namespace;  // which one the next clone is born in: one of the two above, or -1 for another
  pid_t reaper;
  uint64_t last_handle;
  bool is_stopping;
  struct client *stop_client;
  uint64_t stop_number;
  int64_t stop_deadline_ms;
  struct client *clients;
  struct container *containers;
  struct exec *execs;
  struct source listener;
  struct source children;
};

extern struct shim shim;

// loop.c
bool watch(struct source *source, int fd, uint32_t events, void (*ready)(struct source *, uint32_t));
void rewatch(struct source *source, uint32_t events);
void unwatch(struct source *source);
void close_source(struct source *source);
int64_t now_ms(void);
int64_t wall_ns(void);
void close_fd(int *fd);
_Noreturn void run_loop(void);

// reaper.c
int start_reaper(void);

// client.c
bool open_listener(void);
void children_changed(void);
bool add_client(int fd);
void answer(struct client *client, uint64_t number, int err);
void answer_with(struct client *client, const struct shim_message *message, int fd);
void broadcast(const struct shim_message *message);
struct shim_message describe(const struct container *container);

// launch.c
struct launch_request {
  int plan;             // to be mapped, where there are no bytes
  uint8_t *plan_bytes;  // aligned to 8; the caller's, and left as they are
  size_t plan_length;
  int cgroup;
  int stdio[3];
  bool waits;  // only `go` lets the child past the plan's WAIT
  int target;  // pidfd whose PID namespace the child shall be in, or -1
  bool new_pid_namespace;
  int pid_namespace;  // the one to be born in, where there is no target
};
int launch_child(
    struct launch *launch, const struct launch_request *request, void (*ready)(struct source *, uint32_t), pid_t *pid,
    int *pidfd);
bool read_reports(struct launch *launch);
bool go(struct launch *launch);

// container.c
struct container *find_container(const char *id);
void start_container(
    struct client *client, const struct shim_request *request, int *fds, uint8_t *plan, size_t plan_bytes);
int kill_container(struct container *container);
void forget_container(struct client *client, uint64_t number, struct container *container);
void reap_children(void);

// exec.c
void start_exec(struct client *client, const struct shim_request *request, int *fds);
struct exec *find_exec(struct client *client, uint64_t handle);
bool exec_exited(pid_t pid, int status);
void forget_client_of_execs(struct client *client);
void forget_container_of_execs(const struct container *container);
void kill_execs(const struct container *container);
int64_t expire_execs(int64_t now);

// output.c
bool open_stream(struct container *container, int which, int fd, bool is_terminal);
void drain_streams(struct container *container);
void close_streams(struct container *container);
bool add_sink(struct container *container, int which, int fd, int64_t patience_ms);
int64_t expire_sinks(int64_t now);

// log.c
void log_lines(struct container *container, const char *stream, char *bytes, size_t length, bool is_partial);

// input.c
bool add_pump(struct container *container, int fd);
void close_input(struct container *container);

#endif
