// The mount namespace that containers start from: an empty read-only root and nothing of the host's, so that a
// container's own namespace costs a copy of two mounts and not of all that the host has.
#ifndef CSANDBOX_SEED_H
#define CSANDBOX_SEED_H

#include <stdint.h>

enum csandbox_seed_stage {
  CSANDBOX_SEED_OK = 0,
  CSANDBOX_SEED_UNSHARE,
  CSANDBOX_SEED_PRIVATE,
  CSANDBOX_SEED_ROOT,
  CSANDBOX_SEED_PIVOT,
  CSANDBOX_SEED_OPEN,
};

struct csandbox_seed {
  int fd;  // of the namespace, close-on-exec; -1 where it failed
  int32_t stage;
  int32_t err;
};

/// Makes a seed, on a thread of its own that dies with that: one that a thread in another namespace starts would be in
/// there as well, and whoever is told that the seed is there may start threads.
/// The root is read-only and has two directories: /shm, to mount on, and /empty, to cover others with.
struct csandbox_seed csandbox_seed_make(void);

#endif
