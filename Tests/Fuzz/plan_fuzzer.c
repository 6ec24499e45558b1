// Fuzzes the check of encoded plans: what it lets through is walked as the interpreter walks it, reading every byte
// that an operation could read, under AddressSanitizer. The interpreter's own calls into the kernel are left out.
#include <stdlib.h>
#include <string.h>

#include "plan.h"

static volatile size_t sink;

static size_t walk_string(const uint8_t *plan, uint64_t offset) { return strlen((const char *)plan + offset); }

static size_t walk_vector(uint8_t *plan, uint64_t offset) {
  uint64_t *entries = (uint64_t *)(void *)(plan + offset);
  size_t total = 0;
  for (size_t i = 0; entries[i] != 0; i++) {
    total += walk_string(plan, entries[i]);
    entries[i] = (uint64_t)(uintptr_t)plan + entries[i];
  }
  return total;
}

static size_t walk_bytes(const uint8_t *plan, uint64_t offset, uint64_t length) {
  size_t total = 0;
  for (uint64_t i = 0; i < length; i++) total += plan[offset + i];
  return total;
}

/// Arguments that are strings, by code; as the table of validate.c, which this is a check of.
static size_t walk(uint8_t *plan, const struct csandbox_op *op) {
  const uint64_t *arg = op->arg;
  switch (op->code) {
  case CSANDBOX_TREE:
  case CSANDBOX_FSOPEN:
  case CSANDBOX_FSFLAG:
  case CSANDBOX_ATTACH:
  case CSANDBOX_MKDIR:
  case CSANDBOX_MKNOD:
  case CSANDBOX_FSLAYER:
  case CSANDBOX_SUBTREE:
    return walk_string(plan, arg[1]);
  case CSANDBOX_FSSTRING:
  case CSANDBOX_SYMLINK:
    return walk_string(plan, arg[1]) + walk_string(plan, arg[2]);
  case CSANDBOX_MASK:
  case CSANDBOX_READONLY:
  case CSANDBOX_HOSTNAME:
  case CSANDBOX_DOMAINNAME:
  case CSANDBOX_CHDIR:
    return walk_string(plan, arg[0]);
  case CSANDBOX_SYSCTL:
    return walk_string(plan, arg[0]) + walk_bytes(plan, arg[1], arg[2]);
  case CSANDBOX_GROUPS:
  case CSANDBOX_SECCOMP:
    return walk_bytes(plan, arg[0], arg[1]);
  case CSANDBOX_EXEC:
    return walk_vector(plan, arg[0]) + walk_vector(plan, arg[1]) + walk_vector(plan, arg[2]);
  default:
    return 0;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Of exactly this size on the heap, so that a byte too far is seen.
  uint8_t *plan = malloc(size == 0 ? 1 : size);
  if (plan == NULL) return 0;
  memcpy(plan, data, size);
  if (csandbox_validate(plan, size) == 0) {
    struct csandbox_header header;
    memcpy(&header, plan, sizeof header);
    for (int i = 0; i < header.op_count; i++) {
      struct csandbox_op op;
      memcpy(&op, plan + sizeof header + (size_t)i * sizeof op, sizeof op);
      sink += walk(plan, &op);
    }
  }
  free(plan);
  return 0;
}

/// Random bytes seldom have the right header: give them one half of the time, and a valid plan to change.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  struct csandbox_header header = {
      .magic = CSANDBOX_MAGIC, .version = CSANDBOX_VERSION, .op_count = (uint16_t)(1 + seed % 3)};
  if (size < sizeof header + 4 * sizeof(struct csandbox_op) || seed % 4 == 0) return size;
  header.total = (uint32_t)size;
  memcpy(data, &header, sizeof header);
  data[size - 1] = 0;
  for (int i = 0; i < header.op_count; i++) {
    struct csandbox_op op;
    uint8_t *at = data + sizeof header + (size_t)i * sizeof op;
    memcpy(&op, at, sizeof op);
    int last = i + 1 == header.op_count;
    op.code = last ? CSANDBOX_EXEC : (uint16_t)(1 + op.code % (CSANDBOX_CODES - 2));
    memset(op.zero, 0, sizeof op.zero);
    for (int j = 0; j < CSANDBOX_ARGS; j++) op.arg[j] %= (seed % 2 ? size + 8 : 64);
    if (last)
      for (int j = 0; j < 3; j++) op.arg[j] &= ~(uint64_t)7, op.arg[j + 3] = 0;
    memcpy(at, &op, sizeof op);
  }
  return size;
}
