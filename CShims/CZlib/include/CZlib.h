// The system's zlib, for `Kernel` alone.
#pragma once
#include <zlib.h>
