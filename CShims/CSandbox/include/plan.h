// The wire form of a container plan: what Swift encodes, validate.c checks and child.c walks.
//
// A header, an array of operations of one size, and a blob of strings and arrays that operations point into by their
// offset from the start of the plan. Little-endian, as every machine that Martlet runs on.
#ifndef CSANDBOX_PLAN_H
#define CSANDBOX_PLAN_H

#include <stddef.h>
#include <stdint.h>

enum {
  CSANDBOX_MAGIC = 0x4e4c504d,  // "MPLN"
  CSANDBOX_VERSION = 2,
  CSANDBOX_ARGS = 6,
  CSANDBOX_OPS_MAX = 2048,
  CSANDBOX_BYTES_MAX = 4 << 20,
  CSANDBOX_SLOTS = 256,
};

/// Descriptors that operations pass to one another. The first ones have fixed meanings; the rest are the plan's.
enum csandbox_slot {
  CSANDBOX_SLOT_SEED = 0,    // given: the mount namespace to start from
  CSANDBOX_SLOT_PROC = 1,    // given: a verified procfs
  CSANDBOX_SLOT_TARGET = 2,  // given to exec: pidfd of the container's first process
  CSANDBOX_SLOT_ROOT = 3,    // set by ROOT, and by JOIN
  CSANDBOX_SLOT_NULL = 4,    // a mount of the verified null device, to cover files with
  CSANDBOX_SLOT_EMPTY = 5,   // a mount of an empty read-only directory, to cover directories with
  CSANDBOX_SLOT_USER = 6,    // given where the pod has one: its user namespace
  CSANDBOX_SLOT_FREE = 7,
};

enum csandbox_code {
  CSANDBOX_SESSION = 1,     // setsid
  CSANDBOX_TREE = 2,        // slot, path, flags: a detached copy of the mount at a path
  CSANDBOX_FSOPEN = 3,      // slot, type
  CSANDBOX_FSSTRING = 4,    // slot, key, value
  CSANDBOX_FSFLAG = 5,      // slot, key
  CSANDBOX_FSMOUNT = 6,     // slot, attributes: the context becomes a detached mount
  CSANDBOX_ATTRIBUTES = 7,  // slot, set, clear, propagation, recursive
  CSANDBOX_ENTER = 8,       // unshare flags: a copy of the seed namespace, and others
  CSANDBOX_ROOT = 9,        // slot: attach it as the root to be
  CSANDBOX_ATTACH = 10,     // slot, target, flags, directory slot or none: with it the target is a name in there
  CSANDBOX_MKDIR = 11,      // directory slot, path, mode
  CSANDBOX_MKNOD = 12,      // directory slot, path, mode, major << 32 | minor, uid, gid
  CSANDBOX_SYMLINK = 13,    // directory slot, name, target
  CSANDBOX_MASK = 14,       // path, directory slot or none, as above
  CSANDBOX_READONLY = 15,   // path, directory slot or none
  CSANDBOX_ENTER_ROOT = 16,
  CSANDBOX_HOSTNAME = 17,      // name
  CSANDBOX_DOMAINNAME = 18,    // name
  CSANDBOX_SYSCTL = 19,        // path below sys, value bytes, length
  CSANDBOX_RLIMIT = 20,        // resource, soft, hard
  CSANDBOX_GROUPS = 21,        // bytes of 32-bit ids, length
  CSANDBOX_IDS = 22,           // uid, gid, keep capabilities
  CSANDBOX_BOUNDING = 23,      // mask of capabilities to keep
  CSANDBOX_CAPABILITIES = 24,  // effective, permitted, ambient (and so inheritable)
  CSANDBOX_NO_NEW_PRIVILEGES = 25,
  CSANDBOX_SECCOMP = 26,    // program bytes, length, flags
  CSANDBOX_CHDIR = 27,      // path
  CSANDBOX_UMASK = 28,      // mask
  CSANDBOX_OWN_STDIO = 29,  // uid, gid
  CSANDBOX_TERMINAL = 30,   // devpts slot or none, dev slot or none (for console), rows << 16 | columns, uid
  CSANDBOX_OOM_SCORE = 31,  // value + 1000
  CSANDBOX_JOIN = 32,       // setns flags, on the target
  CSANDBOX_CLOSE = 33,      // every descriptor above 2, at exec
  CSANDBOX_EXEC = 34,       // candidate paths, argv, envp
  CSANDBOX_IDMAP = 35,      // slot, recursive: ids as the pod's user namespace maps them
  CSANDBOX_FSLAYER = 36,    // slot, key, slot of a mount: as FSSTRING
  CSANDBOX_SUBTREE = 37,    // slot, path in it, followed inside only: the slot becomes that part; after ENTER
  CSANDBOX_USER = 38,       // into the pod's user namespace, and a mount namespace that belongs to it
  CSANDBOX_WAIT = 39,       // until the shim says to go on
  CSANDBOX_CODES = 40,
};

enum csandbox_flag {
  CSANDBOX_TREE_RECURSIVE = 1,
  CSANDBOX_TREE_NULL_DEVICE = 2,  // must be the character device 1:3
  CSANDBOX_ATTACH_MAKE_DIRECTORY = 1,
  CSANDBOX_ATTACH_MAKE_FILE = 2,  // with the one above: what the mount itself is
  CSANDBOX_ATTACH_NO_SYMLINKS = 4,
};

/// "No slot", where an operation allows that.
#define CSANDBOX_NO_SLOT UINT64_MAX

struct csandbox_header {
  uint32_t magic;
  uint16_t version;
  uint16_t op_count;
  uint32_t total;  // bytes of the whole plan; the last one is 0, so that every string ends
  uint32_t zero;
};

struct csandbox_op {
  uint16_t code;
  uint16_t zero[3];
  uint64_t arg[CSANDBOX_ARGS];
};

_Static_assert(sizeof(struct csandbox_header) == 16, "Swift encodes this");
_Static_assert(sizeof(struct csandbox_op) == 56, "Swift encodes this");

/// Whether every offset, length, slot and code of a plan is in bounds, so that walking it stays inside it.
/// Returns 0, or a positive number that says where it is wrong: 1 + operation index, or 1 << 16 for the header.
int csandbox_validate(const uint8_t *_Nonnull plan, size_t length);

/// What the child tells its parent over a SOCK_SEQPACKET socket. End of stream without a failure: exec worked. Over the
/// same socket it gets a packet when it shall go on after WAIT; the end of the stream there ends it.
enum csandbox_report_kind {
  CSANDBOX_REPORT_FAILED = 1,
  CSANDBOX_REPORT_TERMINAL = 2,     // with the descriptor of the terminal's other side
  CSANDBOX_REPORT_OOM_CLAMPED = 3,  // err is the score that could not be set
};
struct csandbox_report {
  uint32_t kind;
  uint32_t index;
  int32_t err;
};

struct csandbox_child {
  uint8_t *_Nonnull plan;  // validated, writable, private: string vectors become pointers in place
  int report;
  int stdio[3];               // none of them 0, 1 or 2
  int slots[CSANDBOX_SLOTS];  // -1 where empty
  uint8_t attached[CSANDBOX_SLOT_FREE];
  uint32_t index;  // operation under way
  char path[4096];
  char link[4096];
};

/// Walks the plan to its exec. For the child of a clone without CLONE_VM, in a process with one thread.
/// Calls nothing but system calls; reports and exits 127 where an operation fails.
_Noreturn void csandbox_child_run(struct csandbox_child *_Nonnull child);

#endif
