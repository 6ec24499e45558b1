// Streams of layers: libarchive's tar reader, SHA-256, and decompression with one interface for gzip and zstd.
#ifndef CARCHIVE_H
#define CARCHIVE_H

#include <stddef.h>
#include <stdint.h>

// What is used of libarchive, declared here: its own headers bring in others of the C library, and the Glibc module's
// types would then count as this module's. archive.c includes both, so that the compiler compares them.
struct archive;
struct archive_entry;
typedef long carchive_read_callback(struct archive *_Nullable, void *_Nullable, const void *_Nullable *_Nullable);
typedef int64_t carchive_skip_callback(struct archive *_Nullable, void *_Nullable, int64_t);
enum { CARCHIVE_EOF = 1, CARCHIVE_OK = 0, CARCHIVE_WARN = -20 };
struct archive *_Nullable archive_read_new(void);
int archive_read_free(struct archive *_Nullable archive);
int archive_read_support_format_tar(struct archive *_Nonnull archive);
int archive_read_support_format_empty(struct archive *_Nonnull archive);
/// archive_read_open2 without an open callback.
int carchive_open(
    struct archive *_Nonnull archive, void *_Nullable context, carchive_read_callback *_Nonnull read,
    carchive_skip_callback *_Nullable skip);
int archive_read_next_header(struct archive *_Nonnull archive, struct archive_entry *_Nullable *_Nonnull entry);
int archive_read_data_block(
    struct archive *_Nonnull archive, const void *_Nullable *_Nonnull block, size_t *_Nonnull count,
    int64_t *_Nonnull offset);
int64_t archive_filter_bytes(struct archive *_Nonnull archive, int filter);
const char *_Nullable archive_error_string(struct archive *_Nonnull archive);
const char *_Nullable archive_entry_pathname(struct archive_entry *_Nonnull entry);
const char *_Nullable archive_entry_hardlink(struct archive_entry *_Nonnull entry);
const char *_Nullable archive_entry_symlink(struct archive_entry *_Nonnull entry);
unsigned int archive_entry_filetype(struct archive_entry *_Nonnull entry);
unsigned int archive_entry_perm(struct archive_entry *_Nonnull entry);
int64_t archive_entry_uid(struct archive_entry *_Nonnull entry);
int64_t archive_entry_gid(struct archive_entry *_Nonnull entry);
int64_t archive_entry_size(struct archive_entry *_Nonnull entry);
unsigned long archive_entry_rdev(struct archive_entry *_Nonnull entry);
long archive_entry_mtime(struct archive_entry *_Nonnull entry);
long archive_entry_mtime_nsec(struct archive_entry *_Nonnull entry);
int archive_entry_sparse_count(struct archive_entry *_Nonnull entry);
int archive_entry_xattr_count(struct archive_entry *_Nonnull entry);
int archive_entry_xattr_reset(struct archive_entry *_Nonnull entry);
int archive_entry_xattr_next(
    struct archive_entry *_Nonnull entry, const char *_Nullable *_Nonnull name, const void *_Nullable *_Nonnull value,
    size_t *_Nonnull size);

/// syncfs(2).
int carchive_syncfs(int fd);

/// Bytes that unprivileged writers may still use on the file system of `fd`, or -1 and errno.
int64_t carchive_available_bytes(int fd);
/// fsetxattr(2) and lsetxattr(2), whose header the Glibc module leaves out.
int carchive_fsetxattr(int fd, const char *_Nonnull name, const void *_Nullable value, size_t size);
int carchive_lsetxattr(const char *_Nonnull path, const char *_Nonnull name, const void *_Nullable value, size_t size);

/// lgetxattr(2) and llistxattr(2).
long carchive_lgetxattr(const char *_Nonnull path, const char *_Nonnull name, void *_Nullable value, size_t size);
long carchive_llistxattr(const char *_Nonnull path, char *_Nullable list, size_t size);

enum carchive_stack_stage {
  CARCHIVE_STACK_DONE = 0,
  CARCHIVE_STACK_OPEN,
  CARCHIVE_STACK_LAYER,
  CARCHIVE_STACK_CREATE,
  CARCHIVE_STACK_MOUNT
};
struct carchive_stack_result {
  /// The root of a mount that is attached nowhere and goes with this descriptor; -1 where `stage` failed with `err`.
  int fd;
  int32_t stage;
  /// Which of the layers was refused, or -1.
  int32_t layer;
  int32_t err;
};
/// Mounts directories over each other, the topmost first, read-only and without devices, set-uid or programs, visible
/// to nobody else: overlayfs by fsopen(2). Needs CAP_SYS_ADMIN, at least two layers, and a kernel with `lowerdir+`
/// (6.8).
struct carchive_stack_result carchive_stack(const char *_Nonnull const *_Nonnull layers, size_t count);

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
/// Decompresses from `input` until it is used up or `output` is full. Concatenated members and frames are one stream.
/// After a problem the decoder is only good for freeing.
struct carchive_progress carchive_decode(
    struct carchive_decoder *_Nonnull decoder, const uint8_t *_Nonnull input, size_t input_count,
    uint8_t *_Nonnull output, size_t output_count);

struct carchive_encoder;
/// A zstd encoder at level 1, for the skeletons of layers. NULL where memory is out.
struct carchive_encoder *_Nullable carchive_encoder_new(void);
void carchive_encoder_free(struct carchive_encoder *_Nullable encoder);
/// Compresses `input`; with `finish` ends the frame. `at_end` is set when everything given (and the end) was written.
struct carchive_progress carchive_encode(
    struct carchive_encoder *_Nonnull encoder, const uint8_t *_Nullable input, size_t input_count,
    uint8_t *_Nonnull output, size_t output_count, int finish);

#endif
