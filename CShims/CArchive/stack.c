#include "CArchive.h"

#include <errno.h>
#include <sys/mount.h>
#include <unistd.h>

static struct carchive_stack_result failed(int fd, enum carchive_stack_stage stage, int32_t layer) {
  struct carchive_stack_result result = {.fd = -1, .stage = stage, .layer = layer, .err = errno};
  if (fd >= 0) (void)close(fd);
  return result;
}

struct carchive_stack_result carchive_stack(const char *const *layers, size_t count) {
  int context = fsopen("overlay", FSOPEN_CLOEXEC);
  if (context < 0) return failed(-1, CARCHIVE_STACK_OPEN, -1);
  for (size_t i = 0; i < count; i++)
    if (fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", layers[i], 0) < 0)
      return failed(context, CARCHIVE_STACK_LAYER, (int32_t)i);
  if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) return failed(context, CARCHIVE_STACK_CREATE, -1);
  unsigned attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  int mount = fsmount(context, FSMOUNT_CLOEXEC, attributes);
  if (mount < 0) return failed(context, CARCHIVE_STACK_MOUNT, -1);
  (void)close(context);
  return (struct carchive_stack_result){.fd = mount, .stage = CARCHIVE_STACK_DONE, .layer = -1};
}
