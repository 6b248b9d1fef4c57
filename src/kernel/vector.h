/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/vector.h - vectors of 8 and of 16 floats, for the files that are compiled once for each.

   DX_FLOATS, set in src/Makefile.am, says which: 16 for the set avx512, 8 for avx2. A set for
   another processor needs the block of definitions below, no more. Each value is computed in one
   lane, in the order that kernel.h fixes, so the width never shows in the bits. */
#ifndef DX_KERNEL_VECTOR_H
#define DX_KERNEL_VECTOR_H
#include "kernel/kernel.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
/* Before a short loop of constant length: its arrays then live in registers. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#if DX_FLOATS == 16
enum { W = 16 }; /* floats in a vector */
enum { ROWS = 14, VECS = 2, WIDE_ROWS = 6, WIDE = 4 }; /* rows and vectors in a block of C; in a wide one */
#define FILL_GEMM dx_kernels_avx512_gemm
#define FILL dx_kernels_avx512
#define FILL_NORM dx_kernels_avx512_norm
#define FILL_WINOGRAD dx_kernels_avx512_winograd
#define NAME "avx512"
typedef __m512 vec;
typedef __mmask16 mask; /* which lanes are there */
INLINE mask first_lanes(int64_t n) { return (mask)((1u << n) - 1); }
INLINE vec spread(float x) { return _mm512_set1_ps(x); }
INLINE vec load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void store(float *p, vec x) { _mm512_storeu_ps(p, x); }
INLINE void stream(float *p, vec x) { _mm512_stream_ps(p, x); }
INLINE vec load_some(mask m, const float *p) { return _mm512_maskz_loadu_ps(m, p); }
INLINE void store_some(mask m, float *p, vec x) { _mm512_mask_storeu_ps(p, m, x); }
INLINE vec mul_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec relu(vec x) { return _mm512_max_ps(spread(0), x); } /* the second where x is NaN or -0 */
typedef __m512i wide; /* W / 2 words of 32 bits, each in 64 */
typedef __m512d doubles;
INLINE wide spread_word(uint32_t x) { return _mm512_set1_epi64(x); }
INLINE wide times(wide a, wide b) { return _mm512_mul_epu32(a, b); } /* of the low halves */
INLINE wide high(wide a) { return _mm512_srli_epi64(a, 32); }
INLINE doubles widen(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
INLINE vec most(vec a, vec b) { return _mm512_max_ps(a, b); } /* b where one is NaN */
INLINE vec least(vec a, vec b) { return _mm512_min_ps(a, b); }
/* 2^n where x = n + 1.5 2^23 */
INLINE vec power_of_two(vec x)
{
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(127)), 23));
}
/* x where the number of 16 bits is at least drop, else 0 */
INLINE vec keep(const uint16_t *bits, uint32_t drop, vec x)
{
  const __m512i b = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)bits));

  return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(b, _mm512_set1_epi32((int)drop)), x);
}
/* Which block stands in which lane, so that zip gives blocks in order: words 0..3 of each. */
INLINE wide block_numbers(void) { return _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7); }
INLINE void zip(wide low, wide more, void *to)
{
  _mm512_storeu_si512(to, _mm512_unpacklo_epi64(low, more));
  _mm512_storeu_si512((char *)to + sizeof low, _mm512_unpackhi_epi64(low, more));
}
/* Four columns of rows i, i + 4, i + 8, i + 12 */
INLINE vec four_columns(const float *const *row, int64_t step, int64_t i, int64_t j)
{
  vec v = _mm512_broadcast_f32x4(_mm_loadu_ps(row[i * step] + j));

  UNROLL
  for (int l = 4; l < W; l += 4) v = _mm512_mask_broadcast_f32x4(v, (mask)(15 << l), _mm_loadu_ps(row[(i + l) * step] + j));
  return v;
}
INLINE vec low_pairs(vec a, vec b) { return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))); }
INLINE vec high_pairs(vec a, vec b) { return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b))); }
INLINE vec low_floats(vec a, vec b) { return _mm512_unpacklo_ps(a, b); } /* a0 b0 a1 b1 of each 128 bits */
INLINE vec high_floats(vec a, vec b) { return _mm512_unpackhi_ps(a, b); }
#elif DX_FLOATS == 8
enum { W = 8 };
enum { ROWS = 6, VECS = 2, WIDE_ROWS = ROWS, WIDE = VECS };
#define FILL_GEMM dx_kernels_avx2_gemm
#define FILL dx_kernels_avx2
#define FILL_NORM dx_kernels_avx2_norm
#define FILL_WINOGRAD dx_kernels_avx2_winograd
#define NAME "avx2"
typedef __m256 vec;
typedef __m256i mask;
INLINE mask first_lanes(int64_t n)
{
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec spread(float x) { return _mm256_set1_ps(x); }
INLINE vec load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void store(float *p, vec x) { _mm256_storeu_ps(p, x); }
INLINE void stream(float *p, vec x) { _mm256_stream_ps(p, x); }
INLINE vec load_some(mask m, const float *p) { return _mm256_maskload_ps(p, m); }
INLINE void store_some(mask m, float *p, vec x) { _mm256_maskstore_ps(p, m, x); }
INLINE vec mul_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec relu(vec x) { return _mm256_max_ps(spread(0), x); }
typedef __m256i wide;
typedef __m256d doubles;
INLINE wide spread_word(uint32_t x) { return _mm256_set1_epi64x(x); }
INLINE wide times(wide a, wide b) { return _mm256_mul_epu32(a, b); }
INLINE wide high(wide a) { return _mm256_srli_epi64(a, 32); }
INLINE doubles widen(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
INLINE vec most(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec least(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec power_of_two(vec x)
{
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(127)), 23));
}
INLINE vec keep(const uint16_t *bits, uint32_t drop, vec x)
{
  const __m256i b = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)bits));

  return _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)drop), b)), x);
}
INLINE wide block_numbers(void) { return _mm256_setr_epi64x(0, 2, 1, 3); }
INLINE void zip(wide low, wide more, void *to)
{
  _mm256_storeu_si256(to, _mm256_unpacklo_epi64(low, more));
  _mm256_storeu_si256((__m256i *)to + 1, _mm256_unpackhi_epi64(low, more));
}
INLINE vec four_columns(const float *const *row, int64_t step, int64_t i, int64_t j)
{
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i * step] + j)), _mm_loadu_ps(row[(i + 4) * step] + j), 1);
}
INLINE vec low_pairs(vec a, vec b) { return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b))); }
INLINE vec high_pairs(vec a, vec b) { return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b))); }
INLINE vec low_floats(vec a, vec b) { return _mm256_unpacklo_ps(a, b); }
INLINE vec high_floats(vec a, vec b) { return _mm256_unpackhi_ps(a, b); }
#else
#error "no vectors of DX_FLOATS floats"
#endif

