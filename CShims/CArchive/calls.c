#include "CArchive.h"

#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

int64_t carchive_available_bytes(int fd) {
  struct statfs info;
  if (fstatfs(fd, &info) == -1) return -1;
  uint64_t blocks = info.f_bavail, size = (uint64_t)info.f_bsize;
  return size != 0 && blocks > INT64_MAX / size ? INT64_MAX : (int64_t)(blocks * size);
}

int carchive_fsetxattr(int fd, const char *name, const void *value, size_t size) {
  return fsetxattr(fd, name, value, size, 0);
}

int carchive_lsetxattr(const char *path, const char *name, const void *value, size_t size) {
  return lsetxattr(path, name, value, size, 0);
}

long carchive_lgetxattr(const char *path, const char *name, void *value, size_t size) {
  return lgetxattr(path, name, value, size);
}

long carchive_llistxattr(const char *path, char *list, size_t size) { return llistxattr(path, list, size); }

int carchive_syncfs(int fd) { return syncfs(fd); }
