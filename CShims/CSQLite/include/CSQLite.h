// The system's SQLite, for the room `SQLite` alone.
#pragma once
#include <sqlite3.h>
