// The CRI log format: "2016-10-06T00:17:09.669794202Z stdout F text".
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

enum { HEADER_BYTES = 64, PARTS_MAX = 96, NANOSECONDS = 1000000000, DAY_SECONDS = 86400 };

static size_t put_number(char *to, uint64_t value, unsigned digits) {
  for (unsigned i = digits; i > 0; i--, value /= 10) to[i - 1] = (char)('0' + value % 10);
  return digits;
}

/// RFC 3339 in UTC with nine digits. Written out here: the C library's would read the machine's time zone.
static size_t put_time(char *to, int64_t ns) {
  int64_t seconds = ns / NANOSECONDS;
  int64_t days = seconds / DAY_SECONDS;
  uint64_t rest = (uint64_t)(seconds % DAY_SECONDS);
  // Days since 0000-03-01, in eras of 400 years, so that the leap day comes last.
  uint64_t shifted = (uint64_t)(days + 719468);
  uint64_t era = shifted / 146097;
  uint64_t day_of_era = shifted % 146097;
  uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  uint64_t shifted_month = (5 * day_of_year + 2) / 153;
  uint64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
  uint64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  uint64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  size_t at = put_number(to, year, 4);
  to[at++] = '-';
  at += put_number(to + at, month, 2);
  to[at++] = '-';
  at += put_number(to + at, day, 2);
  to[at++] = 'T';
  at += put_number(to + at, rest / 3600, 2);
  to[at++] = ':';
  at += put_number(to + at, rest / 60 % 60, 2);
  to[at++] = ':';
  at += put_number(to + at, rest % 60, 2);
  to[at++] = '.';
  at += put_number(to + at, (uint64_t)(ns % NANOSECONDS), 9);
  to[at++] = 'Z';
  return at;
}

static size_t put_header(char *to, const char *stream, char tag) {
  size_t at = put_time(to, wall_ns());
  to[at++] = ' ';
  size_t length = strlen(stream);
  memcpy(to + at, stream, length);
  at += length;
  to[at++] = ' ';
  to[at++] = tag;
  to[at++] = ' ';
  return at;
}

/// Writes everything. A failure (a full disk) drops these lines and is remembered; the container goes on.
static void write_parts(struct container *container, struct iovec *parts, int count) {
  bool wrote = false;
  while (count > 0) {
    ssize_t written = writev(container->log, parts, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      container->log_failed = true;
      container->log_torn = container->log_torn || wrote;
      return;
    }
    wrote = true;
    size_t left = (size_t)written;
    while (count > 0 && left >= parts->iov_len) {
      left -= parts->iov_len;
      parts++;
      count--;
    }
    if (count > 0) {
      parts->iov_base = (char *)parts->iov_base + left;
      parts->iov_len -= left;
    }
  }
  container->log_torn = false;
}

/// Writes whole lines, each with its newline, or the begin of a line that is too long, as a part.
void log_lines(struct container *container, const char *stream, char *bytes, size_t length, bool is_partial) {
  if (container->log < 0 || length == 0) return;
  char header[HEADER_BYTES];
  size_t header_bytes = put_header(header, stream, is_partial ? 'P' : 'F');
  static char newline[] = "\n";
  struct iovec parts[PARTS_MAX];
  int count = 0;
  if (container->log_torn) parts[count++] = (struct iovec){.iov_base = newline, .iov_len = 1};
  if (is_partial) {
    parts[count++] = (struct iovec){.iov_base = header, .iov_len = header_bytes};
    parts[count++] = (struct iovec){.iov_base = bytes, .iov_len = length};
    parts[count++] = (struct iovec){.iov_base = newline, .iov_len = 1};
    write_parts(container, parts, count);
    return;
  }
  char *end = bytes + length;
  while (bytes < end) {
    char *line_end = memchr(bytes, '\n', (size_t)(end - bytes));
    size_t line = (size_t)((line_end == NULL ? end : line_end + 1) - bytes);
    parts[count++] = (struct iovec){.iov_base = header, .iov_len = header_bytes};
    parts[count++] = (struct iovec){.iov_base = bytes, .iov_len = line};
    bytes += line;
    if (count > PARTS_MAX - 2 || bytes == end) {
      write_parts(container, parts, count);
      count = 0;
    }
  }
}