void FILL_GEMM(dx_kernels *k); /* the slots of vector_gemm.c */
void FILL_NORM(dx_kernels *k); /* of vector_norm.c */
void FILL_WINOGRAD(dx_kernels *k); /* and of vector_winograd.c */

/* Stores past the caches, of whole lines only: stream each vector of a line, and stream_end before another thread may read. */
enum { LINE = 16 };
INLINE void stream_end(void) { _mm_sfence(); }

/* Where a tail is a constant 0 or 1 after inlining: one vector, or its first lanes. */
INLINE vec get(int some, mask m, const float *p) { return some ? load_some(m, p) : load(p); }
INLINE void put(int some, mask m, float *p, vec x)
{
  if (some) store_some(m, p, x);
  else store(p, x);
}

/* Columns j..j+3 of W rows, which begin where row[0], row[step], row[2 step] ... point. */
INLINE void turn_four(const float *const *row, int64_t step, int64_t j, vec v[4])
{
  vec r[4];

  UNROLL
  for (int i = 0; i < 4; i++) r[i] = four_columns(row, step, i, j);
  const vec a = low_floats(r[0], r[1]), b = low_floats(r[2], r[3]), c = high_floats(r[0], r[1]), d = high_floats(r[2], r[3]);

  v[0] = low_pairs(a, b);
  v[1] = high_pairs(a, b);
  v[2] = low_pairs(c, d);
  v[3] = high_pairs(c, d);
}
#endif
