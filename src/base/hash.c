/* SPDX-License-Identifier: Apache-2.0 */
/* base/hash.c - four lanes of multiply-and-rotate over 32-byte stripes; see hash.h. */
#include "base/hash.h"

#include <string.h>

static const uint64_t odd_a = 0x9E3779B97F4A7C15u, odd_b = 0xC2B2AE3D27D4EB4Fu;

static uint64_t fold(uint64_t h, uint64_t word)
{
  h = (h ^ word * odd_b) * odd_a;
  return h << 29 | h >> 35;
}

/* Little-endian everywhere. */
static uint64_t word_at(const unsigned char *p)
{
  uint64_t w;

  memcpy(&w, p, sizeof w);
  return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(w) : w;
}

uint64_t dx_hash(const void *bytes, size_t size, uint64_t seed)
{
  const unsigned char *p = bytes;
  uint64_t lane[4] = {seed ^ odd_a, seed + odd_b, seed, ~seed}, h = seed ^ (uint64_t)size * odd_b;
  unsigned char last[8] = {0};

  for (; size >= 32; p += 32, size -= 32)
    for (int i = 0; i < 4; i++) lane[i] = fold(lane[i], word_at(p + 8 * i));
  for (int i = 0; i < 4; i++) h = fold(h, lane[i]);
  for (; size >= 8; p += 8, size -= 8) h = fold(h, word_at(p));
  if (size) memcpy(last, p, size); /* of nothing there may be no address */
  h = fold(h, word_at(last));
  h ^= h >> 31;
  h *= odd_b;
  return h ^ h >> 29;
}
