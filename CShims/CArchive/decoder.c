#include "CArchive.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

// gzip is inflated by ISA-L: more than twice as fast as zlib here, and streaming. zstd's window is capped so that a
// frame cannot ask for gigabytes: 128 MiB is what registries' clients write at most (--long=27).
enum { ZSTD_WINDOW_LOG_MAX = 27 };

struct carchive_decoder {
  enum carchive_compression compression;
  int at_end;
  struct inflate_state *gzip;
  ZSTD_DStream *zstd;
};

struct carchive_decoder *carchive_decoder_new(enum carchive_compression compression) {
  struct carchive_decoder *decoder = calloc(1, sizeof *decoder);
  if (decoder == NULL) return NULL;
  decoder->compression = compression;
  decoder->at_end = compression == CARCHIVE_NONE;
  int ready = 1;
  if (compression == CARCHIVE_GZIP) {
    decoder->gzip = malloc(sizeof *decoder->gzip);
    ready = decoder->gzip != NULL;
    if (ready) {
      isal_inflate_init(decoder->gzip);
      decoder->gzip->crc_flag = ISAL_GZIP;
    }
  } else if (compression == CARCHIVE_ZSTD) {
    decoder->zstd = ZSTD_createDStream();
    ready = decoder->zstd != NULL &&
            !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX));
  }
  if (ready) return decoder;
  carchive_decoder_free(decoder);
  return NULL;
}

void carchive_decoder_free(struct carchive_decoder *decoder) {
  if (decoder == NULL) return;
  free(decoder->gzip);
  ZSTD_freeDStream(decoder->zstd);
  free(decoder);
}

static const char *gzip_problem(int code) {
  switch (code) {
  case ISAL_INVALID_WRAPPER:
  case ISAL_UNSUPPORTED_METHOD:
    return "not a gzip stream";
  case ISAL_INCORRECT_CHECKSUM:
    return "gzip checksum does not match";
  default:
    return "corrupt gzip data";
  }
}

static struct carchive_progress inflate_some(
    struct carchive_decoder *decoder, const uint8_t *input, size_t input_count, uint8_t *output, size_t output_count) {
  struct carchive_progress progress = {0};
  struct inflate_state *gzip = decoder->gzip;
  while (progress.made < output_count) {
    if (decoder->at_end && progress.used < input_count) {  // another member follows
      isal_inflate_reset(gzip);
      gzip->crc_flag = ISAL_GZIP;
      decoder->at_end = 0;
    }
    size_t left = input_count - progress.used, room = output_count - progress.made;
    if (decoder->at_end) break;
    gzip->next_in = (uint8_t *)(uintptr_t)(input + progress.used);
    gzip->avail_in = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
    gzip->next_out = output + progress.made;
    gzip->avail_out = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    uint32_t in_before = gzip->avail_in, out_before = gzip->avail_out;
    int code = isal_inflate(gzip);
    if (code < 0 || code == ISAL_NEED_DICT) {
      progress.problem = gzip_problem(code);
      return progress;
    }
    progress.used += in_before - gzip->avail_in;
    progress.made += out_before - gzip->avail_out;
    if (gzip->block_state == ISAL_BLOCK_FINISH)
      decoder->at_end = 1;
    else if (in_before == gzip->avail_in && out_before == gzip->avail_out)
      break;  // wants more input
  }
  progress.at_end = decoder->at_end;
  return progress;
}

static struct carchive_progress unzstd_some(
    struct carchive_decoder *decoder, const uint8_t *input, size_t input_count, uint8_t *output, size_t output_count) {
  struct carchive_progress progress = {0};
  ZSTD_inBuffer in = {input, input_count, 0};
  ZSTD_outBuffer out = {output, output_count, 0};
  for (;;) {
    size_t in_before = in.pos, out_before = out.pos;
    size_t code = ZSTD_decompressStream(decoder->zstd, &out, &in);
    if (ZSTD_isError(code)) {
      progress.problem = ZSTD_getErrorName(code);
      return progress;
    }
    if (in.pos != in_before || out.pos != out_before) decoder->at_end = code == 0;
    if (out.pos == out.size || (in.pos == in_before && out.pos == out_before)) break;
  }
  progress.used = in.pos;
  progress.made = out.pos;
  progress.at_end = decoder->at_end;
  return progress;
}

struct carchive_progress carchive_decode(
    struct carchive_decoder *decoder, const uint8_t *input, size_t input_count, uint8_t *output, size_t output_count) {
  if (decoder->compression == CARCHIVE_GZIP) return inflate_some(decoder, input, input_count, output, output_count);
  if (decoder->compression == CARCHIVE_ZSTD) return unzstd_some(decoder, input, input_count, output, output_count);
  size_t count = input_count < output_count ? input_count : output_count;
  if (count > 0) memcpy(output, input, count);
  return (struct carchive_progress){.used = count, .made = count, .at_end = 1};
}

struct carchive_encoder {
  ZSTD_CCtx *zstd;
};

struct carchive_encoder *carchive_encoder_new(void) {
  struct carchive_encoder *encoder = calloc(1, sizeof *encoder);
  if (encoder == NULL) return NULL;
  encoder->zstd = ZSTD_createCCtx();
  if (encoder->zstd != NULL && !ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_compressionLevel, 1)))
    return encoder;
  carchive_encoder_free(encoder);
  return NULL;
}

void carchive_encoder_free(struct carchive_encoder *encoder) {
  if (encoder == NULL) return;
  ZSTD_freeCCtx(encoder->zstd);
  free(encoder);
}

struct carchive_progress carchive_encode(
    struct carchive_encoder *encoder, const uint8_t *input, size_t input_count, uint8_t *output, size_t output_count,
    int finish) {
  ZSTD_inBuffer in = {input, input_count, 0};
  ZSTD_outBuffer out = {output, output_count, 0};
  size_t left = ZSTD_compressStream2(encoder->zstd, &out, &in, finish ? ZSTD_e_end : ZSTD_e_continue);
  if (ZSTD_isError(left)) return (struct carchive_progress){.problem = ZSTD_getErrorName(left)};
  return (struct carchive_progress){.used = in.pos, .made = out.pos, .at_end = finish ? left == 0 : in.pos == in.size};
}
