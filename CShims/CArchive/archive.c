#include <archive.h>
#include <archive_entry.h>

#include "CArchive.h"

_Static_assert(
    CARCHIVE_EOF == ARCHIVE_EOF && CARCHIVE_OK == ARCHIVE_OK && CARCHIVE_WARN == ARCHIVE_WARN,
    "libarchive's result codes");

int carchive_open(struct archive *archive, void *context, carchive_read_callback *read, carchive_skip_callback *skip) {
  return archive_read_open2(archive, context, NULL, read, skip, NULL);
}
