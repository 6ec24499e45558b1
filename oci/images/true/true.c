// exit(0) without a library; with an argument it waits for a signal instead, so that the same file serves as a sleeper.
#include <sys/syscall.h>

static long call(long number, long first) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first) : "rcx", "r11", "memory");
  return result;
}

__attribute__((used)) static void begin(const long *stack) {
  if (stack[0] > 1)
    for (;;) call(SYS_pause, 0);
  call(SYS_exit_group, 0);
}

__attribute__((naked, noreturn)) void _start(void) { __asm__("mov %rsp, %rdi\n\tcall begin\n\thlt"); }
