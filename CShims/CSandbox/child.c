// What runs between clone and exec: the plan, one operation after another.
//
// Nothing here may allocate, lock or print: the process is a copy of another one, in the middle of whatever that did.
// hack/check-shims holds this file to the calls that CShims/ASYNC_SIGNAL_SAFE.txt lists. Longer than a shim file should
// be, because everything that runs after clone belongs where that one check sees it.
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { DEVPTS_MAGIC = 0x1cd1, LINKS_MAX = 16 };

typedef int operation(struct csandbox_child *child, const uint64_t *arg);

static char *text(struct csandbox_child *child, uint64_t offset) { return (char *)child->plan + offset; }

static int slot_fd(struct csandbox_child *child, uint64_t slot) { return child->slots[slot]; }

/// Keeps a new descriptor; -1 with errno passes through.
static int keep(struct csandbox_child *child, uint64_t slot, int fd) {
  if (fd < 0) return -1;
  if (child->slots[slot] >= 0) (void)close(child->slots[slot]);
  child->slots[slot] = fd;
  return 0;
}

static int open_resolved(int root, const char *path, uint64_t flags, uint64_t resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
  return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static uint64_t resolve_flags(uint64_t flags) {
  return RESOLVE_IN_ROOT | (flags & CSANDBOX_ATTACH_NO_SYMLINKS ? RESOLVE_NO_SYMLINKS : RESOLVE_NO_MAGICLINKS);
}

// --- Paths below a root

/// A component that opens as missing and exists is a dangling link: puts its target in its place in child->path.
static int follow_dangling(struct csandbox_child *child, int parent, size_t name, size_t end) {
  size_t rest = strlen(child->path + end);
  char saved = child->path[end];
  child->path[end] = '\0';
  ssize_t count = readlinkat(parent, child->path + name, child->link, sizeof child->link - 1);
  child->path[end] = saved;
  if (count < 0) return -1;
  size_t length = (size_t)count;
  size_t kept = child->link[0] == '/' ? 0 : name;
  if (kept + length + 1 + rest + 1 > sizeof child->path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memmove(child->path + kept + length + 1, child->path + end, rest + 1);
  memcpy(child->path + kept, child->link, length);
  child->path[kept + length] = '/';
  return 0;
}

static int make_component(int parent, const char *name, int as_file, mode_t mode) {
  if (!as_file) return mkdirat(parent, name, mode);
  int fd = openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
  return fd < 0 ? -1 : close(fd);
}

/// One pass over child->path, making what is missing. 1: a link was followed, start again; 0: `*opened` is the target.
static int walk_making(struct csandbox_child *child, int root, uint64_t flags, mode_t mode, int *opened) {
  int parent = fcntl(root, F_DUPFD_CLOEXEC, 3);
  size_t name = 0;
  while (parent >= 0) {
    while (child->path[name] == '/') name++;
    if (child->path[name] == '\0') {
      *opened = parent;
      return 0;
    }
    size_t end = name;
    while (child->path[end] != '\0' && child->path[end] != '/') end++;
    size_t after = end;
    while (child->path[after] == '/') after++;
    int last = child->path[after] == '\0';
    char saved = child->path[end];
    child->path[end] = '\0';
    int fd = open_resolved(root, child->path, O_PATH, resolve_flags(flags));
    if (fd < 0 && errno == ENOENT) {
      int made = make_component(parent, child->path + name, last && (flags & CSANDBOX_ATTACH_MAKE_FILE), mode);
      if (made == 0) {
        fd = openat(parent, child->path + name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
      } else if (errno == EEXIST && !(flags & CSANDBOX_ATTACH_NO_SYMLINKS)) {
        child->path[end] = saved;
        int followed = follow_dangling(child, parent, name, end);
        (void)close(parent);
        return followed < 0 ? -1 : 1;
      }
    }
    child->path[end] = saved;
    int err = errno;
    (void)close(parent);
    errno = err;
    parent = fd;
    name = end;
  }
  return -1;
}

/// An O_PATH descriptor of `path` as a process sees it whose root is `root`; makes what is missing where flags say so.
static int resolve(struct csandbox_child *child, int root, const char *path, uint64_t flags, mode_t mode) {
  int fd = open_resolved(root, path, O_PATH, resolve_flags(flags));
  if (fd >= 0 || errno != ENOENT || !(flags & (CSANDBOX_ATTACH_MAKE_DIRECTORY | CSANDBOX_ATTACH_MAKE_FILE))) return fd;
  size_t length = strlen(path);
  if (length >= sizeof child->path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(child->path, path, length + 1);
  for (int links = 0; links < LINKS_MAX; links++) {
    int walked = walk_making(child, root, flags, mode, &fd);
    if (walked < 0) return -1;
    if (walked == 0) return fd;
  }
  errno = ELOOP;
  return -1;
}

/// Closes and keeps errno, so that a result can be passed through.
static int closing(int fd, int result) {
  int err = errno;
  (void)close(fd);
  errno = err;
  return result;
}

// --- Mounts

static int op_tree(struct csandbox_child *child, const uint64_t *arg) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (arg[2] & CSANDBOX_TREE_RECURSIVE ? AT_RECURSIVE : 0);
  int fd = open_tree(AT_FDCWD, text(child, arg[1]), flags);
  if (fd < 0) return -1;
  if (arg[2] & CSANDBOX_TREE_NULL_DEVICE) {
    struct stat status;
    if (fstat(fd, &status) < 0) return closing(fd, -1);
    if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
      (void)close(fd);
      errno = ENODEV;
      return -1;
    }
  }
  return keep(child, arg[0], fd);
}

static int op_fsopen(struct csandbox_child *child, const uint64_t *arg) {
  return keep(child, arg[0], fsopen(text(child, arg[1]), FSOPEN_CLOEXEC));
}

static int op_fsstring(struct csandbox_child *child, const uint64_t *arg) {
  return fsconfig(slot_fd(child, arg[0]), FSCONFIG_SET_STRING, text(child, arg[1]), text(child, arg[2]), 0);
}

static int op_fsflag(struct csandbox_child *child, const uint64_t *arg) {
  return fsconfig(slot_fd(child, arg[0]), FSCONFIG_SET_FLAG, text(child, arg[1]), NULL, 0);
}

static int op_fsmount(struct csandbox_child *child, const uint64_t *arg) {
  int context = slot_fd(child, arg[0]);
  if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) return -1;
  return keep(child, arg[0], fsmount(context, FSMOUNT_CLOEXEC, (unsigned)arg[1]));
}

static int op_attributes(struct csandbox_child *child, const uint64_t *arg) {
  struct mount_attr attributes = {.attr_set = arg[1], .attr_clr = arg[2], .propagation = arg[3]};
  unsigned flags = AT_EMPTY_PATH | (arg[4] ? AT_RECURSIVE : 0);
  return mount_setattr(slot_fd(child, arg[0]), "", flags, &attributes, sizeof attributes);
}

static int op_idmap(struct csandbox_child *child, const uint64_t *arg) {
  struct mount_attr attributes = {
      .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)child->slots[CSANDBOX_SLOT_USER]};
  unsigned flags = AT_EMPTY_PATH | (arg[1] ? AT_RECURSIVE : 0);
  return mount_setattr(slot_fd(child, arg[0]), "", flags, &attributes, sizeof attributes);
}

