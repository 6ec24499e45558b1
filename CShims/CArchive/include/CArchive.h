// Streams of layers: SHA-256, and decompression with one interface for gzip and zstd. libarchive itself is called from
// Swift through its own header.
#ifndef CARCHIVE_H
#define CARCHIVE_H

#include <archive.h>
#include <archive_entry.h>
#include <stddef.h>
#include <stdint.h>

/// Bytes that unprivileged writers may still use on the file system of `fd`, or -1 and errno.
int64_t carchive_available_bytes(int fd);
/// fsetxattr(2) and lsetxattr(2), whose header the Glibc module leaves out.
int carchive_fsetxattr(int fd, const char *_Nonnull name, const void *_Nullable value, size_t size);
int carchive_lsetxattr(const char *_Nonnull path, const char *_Nonnull name, const void *_Nullable value, size_t size);

/// A SHA-256 in progress (FIPS 180-4). Zero-cost to copy; no resources.
struct carchive_sha256 {
  uint32_t state[8];
  uint64_t length;
  uint8_t block[64];
};
void carchive_sha256_init(struct carchive_sha256 *_Nonnull hash);
void carchive_sha256_update(struct carchive_sha256 *_Nonnull hash, const void *_Nullable bytes, size_t count);
/// Writes 32 bytes; `hash` must be initialised again before further use.
void carchive_sha256_final(struct carchive_sha256 *_Nonnull hash, uint8_t *_Nonnull digest);

enum carchive_compression { CARCHIVE_NONE = 0, CARCHIVE_GZIP = 1, CARCHIVE_ZSTD = 2 };

struct carchive_decoder;
/// NULL where memory is out. Freed by carchive_decoder_free.
struct carchive_decoder *_Nullable carchive_decoder_new(enum carchive_compression compression);
void carchive_decoder_free(struct carchive_decoder *_Nullable decoder);

struct carchive_progress {
  /// Bytes taken from the input, and written to the output.
  size_t used;
  size_t made;
  /// The input stands at the end of a member or frame: it may end here, or go on with another.
  int32_t at_end;
  /// NULL, or what is wrong with the input, in words; a constant string.
  const char *_Nullable problem;
};
/// Decompresses from `input` until it is used up or `output` is full. Concatenated members and frames are one stream. After
/// a problem the decoder is only good for freeing.
struct carchive_progress carchive_decode(struct carchive_decoder *_Nonnull decoder, const uint8_t *_Nonnull input,
                                         size_t input_count, uint8_t *_Nonnull output, size_t output_count);

struct carchive_encoder;
/// A zstd encoder at level 1, for the skeletons of layers. NULL where memory is out.
struct carchive_encoder *_Nullable carchive_encoder_new(void);
void carchive_encoder_free(struct carchive_encoder *_Nullable encoder);
/// Compresses `input`; with `finish` ends the frame. `at_end` is set when everything given (and the end) was written.
struct carchive_progress carchive_encode(struct carchive_encoder *_Nonnull encoder, const uint8_t *_Nullable input,
                                         size_t input_count, uint8_t *_Nonnull output, size_t output_count, int finish);

#endif
