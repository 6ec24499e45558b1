#include "CSecurity.h"
