// Containers' first steps: the plan that a child walks between clone and exec, the protocol of the shim, and the mount
// namespace that containers start from.
#ifndef CSANDBOX_H
#define CSANDBOX_H

#include "channel.h"
#include "plan.h"
#include "protocol.h"
#include "seed.h"

#endif