static int op_fslayer(struct csandbox_child *child, const uint64_t *arg) {
  return fsconfig(slot_fd(child, arg[0]), FSCONFIG_SET_FD, text(child, arg[1]), NULL, slot_fd(child, arg[2]));
}

/// Kernels before 6.15 copy only what is attached: there the whole is attached to the seed meanwhile.
static int copy_part(int whole, int part) {
  const unsigned flags = AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  int copy = open_tree(part, "", flags);
  if (copy >= 0 || errno != EINVAL) return copy;
  if (move_mount(whole, "", AT_FDCWD, "/empty", MOVE_MOUNT_F_EMPTY_PATH) < 0) return -1;
  copy = open_tree(part, "", flags);
  int err = errno;
  (void)umount2("/empty", MNT_DETACH);
  errno = err;
  return copy;
}

static int op_subtree(struct csandbox_child *child, const uint64_t *arg) {
  int whole = slot_fd(child, arg[0]);
  int part = open_resolved(whole, text(child, arg[1]), O_PATH, resolve_flags(0));
  if (part < 0) return -1;
  return keep(child, arg[0], closing(part, copy_part(whole, part)));
}

/// The mounts stay as they are: made by somebody more privileged, they are locked in the copy.
static int op_user(struct csandbox_child *child, const uint64_t *arg) {
  (void)arg;
  if (setns(child->slots[CSANDBOX_SLOT_USER], CLONE_NEWUSER) < 0) return -1;
  return unshare(CLONE_NEWNS);
}

