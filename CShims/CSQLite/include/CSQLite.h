// The system's SQLite, for the room `SQLite` alone, and what its macros keep from Swift.
#pragma once
#include <sqlite3.h>

/// Binds a copy of the bytes; SQLITE_TRANSIENT is a cast that Swift cannot import. A count of 0 binds an empty value.
int csqlite_bind_text(sqlite3_stmt *_Nonnull statement, int index, const char *_Nullable bytes, sqlite3_uint64 count);
int csqlite_bind_blob(sqlite3_stmt *_Nonnull statement, int index, const void *_Nullable bytes, sqlite3_uint64 count);
/// Keeps `*pages` at the size of the write-ahead log as of the last commit, and leaves all checkpoints to the caller.
/// `pages` must outlive the connection.
void csqlite_count_log_pages(sqlite3 *_Nonnull connection, int *_Nonnull pages);
