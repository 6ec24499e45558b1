#include "CYAML.h"

#include <stdlib.h>
#include <yaml.h>

struct cyaml_stream {
  yaml_parser_t parser;
  /// What the last event of ours borrows its texts from; all zero is YAML_NO_EVENT.
  yaml_event_t event;
};

struct cyaml_stream *cyaml_open(const uint8_t *bytes, size_t count) {
  struct cyaml_stream *stream = calloc(1, sizeof *stream);
  if (stream == NULL) return NULL;
  if (!yaml_parser_initialize(&stream->parser)) {
    free(stream);
    return NULL;
  }
  yaml_parser_set_encoding(&stream->parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&stream->parser, bytes, count);
  return stream;
}

static const char *text_or_empty(const yaml_char_t *text) { return text == NULL ? "" : (const char *)text; }

struct cyaml_event cyaml_next(struct cyaml_stream *stream) {
  struct cyaml_event event = {.kind = CYAML_BROKEN, .anchor = "", .tag = ""};
  const yaml_event_t *from = &stream->event;
  do {
    yaml_event_delete(&stream->event);
    if (!yaml_parser_parse(&stream->parser, &stream->event)) return event;
  } while (from->type == YAML_STREAM_START_EVENT);
  event.line = from->start_mark.line + 1;
  switch (from->type) {
  case YAML_DOCUMENT_START_EVENT:
    event.kind = CYAML_DOCUMENT_START;
    break;
  case YAML_DOCUMENT_END_EVENT:
    event.kind = CYAML_DOCUMENT_END;
    break;
  case YAML_ALIAS_EVENT:
    event.kind = CYAML_ALIAS;
    event.anchor = text_or_empty(from->data.alias.anchor);
    break;
  case YAML_SCALAR_EVENT:
    event.kind = CYAML_SCALAR;
    event.plain = from->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    event.text = from->data.scalar.value;
    event.text_bytes = from->data.scalar.length;
    event.anchor = text_or_empty(from->data.scalar.anchor);
    event.tag = text_or_empty(from->data.scalar.tag);
    break;
  case YAML_SEQUENCE_START_EVENT:
    event.kind = CYAML_LIST_START;
    event.anchor = text_or_empty(from->data.sequence_start.anchor);
    event.tag = text_or_empty(from->data.sequence_start.tag);
    break;
  case YAML_SEQUENCE_END_EVENT:
    event.kind = CYAML_LIST_END;
    break;
  case YAML_MAPPING_START_EVENT:
    event.kind = CYAML_MAP_START;
    event.anchor = text_or_empty(from->data.mapping_start.anchor);
    event.tag = text_or_empty(from->data.mapping_start.tag);
    break;
  case YAML_MAPPING_END_EVENT:
    event.kind = CYAML_MAP_END;
    break;
  default:
    // After the end of the stream libyaml gives empty events.
    event.kind = CYAML_STREAM_END;
    break;
  }
  return event;
}

const char *cyaml_problem(const struct cyaml_stream *stream, size_t *line) {
  const yaml_parser_t *parser = &stream->parser;
  *line = parser->problem_mark.line + 1;
  if (parser->error == YAML_MEMORY_ERROR) return "no memory";
  // What is wrong with a character is told without a mark.
  if (parser->error == YAML_READER_ERROR) *line = parser->mark.line + 1;
  return parser->problem == NULL ? "cannot be read" : parser->problem;
}

void cyaml_close(struct cyaml_stream *stream) {
  yaml_event_delete(&stream->event);
  yaml_parser_delete(&stream->parser);
  free(stream);
}
