/* SPDX-License-Identifier: Apache-2.0 */
/* emulated_tiles.c - the kernels of kernel/tile_gemm.c on tiles in plain C, for processors that have AVX-512 and no AMX.
   The real ones sum in an order of their own: only the last bits differ. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

enum { ROWS_OF_TILE = 16, BYTES_OF_ROW = 64 };

typedef union {
  float sum[ROWS_OF_TILE][16];
  uint16_t part[ROWS_OF_TILE][32];
} tile;

static _Thread_local tile emulated[8];

static void load_tile(tile *t, const char *from, int64_t row)
{
  for (int r = 0; r < ROWS_OF_TILE; r++) memcpy(t->part[r], from + r * row, BYTES_OF_ROW);
}

static void store_tile(const tile *t, char *to, int64_t row)
{
  for (int r = 0; r < ROWS_OF_TILE; r++) memcpy(to + r * row, t->sum[r], BYTES_OF_ROW);
}

__attribute__((no_sanitize("address", "undefined"))) static float float_of(uint16_t bf16)
{
  const uint32_t bits = (uint32_t)bf16 << 16;
  float x;

  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Row r of b holds two rows of the product's B: pairs, one of either for each column. Sanitizers would take minutes here. */
__attribute__((no_sanitize("address", "undefined"))) static void multiply_tiles(tile *c, const tile *a, const tile *b)
{
  float of_b[2 * ROWS_OF_TILE][16];

  for (int r = 0; r < 2 * ROWS_OF_TILE; r++)
    for (int j = 0; j < 16; j++) of_b[r][j] = float_of(b->part[r / 2][2 * j + r % 2]);
  for (int i = 0; i < ROWS_OF_TILE; i++) {
    float sum[2][16] = {{0}};

    for (int r = 0; r < 2 * ROWS_OF_TILE; r++) {
      const float of_a = float_of(a->part[i][r]);
#pragma omp simd
      for (int j = 0; j < 16; j++) sum[r % 2][j] = __builtin_fmaf(of_a, of_b[r][j], sum[r % 2][j]);
    }
    for (int j = 0; j < 16; j++) c->sum[i][j] += sum[0][j] + sum[1][j];
  }
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_loadconfig
#undef _tile_storeconfig
#define _tile_loadd(t, from, row) load_tile(&emulated[t], (const char *)(from), row)
#define _tile_stored(t, to, row) store_tile(&emulated[t], (char *)(to), row)
#define _tile_zero(t) memset(&emulated[t], 0, sizeof emulated[t])
#define _tile_dpbf16ps(c, a, b) multiply_tiles(&emulated[c], &emulated[a], &emulated[b])
#define _tile_loadconfig(from) ((void)(from))
#define _tile_storeconfig(to) memset(to, 0, BYTES_OF_ROW)

#define dx_kernels_amx emulated_amx

#include "kernel/tile_gemm.c"
