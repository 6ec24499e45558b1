#include "CPowerLoss.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct recorded_file {
  sqlite3_file base;
  const char *path;
  sqlite3_file *real;
};

static sqlite3_vfs *real_vfs;
static sqlite3_vfs recorder;
static FILE *log_file;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void record(char kind, const char *path, int64_t offset, const void *bytes, uint32_t count) {
  uint32_t length = path ? (uint32_t)strlen(path) : 0;
  pthread_mutex_lock(&log_lock);
  fputc(kind, log_file);
  fwrite(&length, sizeof length, 1, log_file);
  fwrite(path, 1, length, log_file);
  fwrite(&offset, sizeof offset, 1, log_file);
  fwrite(&count, sizeof count, 1, log_file);
  fwrite(bytes, 1, count, log_file);
  fflush(log_file);
  pthread_mutex_unlock(&log_lock);
}

void cpowerloss_mark(const char *text) { record('M', "", 0, text, (uint32_t)strlen(text)); }

static struct recorded_file *own(sqlite3_file *file) { return (struct recorded_file *)file; }
static sqlite3_file *real(sqlite3_file *file) { return own(file)->real; }

static int rec_close(sqlite3_file *file) { return real(file)->pMethods->xClose(real(file)); }
static int rec_read(sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset) {
  return real(file)->pMethods->xRead(real(file), bytes, count, offset);
}
static int rec_write(sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
  int code = real(file)->pMethods->xWrite(real(file), bytes, count, offset);
  if (code == SQLITE_OK) record('W', own(file)->path, offset, bytes, (uint32_t)count);
  return code;
}
static int rec_truncate(sqlite3_file *file, sqlite3_int64 size) {
  int code = real(file)->pMethods->xTruncate(real(file), size);
  if (code == SQLITE_OK) record('T', own(file)->path, size, "", 0);
  return code;
}
static int rec_sync(sqlite3_file *file, int flags) {
  int code = real(file)->pMethods->xSync(real(file), flags);
  if (code == SQLITE_OK) record('S', own(file)->path, 0, "", 0);
  return code;
}
static int rec_size(sqlite3_file *file, sqlite3_int64 *size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}
static int rec_lock(sqlite3_file *file, int level) { return real(file)->pMethods->xLock(real(file), level); }
static int rec_unlock(sqlite3_file *file, int level) { return real(file)->pMethods->xUnlock(real(file), level); }
static int rec_check(sqlite3_file *file, int *out) { return real(file)->pMethods->xCheckReservedLock(real(file), out); }
static int rec_control(sqlite3_file *file, int operation, void *argument) {
  return real(file)->pMethods->xFileControl(real(file), operation, argument);
}
static int rec_sector(sqlite3_file *file) { return real(file)->pMethods->xSectorSize(real(file)); }
static int rec_device(sqlite3_file *file) { return real(file)->pMethods->xDeviceCharacteristics(real(file)); }
static int rec_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out) {
  return real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
}
static int rec_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}
static void rec_shm_barrier(sqlite3_file *file) { real(file)->pMethods->xShmBarrier(real(file)); }
static int rec_shm_unmap(sqlite3_file *file, int removes) {
  return real(file)->pMethods->xShmUnmap(real(file), removes);
}

// Without memory mapping of the database, which the store does not use: every change of a file passes through here.
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = rec_close,
    .xRead = rec_read,
    .xWrite = rec_write,
    .xTruncate = rec_truncate,
    .xSync = rec_sync,
    .xFileSize = rec_size,
    .xLock = rec_lock,
    .xUnlock = rec_unlock,
    .xCheckReservedLock = rec_check,
    .xFileControl = rec_control,
    .xSectorSize = rec_sector,
    .xDeviceCharacteristics = rec_device,
    .xShmMap = rec_shm_map,
    .xShmLock = rec_shm_lock,
    .xShmBarrier = rec_shm_barrier,
    .xShmUnmap = rec_shm_unmap,
};

static int rec_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *out) {
  (void)vfs;
  struct recorded_file *made = own(file);
  made->base.pMethods = NULL;
  made->path = name;
  // The room behind ours: see szOsFile below.
  made->real = (sqlite3_file *)(made + 1);
  int code = real_vfs->xOpen(real_vfs, name, made->real, flags, out);
  if (code == SQLITE_OK || made->real->pMethods) made->base.pMethods = &methods;
  return code;
}

static int rec_delete(sqlite3_vfs *vfs, const char *name, int syncs) {
  (void)vfs;
  int code = real_vfs->xDelete(real_vfs, name, syncs);
  if (code == SQLITE_OK) record('D', name, 0, "", 0);
  return code;
}

int cpowerloss_start(const char *log) {
  log_file = fopen(log, "wbe");
  if (!log_file) return -1;
  real_vfs = sqlite3_vfs_find(NULL);
  if (!real_vfs) return -1;
  recorder = *real_vfs;
  recorder.pNext = NULL;
  recorder.zName = "martlet-power-loss";
  recorder.szOsFile = (int)sizeof(struct recorded_file) + real_vfs->szOsFile;
  recorder.xOpen = rec_open;
  recorder.xDelete = rec_delete;
  return sqlite3_vfs_register(&recorder, 1) == SQLITE_OK ? 0 : -1;
}
