// Starting a program from a process of any size and many threads: the child shares the caller's memory until exec,
// so nothing is copied, and does only what is async-signal-safe.
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK_BYTES = 64 * 1024, FIRST_EXTRA = 3, PARKING = 64 };

struct spawn_plan {
  const char *path;
  char *const *argv;
  char *const *envp;
  const int *stdio;
  const int *extra;
  size_t extra_count;
  int new_session;
  int death_signal;
  sigset_t mask;
  int err;
};

/// Moves `fds` out of the way of the numbers they will get, so that no dup2 closes one that is still needed.
static int park(const int *fds, size_t count, int *parked) {
  for (size_t i = 0; i < count; i++) {
    parked[i] = fds[i] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : fds[i];
    if (parked[i] >= 0) {
      parked[i] = fcntl(parked[i], F_DUPFD_CLOEXEC, PARKING);
    }
    if (parked[i] < 0) {
      return -1;
    }
  }
  return 0;
}

static int spawn_child(void *argument) {
  struct spawn_plan *plan = argument;
  int parked[FIRST_EXTRA + 16];
  if (plan->extra_count > 16) {
    errno = EINVAL;
    goto failed;
  }
  if (park(plan->stdio, FIRST_EXTRA, parked) < 0 || park(plan->extra, plan->extra_count, parked + FIRST_EXTRA) < 0) {
    goto failed;
  }
  size_t total = FIRST_EXTRA + plan->extra_count;
  for (size_t i = 0; i < total; i++) {
    if (dup2(parked[i], (int)i) < 0) {
      goto failed;
    }
  }
  if (syscall(SYS_close_range, (unsigned int)total, ~0U, CLOSE_RANGE_CLOEXEC) < 0) {
    goto failed;
  }
  if (plan->new_session && setsid() < 0) {
    goto failed;
  }
  if (plan->death_signal != 0 && prctl(PR_SET_PDEATHSIG, plan->death_signal) < 0) {
    goto failed;
  }
  struct sigaction standard = {.sa_handler = SIG_DFL};
  for (int signal = 1; signal < NSIG; signal++) {
    (void)sigaction(signal, &standard, NULL);
  }
  sigset_t none;
  (void)sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
  (void)execve(plan->path, plan->argv, plan->envp);
failed:
  plan->err = errno;
  _exit(127);
}

struct clinux_spawn_result clinux_spawn(
    const char *path, char *const *argv, char *const *envp, const int stdio[3], const int *extra, size_t extra_count,
    int new_session, int death_signal) {
  struct clinux_spawn_result result = {.pid = -1, .pidfd = -1, .err = 0};
  char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) {
    result.err = errno;
    return result;
  }
  struct spawn_plan plan = {
      .path = path,
      .argv = argv,
      .envp = envp,
      .stdio = stdio,
      .extra = extra,
      .extra_count = extra_count,
      .new_session = new_session,
      .death_signal = death_signal};
  sigset_t all;
  (void)sigfillset(&all);
  // No handler of the caller's may run in the child, which shares its memory.
  (void)pthread_sigmask(SIG_SETMASK, &all, &plan.mask);
  int pidfd = -1;
  pid_t pid = clone(spawn_child, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &plan, &pidfd);
  int err = errno;
  (void)pthread_sigmask(SIG_SETMASK, &plan.mask, NULL);
  (void)munmap(stack, STACK_BYTES);
  if (pid < 0) {
    result.err = err;
    return result;
  }
  if (plan.err != 0) {
    int ignored;
    (void)clinux_waitid_pidfd(pidfd, 0, &ignored);
    (void)close(pidfd);
    result.err = plan.err;
    return result;
  }
  result.pid = pid;
  result.pidfd = pidfd;
  return result;
}
