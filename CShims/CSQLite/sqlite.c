#include "CSQLite.h"

int csqlite_bind_text(sqlite3_stmt *statement, int index, const char *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_text64(statement, index, count == 0 ? "" : bytes, count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

int csqlite_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, sqlite3_uint64 count) {
  // A null pointer would bind NULL.
  return sqlite3_bind_blob64(statement, index, count == 0 ? "" : bytes, count, SQLITE_TRANSIENT);
}

static int count_pages(void *pages, sqlite3 *connection, const char *database, int count) {
  (void)connection;
  (void)database;
  *(int *)pages = count;
  return SQLITE_OK;
}

void csqlite_count_log_pages(sqlite3 *connection, int *pages) {
  (void)sqlite3_wal_hook(connection, count_pages, pages);
}
