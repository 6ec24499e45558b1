// The system's zlib, for `Kernel` alone.
#pragma once
#include <zlib.h>

/// deflateInit2 and inflateInit2 are macros, which Swift does not see. Window bits as zlib takes them: 15 for zlib's
/// own format, 31 for gzip, -15 for bare deflate. Both return zlib's code.
int czlib_deflate_init(z_stream *_Nonnull stream, int level, int window_bits);
int czlib_inflate_init(z_stream *_Nonnull stream, int window_bits);
