// libseccomp, libcap and the kernel's device filters, as calls on plain values.
#ifndef CSECURITY_H
#define CSECURITY_H

#include <stddef.h>
#include <stdint.h>

/// What is done about a system call; libseccomp's action values.
uint32_t csecurity_action_allow(void);
uint32_t csecurity_action_errno(uint32_t err);
uint32_t csecurity_action_kill_process(void);
uint32_t csecurity_action_kill_thread(void);
uint32_t csecurity_action_trap(void);
uint32_t csecurity_action_trace(void);
uint32_t csecurity_action_log(void);

enum csecurity_compare {
  CSECURITY_NE = 1,
  CSECURITY_LT,
  CSECURITY_LE,
  CSECURITY_EQ,
  CSECURITY_GE,
  CSECURITY_GT,
  CSECURITY_MASKED_EQ,
};

struct csecurity_argument {
  uint32_t index;
  uint32_t compare;
  uint64_t value;
  uint64_t value_two;  // for MASKED_EQ: value is the mask, this is what must be left
};

/// A filter under construction; NULL where there is no memory or the action is none.
void *_Nullable csecurity_filter_new(uint32_t default_action);
void csecurity_filter_free(void *_Nonnull filter);
/// These return 0 or a negative error number. An architecture that is there already is fine.
int csecurity_filter_add_architecture(void *_Nonnull filter, const char *_Nonnull name);
/// -ENOENT for a name that the library does not know.
int csecurity_filter_add_rule(
    void *_Nonnull filter, uint32_t action, const char *_Nonnull name,
    const struct csecurity_argument *_Nullable arguments, unsigned int count);
/// Writes the program to a descriptor, as an array of the kernel's instructions.
int csecurity_filter_export(void *_Nonnull filter, int fd);
/// The number of an architecture, AUDIT_ARCH_*, by its name, as "SCMP_ARCH_X86_64"; 0 for none.
uint32_t csecurity_architecture(const char *_Nonnull name);
/// The number of a system call of an architecture; -1 where it has none of that name.
int csecurity_call_number(uint32_t architecture, const char *_Nonnull name);
/// The highest number of a call that was known when this was written.
int csecurity_highest_call(void);
/// "SCMP_ARCH_X86_64" of this machine.
const char *_Nonnull csecurity_native_architecture_name(void);

/// The number of a capability by its name in lower case, as "cap_chown"; -1 for none.
int csecurity_capability_number(const char *_Nonnull name);
/// The highest that the running kernel has.
int csecurity_capability_last(void);

/// One device rule, later ones over earlier ones. Negative numbers are every one.
struct csecurity_device_rule {
  uint32_t allow;
  uint32_t kind;    // 0: every one, or BPF_DEVCG_DEV_BLOCK (1), BPF_DEVCG_DEV_CHAR (2)
  uint32_t access;  // BPF_DEVCG_ACC_MKNOD (1), READ (2), WRITE (4)
  int64_t major;
  int64_t minor;
};

enum { CSECURITY_DEVICE_RULES_MAX = 400 };

/// Loads a device filter; a descriptor, or a negative error number.
int csecurity_device_filter_load(const struct csecurity_device_rule *_Nonnull rules, size_t count);
/// Attaches a loaded filter to a cgroup. 0, or a negative error number.
int csecurity_device_filter_attach(int filter, int cgroup);

#endif
