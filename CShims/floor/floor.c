// What the kernel itself takes for a container, with nothing decided and nothing written down: the measure that
// `martlet-bench container` compares with.
//
// floor LOWER DIRECTORY CGROUP PROGRAM
//
// For each byte read from standard input, once around; the nanoseconds of that go to standard output, 8 bytes in the
// machine's order. Byte 1: clone3 with mount, PID and cgroup namespaces; in the child an overlay of LOWER and of
// directories that are there, /proc, a tmpfs on /dev, pivot_root, exec of PROGRAM; in the parent the wait for its end.
// Byte 2: the same with what is created and deleted for one container alone: the overlay's two directories, and a
// cgroup below CGROUP that the clone is born in.
//
// A process of its own and this small, since a clone copies the page tables of whoever asks. The end of input ends it
// with status 0; a failure with status 1 and a line on standard error.
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum kind { BARE = 1, WHOLE = 2 };

static char options[3][8192];  // of the overlay, by kind
static int places[3] = {-1, -1, -1};
static int groups = -1;

static _Noreturn void child(const char *root, char *program, enum kind kind) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) _exit(101);
  if (mount("overlay", root, "overlay", 0, options[kind]) < 0) _exit(102);
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

static int begin_whole(void) {
  if (mkdirat(places[WHOLE], "upper", 0755) < 0 || mkdirat(places[WHOLE], "work", 0700) < 0) return -1;
  if (mkdirat(groups, "floor", 0755) < 0) return -1;
  return openat(groups, "floor", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int end_whole(int group) {
  if (close(group) < 0 || unlinkat(groups, "floor", AT_REMOVEDIR) < 0) return -1;
  if (unlinkat(places[WHOLE], "upper", AT_REMOVEDIR) < 0) return -1;
  if (unlinkat(places[WHOLE], "work/work", AT_REMOVEDIR) < 0) return -1;
  return unlinkat(places[WHOLE], "work", AT_REMOVEDIR);
}

static int64_t failed(const char *call) {
  fprintf(stderr, "floor: %s: %s\n", call, strerror(errno));
  return -1;
}

/// Nanoseconds of one time around; -1 after a line on standard error.
static int64_t once(const char *root, char *program, enum kind kind) {
  struct clone_args arguments = {
      .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP,
      .exit_signal = SIGCHLD,
  };
  int64_t begin = now();
  int group = kind == WHOLE ? begin_whole() : -1;
  if (kind == WHOLE && group < 0) return failed("making directories and cgroup");
  if (group >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = (uint64_t)group;
  }
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) child(root, program, kind);
  if (pid < 0) return failed("clone3");
  int status = 0;
  while (waitpid((pid_t)pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (kind == WHOLE && end_whole(group) < 0) return failed("removing directories and cgroup");
  int64_t end = now();
  if (status != 0) {
    fprintf(stderr, "floor: the child ended with wait status 0x%x; 101 and up are its steps\n", (unsigned)status);
    return -1;
  }
  return end - begin;
}

/// The directories of a kind, made; and the options of its overlay.
static int prepare(const char *lower, const char *directory, enum kind kind) {
  static const char *const names[] = {[BARE] = "bare", [WHOLE] = "whole"};
  int base = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (base < 0 || mkdirat(base, names[kind], 0755) < 0) return -1;
  places[kind] = openat(base, names[kind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (places[kind] < 0) return -1;
  if (kind == BARE && (mkdirat(places[kind], "upper", 0755) < 0 || mkdirat(places[kind], "work", 0700) < 0)) return -1;
  int length = snprintf(
      options[kind], sizeof options[kind], "lowerdir=%s,upperdir=%s/%s/upper,workdir=%s/%s/work", lower, directory,
      names[kind], directory, names[kind]);
  return length > 0 && length < (int)sizeof options[kind] ? close(base) : -1;
}

int main(int count, char **values) {
  static char root[4096];
  if (count != 5 || snprintf(root, sizeof root, "%s/root", values[2]) >= (int)sizeof root) {
    fputs("usage: floor LOWER DIRECTORY CGROUP PROGRAM\n", stderr);
    return 2;
  }
  groups = open(values[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (groups < 0 || mkdir(root, 0755) < 0 || prepare(values[1], values[2], BARE) < 0 ||
      prepare(values[1], values[2], WHOLE) < 0)
    return failed("preparing") < 0;
  char byte;
  while (read(STDIN_FILENO, &byte, 1) == 1) {
    if (byte != BARE && byte != WHOLE) return 2;
    int64_t nanoseconds = once(root, values[4], (enum kind)byte);
    if (nanoseconds < 0 || write(STDOUT_FILENO, &nanoseconds, sizeof nanoseconds) != sizeof nanoseconds) return 1;
  }
  return 0;
}
