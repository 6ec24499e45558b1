// A device filter: which devices the processes of a cgroup may open or make, as a BPF program.
#include "CSecurity.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INSTRUCTIONS_PER_RULE = 8, PROLOGUE = 6, EPILOGUE = 2 };
enum {
  INSTRUCTIONS_MAX = CSECURITY_DEVICE_RULES_MAX * INSTRUCTIONS_PER_RULE + PROLOGUE + EPILOGUE,
  ALL_ACCESS = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE,
};

struct program {
  struct bpf_insn instructions[INSTRUCTIONS_MAX];
  int count;
};

static void emit(struct program *program, uint8_t code, uint8_t dst, uint8_t src, int16_t offset, int32_t value) {
  program->instructions[program->count++] =
      (struct bpf_insn){.code = code, .dst_reg = dst, .src_reg = src, .off = offset, .imm = value};
}

/// The rule decides where all of it matches; otherwise the next one is asked. Registers: 2 kind, 3 access, 4 major,
/// 5 minor. Returns 1 for a rule that always matches.
static int emit_rule(struct program *program, const struct csecurity_device_rule *rule) {
  int start = program->count;
  int checks = (rule->kind != 0) + (rule->major >= 0) + (rule->minor >= 0) + (rule->access != ALL_ACCESS ? 3 : 0);
  int end = start + checks + 2;
  if (rule->kind != 0) {
    int jump = end - program->count - 1;
    emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, (int16_t)jump, (int32_t)rule->kind);
  }
  if (rule->access != ALL_ACCESS) {
    // An allowing rule must cover all that is wanted, a denying one any of it.
    emit(program, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
    emit(program, BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, (int32_t)rule->access);
    int jump = end - program->count - 1;
    if (rule->allow)
      emit(program, BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, BPF_REG_3, (int16_t)jump, 0);
    else
      emit(program, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, (int16_t)jump, 0);
  }
  if (rule->major >= 0) {
    int jump = end - program->count - 1;
    emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, (int16_t)jump, (int32_t)rule->major);
  }
  if (rule->minor >= 0) {
    int jump = end - program->count - 1;
    emit(program, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, (int16_t)jump, (int32_t)rule->minor);
  }
  emit(program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, rule->allow ? 1 : 0);
  emit(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  return checks == 0;
}

int csecurity_device_filter_load(const struct csecurity_device_rule *rules, size_t count) {
  static _Thread_local struct program program;
  if (count > CSECURITY_DEVICE_RULES_MAX) return -E2BIG;
  program.count = 0;
  // Arguments: access << 16 | kind, then major, then minor.
  emit(&program, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_3, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
  emit(&program, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_3, 0, 0);
  emit(&program, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
  emit(&program, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
  emit(&program, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
  emit(&program, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
  // The last rule that matches wins, so they are asked from the last one on.
  int is_decided = 0;
  for (size_t i = count; i > 0 && !is_decided; i--) is_decided = emit_rule(&program, &rules[i - 1]);
  // Code that nothing reaches is refused by the kernel.
  if (!is_decided) {
    emit(&program, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
    emit(&program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  }
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = (uint64_t)(uintptr_t)program.instructions;
  attributes.insn_cnt = (uint32_t)program.count;
  attributes.license = (uint64_t)(uintptr_t) "Apache-2.0";
  memcpy(attributes.prog_name, "mt_devices", sizeof "mt_devices");
  long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
  return fd < 0 ? -errno : (int)fd;
}

int csecurity_device_filter_attach(int filter, int cgroup) {
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = (uint32_t)cgroup;
  attributes.attach_bpf_fd = (uint32_t)filter;
  attributes.attach_type = BPF_CGROUP_DEVICE;
  // Whoever runs above may add its own filter, and the workload below too: every one of them has to agree.
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  return syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes) < 0 ? -errno : 0;
}
