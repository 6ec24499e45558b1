// Fuzzes the builder of nf_tables batches: it reads nothing outside its program, whatever that holds.
#include <stdlib.h>
#include <string.h>

#include "CNetlink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Of exactly this size on the heap, so that a byte too far is seen.
  uint8_t *program = malloc(size == 0 ? 1 : size);
  if (program == NULL) return 0;
  memcpy(program, data, size);
  struct cnetlink_batch batch = cnetlink_nft_batch(program, size, 1);
  if (batch.position > size) abort();
  cnetlink_batch_free(&batch);
  free(program);
  return 0;
}

/// A record begins with its length and two small numbers, which random bytes seldom have.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (size < 8 || seed % 4 == 0) return size;
  uint32_t length = (uint32_t)(size - 4);
  memcpy(data, &length, sizeof length);
  data[4] = (uint8_t)(1 + data[4] % 5);
  data[5] = (uint8_t)(1 + data[5] % 2);
  return size;
}
