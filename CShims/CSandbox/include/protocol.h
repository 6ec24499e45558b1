// What daemon and shim say to each other over a SOCK_SEQPACKET socket: one request or one message a packet (a listing:
// several messages), little-endian, descriptors beside them by SCM_RIGHTS.
#ifndef CSANDBOX_PROTOCOL_H
#define CSANDBOX_PROTOCOL_H

#include <stdint.h>

enum {
  SHIM_PROTOCOL = 1,
  SHIM_ID_BYTES = 72,
  SHIM_FDS_MAX = 4,
  SHIM_CONFIG_BYTES_MAX = 16 * 1024,
  SHIM_MESSAGES_PER_PACKET = 64,
  SHIM_NAME_BYTES = 72,
  SHIM_PLAN_BYTES_MAX = 32 * 1024,  // of a plan that comes in the packet of its request
};

/// The first packet, over the descriptor that the shim is started with; descriptors: pod directory, seed mount
/// namespace, then network namespace, cgroup directory and user namespace where flags say so. `text` holds sysctls as
/// pairs of strings.
struct shim_config {
  uint32_t flags;
  int32_t oom_score;
  uint64_t shm_bytes;
  char hostname[SHIM_NAME_BYTES];
  char domainname[SHIM_NAME_BYTES];
  uint32_t sysctl_count;
  uint32_t text_bytes;
  // text follows
};

enum shim_config_flag {
  SHIM_CONFIG_NETWORK = 1,
  SHIM_CONFIG_CGROUP = 2,
  SHIM_CONFIG_IPC = 4,
  SHIM_CONFIG_UTS = 8,
  SHIM_CONFIG_REAPER = 16,
  SHIM_CONFIG_USER = 32,  // IPC and UTS namespaces belong to it
};

/// Where the start of a shim can fail; `index` of its HELLO.
enum shim_stage {
  SHIM_STAGE_READY = 0,
  SHIM_STAGE_CONFIG,
  SHIM_STAGE_CGROUP,
  SHIM_STAGE_PROCFS,
  SHIM_STAGE_NETWORK,
  SHIM_STAGE_UNSHARE,
  SHIM_STAGE_HOSTNAME,
  SHIM_STAGE_DOMAINNAME,
  SHIM_STAGE_OOM_SCORE,
  SHIM_STAGE_SHM,
  SHIM_STAGE_REAPER,
  SHIM_STAGE_EVENTS,
  SHIM_STAGE_SOCKET,
  SHIM_STAGE_SYSCTL,  // + index of the sysctl; the last one
};

enum shim_request_kind {
  SHIM_START = 1,   // fds: plan unless it follows the request, cgroup, log
  SHIM_EXEC = 2,    // fds: plan, stdin, stdout, stderr; arg 0: milliseconds until it is killed, or 0
  SHIM_SIGNAL = 3,  // arg 0: signal, arg 1: handle of an exec or 0
  SHIM_KILL = 4,
  SHIM_RESIZE = 5,  // arg 0: columns, arg 1: handle of an exec or 0, arg 2: rows
  SHIM_REOPEN = 6,  // fds: log
  SHIM_ATTACH = 7,  // fds: stdin, stdout, stderr; arg 0: milliseconds of standstill until it is dropped
  SHIM_CLOSE_STDIN = 8,
  SHIM_FORGET = 9,  // one that waits for its start is ended, and answered for when it is gone
  SHIM_STATE = 10,
  SHIM_SHUTDOWN = 11,
  SHIM_PREPARE = 12,  // as START, up to where the plan waits; nothing is answered, and one that fails is forgotten
  SHIM_REQUESTS = 13,
};

enum shim_request_flag {
  SHIM_HAS_CGROUP = 1,
  SHIM_HAS_LOG = 2,
  SHIM_STDIN = 4,
  SHIM_STDIN_ONCE = 8,
  SHIM_TERMINAL = 16,
  SHIM_HAS_STDIN = 32,
  SHIM_HAS_STDOUT = 64,
  SHIM_HAS_STDERR = 128,
  SHIM_HAS_PLAN = 256,  // START and PREPARE: the plan follows the request in its packet
  SHIM_PREPARED =
      512,  // START: what PREPARE has begun goes on, or ENOENT; no plan and no descriptors. STATE: list those
};

/// What a shim can do that others of its protocol cannot; `handle` of its HELLO.
enum shim_feature { SHIM_TAKES_PLANS = 1, SHIM_PREPARES = 2 };

/// In whose PID namespace a container starts; arg 0 of SHIM_START.
enum shim_process_namespace { SHIM_PID_CONTAINER = 0, SHIM_PID_POD = 1, SHIM_PID_NODE = 2, SHIM_PID_TARGET = 3 };

struct shim_request {
  uint32_t kind;
  uint32_t flags;
  uint64_t number;  // the client's; comes back in the answer
  char id[SHIM_ID_BYTES];
  char target[SHIM_ID_BYTES];  // whose PID namespace, for SHIM_PID_TARGET
  uint64_t arg[4];
};

enum shim_message_kind {
  SHIM_HELLO = 1,        // pid of the shim, err and index of what failed, flags: SHIM_PROTOCOL, handle: features
  SHIM_ANSWER = 2,       // err; START: pid, index of the failed operation (or SHIM_NO_INDEX); EXEC: handle, terminal
  SHIM_ITEM = 3,         // of a listing
  SHIM_EXITED = 4,       // to every client
  SHIM_EXEC_EXITED = 5,  // to the client that asked for it
};

#define SHIM_NO_INDEX UINT32_MAX

enum shim_message_flag {
  SHIM_IS_RUNNING = 1,
  SHIM_OUT_OF_MEMORY = 2,
  SHIM_TIMED_OUT = 4,
  SHIM_LOG_FAILED = 8,    // lines of its log could not be written
  SHIM_OOM_CLAMPED = 16,  // its oom_score_adj could not be set
  SHIM_IS_PREPARED = 32,  // it waits for its start; listed only to who asks
};

struct shim_message {
  uint32_t kind;
  int32_t err;
  uint64_t number;
  char id[SHIM_ID_BYTES];
  int32_t pid;
  uint32_t index;
  uint64_t handle;
  int32_t status;  // as waitpid gives it
  uint32_t flags;
  int64_t started_ns;  // since 1970
  int64_t finished_ns;
};

_Static_assert(sizeof(struct shim_config) == 168, "Swift encodes this");
_Static_assert(sizeof(struct shim_request) == 192, "Swift encodes this");
_Static_assert(sizeof(struct shim_message) == 128, "Swift decodes this");

#endif
