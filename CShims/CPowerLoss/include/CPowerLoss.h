// A file system for SQLite that writes down what it is asked to do, for tests of what a power cut leaves.
#pragma once

/// Makes every database that is opened from now on go through the recorder, and writes what happens to its files to
/// `log`, one record after another: a byte of kind, the length of the path (4 bytes), the path, an offset (8), the
/// length of the bytes (4), the bytes; numbers as the machine has them. Kinds: `W` write, `T` truncate to the offset,
/// `S` sync, `D` delete, `M` a mark. Records are in the order in which the calls returned. Once in a process. Returns
/// 0, or -1 where the log cannot be made.
int cpowerloss_start(const char *_Nonnull log);
/// Adds a mark. Thread-safe, like the recorder.
void cpowerloss_mark(const char *_Nonnull text);
