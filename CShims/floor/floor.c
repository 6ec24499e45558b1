// What the kernel itself takes for a container, with nothing decided and nothing written down: the measure that
// `martlet-bench container` compares with.
//
// floor LOWER UPPER WORK ROOT PROGRAM
//
// For each byte read from standard input: clone3 with mount, PID and cgroup namespaces; in the child an overlay of
// LOWER, UPPER and WORK on ROOT, /proc, a tmpfs on /dev, pivot_root, exec of PROGRAM; in the parent the wait for its
// end. The nanoseconds of that go to standard output, 8 bytes in the machine's order. A process of its own and this
// small, since a clone copies the page tables of whoever asks. The end of input ends it with status 0; a failure with
// status 1 and a line on standard error.
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char options[8192];

static _Noreturn void child(const char *root, char *program) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) _exit(101);
  if (mount("overlay", root, "overlay", 0, options) < 0) _exit(102);
  if (chdir(root) < 0) _exit(103);
  if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) _exit(104);
  if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k") < 0) _exit(105);
  if (syscall(SYS_pivot_root, ".", ".") < 0) _exit(106);
  if (umount2(".", MNT_DETACH) < 0) _exit(107);
  if (chdir("/") < 0) _exit(108);
  char *arguments[] = {program, NULL};
  char *environment[] = {NULL};
  execve(program, arguments, environment);
  _exit(109);
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/// Nanoseconds from clone to the end of the program; -1 after a line on standard error.
static int64_t once(const char *root, char *program) {
  struct clone_args arguments = {
      .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP,
      .exit_signal = SIGCHLD,
  };
  int64_t begin = now();
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) child(root, program);
  if (pid < 0) {
    fprintf(stderr, "floor: clone3: %s\n", strerror(errno));
    return -1;
  }
  int status = 0;
  while (waitpid((pid_t)pid, &status, 0) < 0 && errno == EINTR) {
  }
  int64_t end = now();
  if (status != 0) {
    fprintf(stderr, "floor: the child ended with wait status 0x%x; 101 and up are its steps\n", (unsigned)status);
    return -1;
  }
  return end - begin;
}

int main(int count, char **values) {
  if (count != 6) {
    fputs("usage: floor LOWER UPPER WORK ROOT PROGRAM\n", stderr);
    return 2;
  }
  int length = snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", values[1], values[2], values[3]);
  if (length < 0 || length >= (int)sizeof options) return 2;
  char byte;
  while (read(STDIN_FILENO, &byte, 1) == 1) {
    int64_t nanoseconds = once(values[4], values[5]);
    if (nanoseconds < 0 || write(STDOUT_FILENO, &nanoseconds, sizeof nanoseconds) != sizeof nanoseconds) return 1;
  }
  return 0;
}