static int op_enter(struct csandbox_child *child, const uint64_t *arg) {
  if (setns(child->slots[CSANDBOX_SLOT_SEED], CLONE_NEWNS) < 0) return -1;
  return unshare((int)arg[0]);
}

static int op_root(struct csandbox_child *child, const uint64_t *arg) {
  int fd = slot_fd(child, arg[0]);
  if (move_mount(fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0) return -1;
  return keep(child, CSANDBOX_SLOT_ROOT, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

static int attach(int mount, int target) {
  return move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/// On a directory of a file system that this plan has made: no name in it is a link that somebody else put there, so
/// that it needs no walk. A last component that is a link is not followed, and refused.
static int attach_within(struct csandbox_child *child, int mount, uint64_t base, const char *name) {
  int directory = slot_fd(child, base);
  if (mkdirat(directory, name, 0755) < 0 && errno != EEXIST) return -1;
  return move_mount(mount, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH);
}

static int op_attach(struct csandbox_child *child, const uint64_t *arg) {
  const uint64_t either = CSANDBOX_ATTACH_MAKE_DIRECTORY | CSANDBOX_ATTACH_MAKE_FILE;
  int mount = slot_fd(child, arg[0]);
  if (arg[3] != CSANDBOX_NO_SLOT) return attach_within(child, mount, arg[3], text(child, arg[1]));
  uint64_t flags = arg[2];
  if ((flags & either) == either) {
    struct stat status;
    if (fstat(mount, &status) < 0) return -1;
    flags &= ~(uint64_t)(S_ISDIR(status.st_mode) ? CSANDBOX_ATTACH_MAKE_FILE : CSANDBOX_ATTACH_MAKE_DIRECTORY);
  }
  int target = resolve(child, child->slots[CSANDBOX_SLOT_ROOT], text(child, arg[1]), flags, 0755);
  if (target < 0) return -1;
  return closing(target, attach(mount, target));
}

/// Covers a slot's first target with the mount itself and later ones with copies: only a mount that is attached can be
/// copied on every kernel.
static int cover_from_slot(struct csandbox_child *child, int slot, int target) {
  int fd = child->slots[slot];
  if (!child->attached[slot]) {
    child->attached[slot] = 1;
    return attach(fd, target);
  }
  int copy = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (copy < 0) return -1;
  return closing(copy, attach(copy, target));
}

/// Opens a path that may be missing. 1: it is missing.
static int open_optional(struct csandbox_child *child, uint64_t path, int *fd) {
  *fd = open_resolved(child->slots[CSANDBOX_SLOT_ROOT], text(child, path), O_PATH, resolve_flags(0));
  if (*fd >= 0) return 0;
  return errno == ENOENT || errno == ENOTDIR ? 1 : -1;
}

/// Covers a name of a file system that this plan has made, as `attach_within` does.
static int mask_within(struct csandbox_child *child, uint64_t base, const char *name) {
  int directory = slot_fd(child, base);
  struct stat status;
  if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? 0 : -1;
  int slot = S_ISDIR(status.st_mode) ? CSANDBOX_SLOT_EMPTY : CSANDBOX_SLOT_NULL;
  int fd = child->slots[slot];
  if (!child->attached[slot]) {
    child->attached[slot] = 1;
    return move_mount(fd, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH);
  }
  int copy = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (copy < 0) return -1;
  return closing(copy, move_mount(copy, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH));
}

static int op_mask(struct csandbox_child *child, const uint64_t *arg) {
  if (arg[1] != CSANDBOX_NO_SLOT) return mask_within(child, arg[1], text(child, arg[0]));
  int target;
  int opened = open_optional(child, arg[0], &target);
  if (opened != 0) return opened < 0 ? -1 : 0;
  struct stat status;
  if (fstat(target, &status) < 0) return closing(target, -1);
  int slot = S_ISDIR(status.st_mode) ? CSANDBOX_SLOT_EMPTY : CSANDBOX_SLOT_NULL;
  return closing(target, cover_from_slot(child, slot, target));
}

static int readonly_within(struct csandbox_child *child, uint64_t base, const char *name) {
  int directory = slot_fd(child, base);
  unsigned flags = AT_SYMLINK_NOFOLLOW | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  int copy = open_tree(directory, name, flags);
  if (copy < 0) return errno == ENOENT ? 0 : -1;
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  int result = mount_setattr(copy, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
  if (result == 0) result = move_mount(copy, "", directory, name, MOVE_MOUNT_F_EMPTY_PATH);
  return closing(copy, result);
}

static int op_readonly(struct csandbox_child *child, const uint64_t *arg) {
  if (arg[1] != CSANDBOX_NO_SLOT) return readonly_within(child, arg[1], text(child, arg[0]));
  int target;
  int opened = open_optional(child, arg[0], &target);
  if (opened != 0) return opened < 0 ? -1 : 0;
  int copy = open_tree(target, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (copy < 0) return closing(target, -1);
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  int result = mount_setattr(copy, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
  if (result == 0) result = attach(copy, target);
  return closing(copy, closing(target, result));
}

static int op_enter_root(struct csandbox_child *child, const uint64_t *arg) {
  (void)arg;
  if (fchdir(child->slots[CSANDBOX_SLOT_ROOT]) < 0) return -1;
  // The root lies over the one of the namespace, so that whoever looks for that finds this one: setns, "..", and the
  // kernel's test for a process in a chroot. Below is the seed, which is empty, read-only and nobody's. A pivot would
  // take it away, and wait with every processor of the machine for that.
  if (syscall(SYS_chroot, ".") < 0) return -1;
  return chdir("/");
}

// --- Files of /dev

static int op_mkdir(struct csandbox_child *child, const uint64_t *arg) {
  int fd = resolve(child, slot_fd(child, arg[0]), text(child, arg[1]), CSANDBOX_ATTACH_MAKE_DIRECTORY, (mode_t)arg[2]);
  return fd < 0 ? -1 : close(fd);
}

/// The directory that a path's last component is in, made where missing, and where that component starts. The root
/// itself where there is no other.
static int open_parent(struct csandbox_child *child, int root, const char *path, const char **name) {
  const char *slash = strrchr(path, '/');
  *name = slash == NULL ? path : slash + 1;
  size_t length = slash == NULL ? 0 : (size_t)(slash - path);
  if (length == 0) return root;
  if (length >= sizeof child->link) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(child->link, path, length);
  child->link[length] = '\0';
  return resolve(child, root, child->link, CSANDBOX_ATTACH_MAKE_DIRECTORY | CSANDBOX_ATTACH_NO_SYMLINKS, 0755);
}

static int closing_parent(int parent, int root, int result) {
  return parent == root ? result : closing(parent, result);
}

/// A root that brings its own device node is fine where it is the very same.
static int is_node(int parent, const char *name, mode_t mode, dev_t device) {
  struct stat status;
  if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return -1;
  if ((status.st_mode & S_IFMT) == (mode & S_IFMT) && status.st_rdev == device) return 0;
  errno = EEXIST;
  return -1;
}

static int op_mknod(struct csandbox_child *child, const uint64_t *arg) {
  const char *name;
  int root = slot_fd(child, arg[0]);
  int parent = open_parent(child, root, text(child, arg[1]), &name);
  if (parent < 0) return -1;
  mode_t mode = (mode_t)arg[2];
  dev_t device = makedev((unsigned)(arg[3] >> 32), (unsigned)arg[3]);
  int result = mknodat(parent, name, mode, device);
  if (result < 0 && errno == EEXIST) result = is_node(parent, name, mode, device);
  if (result == 0 && (arg[4] != 0 || arg[5] != 0))
    result = fchownat(parent, name, (uid_t)arg[4], (gid_t)arg[5], AT_SYMLINK_NOFOLLOW);
  return closing_parent(parent, root, result);
}

static int op_symlink(struct csandbox_child *child, const uint64_t *arg) {
  const char *name;
  int root = slot_fd(child, arg[0]);
  int parent = open_parent(child, root, text(child, arg[1]), &name);
  if (parent < 0) return -1;
  int result = symlinkat(text(child, arg[2]), parent, name);
  if (result < 0 && errno == EEXIST) result = 0;
  return closing_parent(parent, root, result);
}

// --- Terminal

static int send_terminal(struct csandbox_child *child, int master) {
  struct csandbox_report report = {.kind = CSANDBOX_REPORT_TERMINAL, .index = child->index};
  struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(&control.header), &master, sizeof master);
  return sendmsg(child->report, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/// Opens the multiplexer of a devpts and no impostor: the type of the file system and the device number are looked at.
static int open_multiplexer(struct csandbox_child *child, uint64_t devpts) {
  int directory = devpts == CSANDBOX_NO_SLOT ? open_resolved(
                                                   child->slots[CSANDBOX_SLOT_ROOT], "/dev/pts", O_PATH | O_DIRECTORY,
                                                   RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
                                             : fcntl(slot_fd(child, devpts), F_DUPFD_CLOEXEC, 3);
  if (directory < 0) return -1;
  struct statfs kind;
  if (fstatfs(directory, &kind) < 0) return closing(directory, -1);
  int master = -1;
  errno = ENODEV;
  if (kind.f_type == DEVPTS_MAGIC) master = openat(directory, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
  if (master < 0) return closing(directory, -1);
  (void)close(directory);
  struct stat status;
  if (fstat(master, &status) < 0) return closing(master, -1);
  if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(5, 2)) return master;
  (void)close(master);
  errno = ENODEV;
  return -1;
}

/// Binds the terminal over dev/console, by descriptor.
static int bind_console(int dev, int terminal) {
  if (mknodat(dev, "console", S_IFREG | 0600, 0) < 0 && errno != EEXIST) return -1;
  int target = openat(dev, "console", O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (target < 0) return -1;
  int copy = open_tree(terminal, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (copy < 0) return closing(target, -1);
  return closing(target, closing(copy, attach(copy, target)));
}

static int op_terminal(struct csandbox_child *child, const uint64_t *arg) {
  int master = open_multiplexer(child, arg[0]);
  if (master < 0) return -1;
  int unlocked = 0;
  if (ioctl(master, TIOCSPTLCK, &unlocked) < 0) return closing(master, -1);
  // By descriptor and never by path: a /dev/pts/N may be anything by now.
  int terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0) return closing(master, -1);
  struct winsize size = {.ws_row = (unsigned short)(arg[2] >> 16), .ws_col = (unsigned short)arg[2]};
  int result = 0;
  if (size.ws_row != 0 || size.ws_col != 0) result = ioctl(terminal, TIOCSWINSZ, &size);
  if (result == 0) result = fchown(terminal, (uid_t)arg[3], (gid_t)-1);
  if (result == 0 && arg[1] != CSANDBOX_NO_SLOT) result = bind_console(slot_fd(child, arg[1]), terminal);
  if (result == 0) result = send_terminal(child, master);
  for (int fd = 0; fd < 3 && result == 0; fd++) result = dup2(terminal, fd) < 0 ? -1 : 0;
  if (result == 0) result = ioctl(0, TIOCSCTTY, 0);
  return closing(terminal, closing(master, result));
}

// --- Names and limits

static int op_session(struct csandbox_child *child, const uint64_t *arg) {
  (void)child, (void)arg;
  return setsid() < 0 ? -1 : 0;
}

static int op_hostname(struct csandbox_child *child, const uint64_t *arg) {
  return sethostname(text(child, arg[0]), strlen(text(child, arg[0])));
}

static int op_domainname(struct csandbox_child *child, const uint64_t *arg) {
  return setdomainname(text(child, arg[0]), strlen(text(child, arg[0])));
}

static int write_proc(struct csandbox_child *child, const char *path, const void *bytes, size_t length) {
  int fd = open_resolved(
      child->slots[CSANDBOX_SLOT_PROC], path, O_WRONLY, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
  if (fd < 0) return -1;
  ssize_t written = write(fd, bytes, length);
  if (written >= 0 && (size_t)written != length) {
    errno = EIO;
    written = -1;
  }
  return closing(fd, written < 0 ? -1 : 0);
}

static int op_sysctl(struct csandbox_child *child, const uint64_t *arg) {
  return write_proc(child, text(child, arg[0]), text(child, arg[1]), arg[2]);
}

static void report(struct csandbox_child *child, enum csandbox_report_kind kind, int err) {
  struct csandbox_report message = {.kind = kind, .index = child->index, .err = err};
  while (send(child->report, &message, sizeof message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

static int op_oom_score(struct csandbox_child *child, const uint64_t *arg) {
  int value = (int)(int64_t)arg[0] - 1000;
  char digits[8];
  size_t at = sizeof digits;
  unsigned left = (unsigned)(value < 0 ? -value : value);
  do {
    digits[--at] = (char)('0' + left % 10);
    left /= 10;
  } while (left != 0 && at > 1);
  if (value < 0) digits[--at] = '-';
  if (write_proc(child, "self/oom_score_adj", digits + at, sizeof digits - at) == 0) return 0;
  if (errno != EACCES && errno != EPERM) return -1;
  report(child, CSANDBOX_REPORT_OOM_CLAMPED, value);
  return 0;
}

static int op_rlimit(struct csandbox_child *child, const uint64_t *arg) {
  (void)child;
  struct rlimit64 limit = {.rlim_cur = arg[1], .rlim_max = arg[2]};
  return (int)syscall(SYS_prlimit64, 0, (unsigned)arg[0], &limit, NULL);
}

static int op_umask(struct csandbox_child *child, const uint64_t *arg) {
  (void)child;
  (void)umask((mode_t)arg[0]);
  return 0;
}

static int op_chdir(struct csandbox_child *child, const uint64_t *arg) {
  if (chdir(text(child, arg[0])) < 0) return -1;
  // A directory outside of the root, reached through some leaked descriptor, has no path that starts with a slash.
  long length = syscall(SYS_getcwd, child->path, sizeof child->path);
  if (length < 0) return -1;
  if (child->path[0] == '/') return 0;
  errno = EXDEV;
  return -1;
}

static int op_join(struct csandbox_child *child, const uint64_t *arg) {
  if (setns(child->slots[CSANDBOX_SLOT_TARGET], (int)arg[0]) < 0) return -1;
  return keep(child, CSANDBOX_SLOT_ROOT, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// --- Who it is and what it may

static int op_own_stdio(struct csandbox_child *child, const uint64_t *arg) {
  (void)child;
  for (int fd = 0; fd < 3; fd++) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -1;
    // Pipes are this process's alone; a device or a file is somebody else's too.
    if (S_ISFIFO(status.st_mode) && fchown(fd, (uid_t)arg[0], (gid_t)arg[1]) < 0) return -1;
  }
  return 0;
}

static int op_groups(struct csandbox_child *child, const uint64_t *arg) {
  return (int)syscall(SYS_setgroups, arg[1] / sizeof(gid_t), text(child, arg[0]));
}

static int op_ids(struct csandbox_child *child, const uint64_t *arg) {
  (void)child;
  if (arg[2] && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return -1;
  gid_t gid = (gid_t)arg[1];
  if (syscall(SYS_setresgid, gid, gid, gid) < 0) return -1;
  uid_t uid = (uid_t)arg[0];
  return (int)syscall(SYS_setresuid, uid, uid, uid);
}

static int op_bounding(struct csandbox_child *child, const uint64_t *arg) {
  (void)child;
  for (unsigned capability = 0; capability < 64; capability++) {
    if ((arg[0] >> capability) & 1) continue;
    if (prctl(PR_CAPBSET_DROP, (unsigned long)capability, 0, 0, 0) == 0) continue;
    return errno == EINVAL && capability > 0 ? 0 : -1;  // the kernel's last one was before this
  }
  return 0;
}

static int op_capabilities(struct csandbox_child *child, const uint64_t *arg) {
  (void)child;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.effective = (uint32_t)arg[0], .permitted = (uint32_t)arg[1], .inheritable = (uint32_t)arg[2]},
      {.effective = (uint32_t)(arg[0] >> 32),
       .permitted = (uint32_t)(arg[1] >> 32),
       .inheritable = (uint32_t)(arg[2] >> 32)},
  };
  if (syscall(SYS_capset, &header, data) < 0) return -1;
  for (unsigned long capability = 0; capability < 64; capability++) {
    if (!((arg[2] >> capability) & 1)) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0) return -1;
  }
  return 0;
}

static int op_no_new_privileges(struct csandbox_child *child, const uint64_t *arg) {
  (void)child, (void)arg;
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int op_seccomp(struct csandbox_child *child, const uint64_t *arg) {
  struct sock_fprog program = {
      .len = (unsigned short)(arg[1] / sizeof(struct sock_filter)), .filter = (void *)text(child, arg[0])};
  if (arg[1] / sizeof(struct sock_filter) > BPF_MAXINSNS) {
    errno = E2BIG;
    return -1;
  }
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)arg[2], &program);
}

static int op_close(struct csandbox_child *child, const uint64_t *arg) {
  (void)child, (void)arg;
  return (int)syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
}

/// Everything that the container needs of the host is there; what is left is who it is and what it may.
static int op_wait(struct csandbox_child *child, const uint64_t *arg) {
  (void)arg;
  char byte;
  long count;
  do count = syscall(SYS_recvfrom, child->report, &byte, sizeof byte, 0, NULL, NULL);
  while (count < 0 && errno == EINTR);
  // Nobody is left who could want it, or could be told of a failure.
  if (count == 0) _exit(127);
  return count < 0 ? -1 : 0;
}

/// Turns a vector of offsets into one of pointers. They stay 64-bit numbers to the compiler: only the kernel reads them
/// as pointers.
static uint64_t *vector(struct csandbox_child *child, uint64_t offset) {
  uint64_t *entries = (uint64_t *)(void *)(child->plan + offset);
  for (size_t i = 0; entries[i] != 0; i++) entries[i] = (uint64_t)(uintptr_t)text(child, entries[i]);
  return entries;
}

static int op_exec(struct csandbox_child *child, const uint64_t *arg) {
  const uint64_t *candidates = vector(child, arg[0]);
  const uint64_t *argv = vector(child, arg[1]);
  const uint64_t *envp = vector(child, arg[2]);
  int err = ENOENT;
  for (size_t i = 0; candidates[i] != 0; i++) {
    (void)syscall(SYS_execve, candidates[i], argv, envp);
    if (errno == EACCES) err = EACCES;
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return -1;
  }
  errno = err;
  return -1;
}

static operation *const operations[CSANDBOX_CODES] = {
    [CSANDBOX_SESSION] = op_session,
    [CSANDBOX_TREE] = op_tree,
    [CSANDBOX_FSOPEN] = op_fsopen,
    [CSANDBOX_FSSTRING] = op_fsstring,
    [CSANDBOX_FSFLAG] = op_fsflag,
    [CSANDBOX_FSMOUNT] = op_fsmount,
    [CSANDBOX_ATTRIBUTES] = op_attributes,
    [CSANDBOX_ENTER] = op_enter,
    [CSANDBOX_ROOT] = op_root,
    [CSANDBOX_ATTACH] = op_attach,
    [CSANDBOX_MKDIR] = op_mkdir,
    [CSANDBOX_MKNOD] = op_mknod,
    [CSANDBOX_SYMLINK] = op_symlink,
    [CSANDBOX_MASK] = op_mask,
    [CSANDBOX_READONLY] = op_readonly,
    [CSANDBOX_ENTER_ROOT] = op_enter_root,
    [CSANDBOX_HOSTNAME] = op_hostname,
    [CSANDBOX_DOMAINNAME] = op_domainname,
    [CSANDBOX_SYSCTL] = op_sysctl,
    [CSANDBOX_RLIMIT] = op_rlimit,
    [CSANDBOX_GROUPS] = op_groups,
    [CSANDBOX_IDS] = op_ids,
    [CSANDBOX_BOUNDING] = op_bounding,
    [CSANDBOX_CAPABILITIES] = op_capabilities,
    [CSANDBOX_NO_NEW_PRIVILEGES] = op_no_new_privileges,
    [CSANDBOX_SECCOMP] = op_seccomp,
    [CSANDBOX_CHDIR] = op_chdir,
    [CSANDBOX_UMASK] = op_umask,
    [CSANDBOX_OWN_STDIO] = op_own_stdio,
    [CSANDBOX_TERMINAL] = op_terminal,
    [CSANDBOX_OOM_SCORE] = op_oom_score,
    [CSANDBOX_JOIN] = op_join,
    [CSANDBOX_CLOSE] = op_close,
    [CSANDBOX_EXEC] = op_exec,
    [CSANDBOX_IDMAP] = op_idmap,
    [CSANDBOX_FSLAYER] = op_fslayer,
    [CSANDBOX_SUBTREE] = op_subtree,
    [CSANDBOX_USER] = op_user,
    [CSANDBOX_WAIT] = op_wait,
};

_Noreturn static void fail(struct csandbox_child *child) {
  report(child, CSANDBOX_REPORT_FAILED, errno);
  _exit(127);
}

/// Closes all that the plan has no use for. It may wait long for its start, and shall keep nothing of other containers
/// open meanwhile: not the ends of their pipes, not their mounts.
static int close_others(const struct csandbox_child *child) {
  const int needed[] = {
      child->report, child->slots[CSANDBOX_SLOT_SEED], child->slots[CSANDBOX_SLOT_PROC],
      child->slots[CSANDBOX_SLOT_TARGET], child->slots[CSANDBOX_SLOT_USER]};
  const size_t count = sizeof needed / sizeof needed[0];
  unsigned from = 3;
  for (;;) {
    unsigned next = ~0U;
    for (size_t i = 0; i < count; i++)
      if (needed[i] >= (int)from && (unsigned)needed[i] < next) next = (unsigned)needed[i];
    if (next > from && syscall(SYS_close_range, from, next == ~0U ? ~0U : next - 1, 0U) < 0) return -1;
    if (next == ~0U) return 0;
    from = next + 1;
  }
}

_Noreturn void csandbox_child_run(struct csandbox_child *child) {
  const struct csandbox_header *header = (const void *)child->plan;
  const struct csandbox_op *ops = (const void *)(child->plan + sizeof *header);
  child->index = 0;
  sigset_t none;
  (void)sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, NULL) < 0) fail(child);
  for (int fd = 0; fd < 3; fd++)
    if (dup2(child->stdio[fd], fd) < 0) fail(child);
  if (close_others(child) < 0) fail(child);
  // Modes in plans are exact; the container's own umask is an operation.
  (void)umask(0);
  for (; child->index < header->op_count; child->index++) {
    const struct csandbox_op *op = &ops[child->index];
    if (operations[op->code](child, op->arg) < 0) fail(child);
  }
  errno = ENOEXEC;
  fail(child);
}
