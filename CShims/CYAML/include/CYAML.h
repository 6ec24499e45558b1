// The system's libyaml as a stream of flat events, for the room `YAML` alone. Bytes in, events out: no files, no
// output.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum cyaml_kind {
  /// The bytes are no YAML: cyaml_problem says why, and nothing more may be read.
  CYAML_BROKEN = 0,
  CYAML_STREAM_END,
  CYAML_DOCUMENT_START,
  CYAML_DOCUMENT_END,
  CYAML_ALIAS,
  CYAML_SCALAR,
  CYAML_LIST_START,
  CYAML_LIST_END,
  CYAML_MAP_START,
  CYAML_MAP_END,
};

/// One event. Its texts are the stream's, until the next call with that stream.
struct cyaml_event {
  enum cyaml_kind kind;
  /// A scalar without quotes.
  int32_t plain;
  /// Counted from 1.
  size_t line;
  /// A scalar's text; it may hold any byte but is UTF-8.
  const uint8_t *_Nullable text;
  size_t text_bytes;
  /// Of an alias: the anchor it names. Empty for none.
  const char *_Nonnull anchor;
  /// In full, "tag:yaml.org,2002:int" for !!int. Empty for none.
  const char *_Nonnull tag;
};

struct cyaml_stream;

/// A stream over bytes that must outlive it. Null where memory ends.
struct cyaml_stream *_Nullable cyaml_open(const uint8_t *_Nonnull bytes, size_t count);
struct cyaml_event cyaml_next(struct cyaml_stream *_Nonnull stream);
/// Why the last event was CYAML_BROKEN, and the line it came to, from 1.
const char *_Nonnull cyaml_problem(const struct cyaml_stream *_Nonnull stream, size_t *_Nonnull line);
void cyaml_close(struct cyaml_stream *_Nonnull stream);
