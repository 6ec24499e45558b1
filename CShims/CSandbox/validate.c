#include "plan.h"

#include <string.h>

// What each argument of an operation is: i integer, s string, v vector of strings, b bytes (offset and, in the next
// argument, length), l that length, f slot, F slot or none, - unused.
static const char *const signatures[CSANDBOX_CODES] = {
    [CSANDBOX_SESSION] = "------",
    [CSANDBOX_TREE] = "fsi---",
    [CSANDBOX_FSOPEN] = "fs----",
    [CSANDBOX_FSSTRING] = "fss---",
    [CSANDBOX_FSFLAG] = "fs----",
    [CSANDBOX_FSMOUNT] = "fi----",
    [CSANDBOX_ATTRIBUTES] = "fiiii-",
    [CSANDBOX_ENTER] = "i-----",
    [CSANDBOX_ROOT] = "f-----",
    [CSANDBOX_ATTACH] = "fsiF--",
    [CSANDBOX_MKDIR] = "fsi---",
    [CSANDBOX_MKNOD] = "fsiiii",
    [CSANDBOX_SYMLINK] = "fss---",
    [CSANDBOX_MASK] = "sF----",
    [CSANDBOX_READONLY] = "sF----",
    [CSANDBOX_ENTER_ROOT] = "------",
    [CSANDBOX_HOSTNAME] = "s-----",
    [CSANDBOX_DOMAINNAME] = "s-----",
    [CSANDBOX_SYSCTL] = "sbl---",
    [CSANDBOX_RLIMIT] = "iii---",
    [CSANDBOX_GROUPS] = "bl----",
    [CSANDBOX_IDS] = "iii---",
    [CSANDBOX_BOUNDING] = "i-----",
    [CSANDBOX_CAPABILITIES] = "iii---",
    [CSANDBOX_NO_NEW_PRIVILEGES] = "------",
    [CSANDBOX_SECCOMP] = "bli---",
    [CSANDBOX_CHDIR] = "s-----",
    [CSANDBOX_UMASK] = "i-----",
    [CSANDBOX_OWN_STDIO] = "ii----",
    [CSANDBOX_TERMINAL] = "FFii--",
    [CSANDBOX_OOM_SCORE] = "i-----",
    [CSANDBOX_JOIN] = "i-----",
    [CSANDBOX_CLOSE] = "------",
    [CSANDBOX_EXEC] = "vvv---",
    [CSANDBOX_IDMAP] = "fi----",
    [CSANDBOX_FSLAYER] = "fsf---",
    [CSANDBOX_SUBTREE] = "fs----",
    [CSANDBOX_USER] = "------",
    [CSANDBOX_WAIT] = "------",
};

// Vectors lie in the blob as 64-bit offsets and a closing 0, aligned to 8, so that they can become pointers in place.
_Static_assert(sizeof(char *) == sizeof(uint64_t), "vectors are relocated in place");

struct blob {
  const uint8_t *bytes;
  uint64_t start;
  uint64_t end;
};

static int string_ok(const struct blob *blob, uint64_t offset) { return offset >= blob->start && offset < blob->end; }

static int vector_ok(const struct blob *blob, uint64_t offset) {
  if (offset % 8 != 0 || !string_ok(blob, offset)) return 0;
  for (uint64_t at = offset; at + 8 <= blob->end; at += 8) {
    uint64_t entry;
    memcpy(&entry, blob->bytes + at, sizeof entry);
    if (entry == 0) return 1;
    if (!string_ok(blob, entry)) return 0;
  }
  return 0;
}

static int bytes_ok(const struct blob *blob, uint64_t offset, uint64_t length) {
  return offset % 8 == 0 && offset >= blob->start && offset <= blob->end && length <= blob->end - offset;
}

static int op_ok(const struct blob *blob, const struct csandbox_op *op) {
  if (op->code == 0 || op->code >= CSANDBOX_CODES || op->zero[0] || op->zero[1] || op->zero[2]) return 0;
  const char *signature = signatures[op->code];
  if (signature == NULL) return 0;
  for (int i = 0; i < CSANDBOX_ARGS; i++) {
    uint64_t value = op->arg[i];
    int ok = 0;
    switch (signature[i]) {
    case '-':
      ok = value == 0;
      break;
    case 'i':
      ok = 1;
      break;
    case 'l':
      ok = 1;
      break;  // looked at with its bytes
    case 's':
      ok = string_ok(blob, value);
      break;
    case 'v':
      ok = vector_ok(blob, value);
      break;
    case 'b':
      ok = bytes_ok(blob, value, op->arg[i + 1]);
      break;
    case 'f':
      ok = value < CSANDBOX_SLOTS;
      break;
    case 'F':
      ok = value < CSANDBOX_SLOTS || value == CSANDBOX_NO_SLOT;
      break;
    default:
      break;
    }
    if (!ok) return 0;
  }
  return 1;
}

// Two vectors may not share bytes with one another: relocating one would break the other. Only EXEC has vectors and a
// plan has one EXEC, as its last operation, so that it is enough to look at the three of them.
static int vectors_apart(const struct blob *blob, const struct csandbox_op *op) {
  uint64_t ends[3];
  for (int i = 0; i < 3; i++) {
    uint64_t at = op->arg[i];
    uint64_t entry = 1;
    while (entry != 0) {
      memcpy(&entry, blob->bytes + at, sizeof entry);
      at += 8;
    }
    ends[i] = at;
  }
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++)
      if (i != j && op->arg[i] < ends[j] && op->arg[j] < ends[i]) return 0;
  return 1;
}

int csandbox_validate(const uint8_t *plan, size_t length) {
  enum { BAD_HEADER = 1 << 16 };
  struct csandbox_header header;
  if (length < sizeof header || length > CSANDBOX_BYTES_MAX) return BAD_HEADER;
  memcpy(&header, plan, sizeof header);
  if (header.magic != CSANDBOX_MAGIC || header.version != CSANDBOX_VERSION || header.zero != 0) return BAD_HEADER;
  if (header.total != length || header.op_count == 0 || header.op_count > CSANDBOX_OPS_MAX) return BAD_HEADER;
  uint64_t blob_start = sizeof header + (uint64_t)header.op_count * sizeof(struct csandbox_op);
  if (blob_start >= length || plan[length - 1] != 0) return BAD_HEADER;
  struct blob blob = {.bytes = plan, .start = blob_start, .end = length};
  for (int i = 0; i < header.op_count; i++) {
    struct csandbox_op op;
    memcpy(&op, plan + sizeof header + (size_t)i * sizeof op, sizeof op);
    if (!op_ok(&blob, &op)) return 1 + i;
    int last = i == header.op_count - 1;
    if ((op.code == CSANDBOX_EXEC) != last) return 1 + i;
    if (last && !vectors_apart(&blob, &op)) return 1 + i;
  }
  return 0;
}
