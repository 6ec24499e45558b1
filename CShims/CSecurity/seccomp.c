#include "CSecurity.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/capability.h>

uint32_t csecurity_action_allow(void) { return SCMP_ACT_ALLOW; }
uint32_t csecurity_action_errno(uint32_t err) { return SCMP_ACT_ERRNO(err); }
uint32_t csecurity_action_kill_process(void) { return SCMP_ACT_KILL_PROCESS; }
uint32_t csecurity_action_kill_thread(void) { return SCMP_ACT_KILL_THREAD; }
uint32_t csecurity_action_trap(void) { return SCMP_ACT_TRAP; }
uint32_t csecurity_action_trace(void) { return SCMP_ACT_TRACE(0); }
uint32_t csecurity_action_log(void) { return SCMP_ACT_LOG; }

void *csecurity_filter_new(uint32_t default_action) {
  scmp_filter_ctx filter = seccomp_init(default_action);
  if (filter == NULL) return NULL;
  // A binary tree instead of a chain: the kernel runs the filter once for every call number when it takes it.
  (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  (void)seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
  return filter;
}

void csecurity_filter_free(void *filter) { seccomp_release(filter); }

static const struct {
  const char *name;
  uint32_t token;
} architectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86}, {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},   {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM}, {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
};

uint32_t csecurity_architecture(const char *name) {
  for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++)
    if (strcmp(architectures[i].name, name) == 0) return architectures[i].token;
  return 0;
}

int csecurity_filter_add_architecture(void *filter, const char *name) {
  uint32_t token = csecurity_architecture(name);
  if (token == 0) return -ENOENT;
  int result = seccomp_arch_add(filter, token);
  return result == -EEXIST ? 0 : result;
}

int csecurity_filter_add_rule(
    void *filter, uint32_t action, const char *name, const struct csecurity_argument *arguments, unsigned int count) {
  static const enum scmp_compare compare[] = {
      [CSECURITY_NE] = SCMP_CMP_NE,
      [CSECURITY_LT] = SCMP_CMP_LT,
      [CSECURITY_LE] = SCMP_CMP_LE,
      [CSECURITY_EQ] = SCMP_CMP_EQ,
      [CSECURITY_GE] = SCMP_CMP_GE,
      [CSECURITY_GT] = SCMP_CMP_GT,
      [CSECURITY_MASKED_EQ] = SCMP_CMP_MASKED_EQ,
  };
  struct scmp_arg_cmp compared[6];
  if (count > 6) return -E2BIG;
  for (unsigned int i = 0; i < count; i++) {
    if (arguments[i].compare == 0 || arguments[i].compare > CSECURITY_MASKED_EQ || arguments[i].index > 5)
      return -EINVAL;
    compared[i] = (struct scmp_arg_cmp){
        .arg = arguments[i].index,
        .op = compare[arguments[i].compare],
        .datum_a = arguments[i].value,
        .datum_b = arguments[i].value_two};
  }
  int number = seccomp_syscall_resolve_name(name);
  if (number == __NR_SCMP_ERROR) return -ENOENT;
  int result = seccomp_rule_add_array(filter, action, number, count, compared);
  // The default action, asked for once more; or a rule that stands already.
  return result == -EACCES || result == -EEXIST ? 0 : result;
}

int csecurity_filter_export(void *filter, int fd) { return seccomp_export_bpf(filter, fd); }

static const struct {
  const char *name;
  int number;
} recent[] = {
    {"io_uring_setup", 425},
    {"io_uring_enter", 426},
    {"io_uring_register", 427},
    {"open_tree", 428},
    {"move_mount", 429},
    {"fsopen", 430},
    {"fsconfig", 431},
    {"fsmount", 432},
    {"fspick", 433},
    {"pidfd_open", 434},
    {"clone3", 435},
    {"close_range", 436},
    {"openat2", 437},
    {"pidfd_getfd", 438},
    {"faccessat2", 439},
    {"process_madvise", 440},
    {"epoll_pwait2", 441},
    {"mount_setattr", 442},
    {"quotactl_fd", 443},
    {"landlock_create_ruleset", 444},
    {"landlock_add_rule", 445},
    {"landlock_restrict_self", 446},
    {"memfd_secret", 447},
    {"process_mrelease", 448},
    {"futex_waitv", 449},
    {"set_mempolicy_home_node", 450},
    {"cachestat", 451},
    {"fchmodat2", 452},
    {"map_shadow_stack", 453},
    {"futex_wake", 454},
    {"futex_wait", 455},
    {"futex_requeue", 456},
    {"statmount", 457},
    {"listmount", 458},
    {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},
    {"mseal", 462},
    {"setxattrat", 463},
    {"getxattrat", 464},
    {"listxattrat", 465},
    {"removexattrat", 466},
    {"open_tree_attr", 467},
    {"file_getattr", 468},
    {"file_setattr", 469},
};

// Calls that 32-bit x86 had only as parts of socketcall and ipc, which is how libseccomp numbers them, and has by
// themselves since Linux 4.3 or 5.1, or always.
static const struct {
  const char *name;
  int number;
} split_x86[] = {
    {"socket", 359},   {"socketpair", 360}, {"bind", 361},       {"connect", 362},     {"listen", 363},
    {"accept4", 364},  {"getsockopt", 365}, {"setsockopt", 366}, {"getsockname", 367}, {"getpeername", 368},
    {"sendto", 369},   {"sendmsg", 370},    {"recvfrom", 371},   {"recvmsg", 372},     {"shutdown", 373},
    {"recvmmsg", 337}, {"sendmmsg", 345},   {"semget", 393},     {"semctl", 394},      {"shmget", 395},
    {"shmctl", 396},   {"shmat", 397},      {"shmdt", 398},      {"msgget", 399},      {"msgsnd", 400},
    {"msgrcv", 401},   {"msgctl", 402},
};

int csecurity_call_number(uint32_t architecture, const char *name) {
  int number = seccomp_syscall_resolve_name_arch(architecture, name);
  if (number >= 0) return number;
  if (architecture == SCMP_ARCH_X86)
    for (size_t i = 0; i < sizeof split_x86 / sizeof split_x86[0]; i++)
      if (strcmp(split_x86[i].name, name) == 0) return split_x86[i].number;
  // Negative for a call that another architecture has, and for a name that is none or newer than the library. Those
  // since Linux 5.1 have one number everywhere.
  if (number != __NR_SCMP_ERROR) return -1;
  for (size_t i = 0; i < sizeof recent / sizeof recent[0]; i++)
    if (strcmp(recent[i].name, name) == 0) return recent[i].number;
  return -1;
}

int csecurity_highest_call(void) { return recent[sizeof recent / sizeof recent[0] - 1].number; }

const char *csecurity_native_architecture_name(void) {
#if defined(__x86_64__)
  return "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
  return "SCMP_ARCH_AARCH64";
#else
#error "an architecture that Martlet has not been tried on"
#endif
}

int csecurity_capability_number(const char *name) {
  cap_value_t value;
  return cap_from_name(name, &value) < 0 ? -1 : (int)value;
}

int csecurity_capability_last(void) { return (int)cap_max_bits() - 1; }
