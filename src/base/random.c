/* SPDX-License-Identifier: Apache-2.0 */
/* base/random.c - Philox4x32-10 and the keyed permutation; see random.h. */
#include "base/random.h"

#include "base/math.h"

#include <assert.h>

enum { ROUNDS = 8 }; /* of the Feistel network */

void dx_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
  uint32_t a = ctr[0], b = ctr[1], c = ctr[2], d = ctr[3], k0 = key[0], k1 = key[1];

  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * a, p1 = (uint64_t)0xCD9E8D57u * c;

    a = (uint32_t)(p1 >> 32) ^ b ^ k0;
    b = (uint32_t)p1;
    c = (uint32_t)(p0 >> 32) ^ d ^ k1;
    d = (uint32_t)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = a;
  out[1] = b;
  out[2] = c;
  out[3] = d;
}

void dx_stream_start(const dx_stream *s, uint32_t key[2], uint32_t ctr[4])
{
  assert(s->layer < 256 && s->step < (uint64_t)1 << 40 && s->index < (uint64_t)1 << 40);
  key[0] = (uint32_t)s->seed;
  key[1] = (uint32_t)(s->seed >> 32);
  ctr[0] = 0;
  ctr[1] = (uint32_t)s->index;
  ctr[2] = (uint32_t)s->step;
  ctr[3] = (uint32_t)s->purpose << 24 | s->layer << 16 | (uint32_t)(s->step >> 32) << 8 |
           (uint32_t)(s->index >> 32);
}

void dx_stream_words(const dx_stream *s, uint32_t block, uint32_t out[4])
{
  uint32_t key[2], ctr[4];

  dx_stream_start(s, key, ctr);
  ctr[0] = block;
  dx_philox(ctr, key, out);
}

void dx_stream_normals(const dx_stream *s, int64_t n, double *out)
{
  for (int64_t j = 0; j < n; j += 4) {
    uint32_t w[4];
    double z[4];

    dx_stream_words(s, (uint32_t)(j / 4), w);
    dx_box_muller(w[0], w[1], z, z + 1);
    dx_box_muller(w[2], w[3], z + 2, z + 3);
    for (int64_t i = 0; i < 4 && j + i < n; i++) out[j + i] = z[i];
  }
}

void dx_permutation_init(dx_permutation *p, uint64_t n, uint64_t seed, uint64_t epoch)
{
  const dx_stream s = {.seed = seed, .purpose = DX_FOR_ORDER, .step = epoch};

  assert(n > 0 && n <= (uint64_t)1 << 62);
  p->n = n;
  p->half_bits = 1;
  while (((uint64_t)1 << (2 * p->half_bits)) < n) p->half_bits++;
  dx_stream_words(&s, 0, p->key);
  dx_stream_words(&s, 1, p->key + 4);
}

/* The 32-bit finaliser of MurmurHash3: every input bit reaches every output bit. */
static uint32_t mix(uint32_t x)
{
  x ^= x >> 16;
  x *= 0x85EBCA6Bu;
  x ^= x >> 13;
  x *= 0xC2B2AE35u;
  return x ^ x >> 16;
}

uint64_t dx_permutation_at(const dx_permutation *p, uint64_t i)
{
  const uint32_t mask = (uint32_t)(((uint64_t)1 << p->half_bits) - 1);

  assert(i < p->n);
  do {
    uint32_t left = (uint32_t)(i >> p->half_bits) & mask, right = (uint32_t)i & mask;

    for (int round = 0; round < ROUNDS; round++) {
      const uint32_t next = (left ^ mix(right ^ p->key[round])) & mask;

      left = right;
      right = next;
    }
    i = (uint64_t)left << p->half_bits | right;
  } while (i >= p->n);
  return i;
}
