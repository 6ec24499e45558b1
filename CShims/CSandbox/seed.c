#include "seed.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/// A detached tmpfs with the seed's few directories, read-only. -1 with errno.
static int seed_root(void) {
  int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  int fd = -1;
  if (fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) == 0 &&
      fsconfig(context, FSCONFIG_SET_STRING, "size", "64k", 0) == 0 &&
      fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    fd = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  int err = errno;
  (void)close(context);
  errno = err;
  if (fd < 0) return -1;
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  if (mkdirat(fd, "shm", 0755) == 0 && mkdirat(fd, "empty", 0755) == 0 &&
      mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0)
    return fd;
  err = errno;
  (void)close(fd);
  errno = err;
  return -1;
}

static struct csandbox_seed make_here(void) {
  struct csandbox_seed seed = {.fd = -1, .stage = CSANDBOX_SEED_UNSHARE};
  // Of the old namespace: still leads to /proc when the new one has none.
  int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  int root = -1;
  if (proc < 0 || unshare(CLONE_FS | CLONE_NEWNS) < 0) goto failed;
  seed.stage = CSANDBOX_SEED_PRIVATE;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) goto failed;
  seed.stage = CSANDBOX_SEED_ROOT;
  root = seed_root();
  if (root < 0 || move_mount(root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) goto failed;
  seed.stage = CSANDBOX_SEED_PIVOT;
  if (fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
    goto failed;
  seed.stage = CSANDBOX_SEED_OPEN;
  seed.fd = openat(proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (seed.fd < 0) goto failed;
  seed.stage = CSANDBOX_SEED_OK;
failed:
  seed.err = seed.stage == CSANDBOX_SEED_OK ? 0 : errno;
  if (root >= 0) (void)close(root);
  if (proc >= 0) (void)close(proc);
  return seed;
}

static void *make_on_thread(void *result) {
  *(struct csandbox_seed *)result = make_here();
  return NULL;
}

struct csandbox_seed csandbox_seed_make(void) {
  struct csandbox_seed seed = {.fd = -1, .stage = CSANDBOX_SEED_UNSHARE};
  pthread_t thread;
  seed.err = pthread_create(&thread, NULL, make_on_thread, &seed);
  if (seed.err == 0) (void)pthread_join(thread, NULL);
  return seed;
}
