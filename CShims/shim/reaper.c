// PID 1 of the namespace that a pod's containers share: it lives, and the kernel reaps for it.
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

enum { NOBODY = 65535 };  // as the pause process of other runtimes

/// It is in reach of the pod's containers, so it keeps nothing: no host file system, no descriptor, no privilege.
_Noreturn static void be_reaper(int ready) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2] = {{0}, {0}};
  // Ignored, a dead child leaves no zombie behind.
  struct sigaction ignore = {.sa_handler = SIG_IGN};
  sigset_t all;
  (void)sigfillset(&all);
  bool ok = setns(shim.seed, CLONE_NEWNS) == 0 && unshare(CLONE_NEWNS | CLONE_NEWCGROUP) == 0 &&
            sigaction(SIGCHLD, &ignore, NULL) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_setgroups, 0, NULL) == 0 &&
            syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) == 0 &&
            syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) == 0 && syscall(SYS_capset, &header, none) == 0;
  int err = ok ? 0 : errno;
  (void)write(ready, &err, sizeof err);
  if (!ok) _exit(1);
  (void)syscall(SYS_close_range, 3U, ~0U, 0);
  (void)sigprocmask(SIG_SETMASK, &all, NULL);
  for (;;) (void)pause();
}

/// Starts the reaper and keeps its namespace. 0, or an error number with nothing running.
int start_reaper(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return errno;
  struct clone_args args = {.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
  pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) be_reaper(ends[1]);
  int err = pid < 0 ? errno : 0;
  (void)close(ends[1]);
  if (err == 0) {
    char path[32];
    (void)snprintf(path, sizeof path, "%d/ns/pid", (int)pid);
    shim.pod_pid_namespace = openat(shim.proc, path, O_RDONLY | O_CLOEXEC);
    if (shim.pod_pid_namespace < 0) err = errno;
    int reported = EIO;
    if (err == 0 && read(ends[0], &reported, sizeof reported) >= 0) err = reported;
    if (err == 0)
      shim.reaper = pid;
    else
      (void)kill(pid, SIGKILL);
  }
  (void)close(ends[0]);
  return err;
}
