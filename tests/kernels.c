/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.c - every slot of every set gives the bits of ref (amx: but for its products), and touches no float beside its arrays. */
#include "kernel/kernel.h"

#include "base/random.h"
#include "nn/panels.h"
#include "tap.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef DX_X86
#include <immintrin.h>
void emulated_amx(dx_kernels *k); /* emulated_tiles.c */
#endif

/* An array between two pages that may not be touched: reading or writing beside it ends the
   test. It stands at the end of its pages or (place START) at their beginning, so its
   alignment changes with its length. */
enum { ROOM = 1 << 18, GUARD = 64 };
typedef enum { END, START, PLACES } place;
typedef struct { char *bytes; } zone;

static zone zone_create(void)
{
  char *p = mmap(NULL, 3 * ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (p == MAP_FAILED || mprotect(p + ROOM, ROOM, PROT_READ | PROT_WRITE)) exit(99);
  return (zone){p + ROOM};
}

static void *zone_at(zone z, place where, size_t bytes)
{
  return where == END ? z.bytes + ROOM - bytes : z.bytes;
}

/* The guards: what stands on the open side of an array of that many bytes. */
static char *guard_of(zone z, place where, size_t bytes)
{
  return where == END ? z.bytes + ROOM - bytes - GUARD : z.bytes + bytes;
}

/* Numbers of all sizes, both signs, zeros and denormals among them. */
static float number(uint32_t i)
{
  const dx_stream s = {.seed = 2, .purpose = DX_FOR_TEST};
  uint32_t w[4];

  dx_stream_words(&s, i, w);
  if (w[0] % 16 == 0) return w[1] & 1 ? 0.0F : -0.0F;
  if (w[0] % 16 == 1) return ldexpf((float)dx_uniform(w[1]), -130);
  return ldexpf((float)(dx_uniform(w[1]) * 2 - 1), (int)(w[2] % 12) - 6);
}

static float numbers[ROOM / 4];

static void fill(zone z, place where, int64_t n, int shift)
{
  const size_t bytes = (size_t)n * sizeof(float);

  memcpy(zone_at(z, where, bytes), numbers + shift, bytes);
  memset(guard_of(z, where, bytes), 0x5A, GUARD);
}

/* Equal bits in two arrays, and whole guards. */
static int same(zone a, zone b, place where, int64_t n)
{
  const size_t bytes = (size_t)n * sizeof(float);
  char whole[GUARD];

  memset(whole, 0x5A, GUARD);
  return !memcmp(zone_at(a, where, bytes), zone_at(b, where, bytes), bytes) &&
         !memcmp(guard_of(a, where, bytes), whole, GUARD) && !memcmp(guard_of(b, where, bytes), whole, GUARD);
}

static const int64_t lengths[] = {0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129, 1000, 1003};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static zone in[3], out[2][4]; /* out[0] for ref, out[1] for the set */

static float *at(zone z, place where, int64_t n) { return zone_at(z, where, (size_t)n * sizeof(float)); }

/* ---- one function per slot: 1 when k does what ref does, for all lengths ---------------- */

static int gemm_case(const dx_kernels *k[2], place where, int64_t m, int64_t n, int64_t d, int64_t gap,
                     int turned, dx_gemm_mode mode)
{
  const int64_t la = turned ? m + gap : d + gap, rows_a = turned ? d : m, rb = n + gap, rc = n + 2 * gap;
  const int64_t na = rows_a ? (rows_a - 1) * la + (turned ? m : d) : 0;
  const int64_t nb = d ? (d - 1) * rb + n : 0, nc = m ? (m - 1) * rc + n : 0;

  fill(in[0], where, na, 0);
  fill(in[1], where, nb, 1000);
  fill(in[2], where, n, 5000);
  for (int s = 0; s < 2; s++) {
    fill(out[s][0], where, nc, 7000);
    k[s]->gemm(m, n, d, at(in[0], where, na), turned ? 1 : la, turned ? la : 1, at(in[1], where, nb), rb,
               at(out[s][0], where, nc), rc, mode >= DX_GEMM_BIAS ? at(in[2], where, n) : NULL, mode);
  }
  return same(out[0][0], out[1][0], where, nc);
}

static int same_gemm(const dx_kernels *k[2])
{
  static const int64_t ms[] = {0, 1, 2, 3, 5, 6, 7, 8, 13, 16, 17}, ds[] = {0, 1, 2, 3, 16, 37};
  int good = 1;

  for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
    for (int j = 0; j < LENGTHS - 2; j++)
      for (size_t l = 0; l < sizeof ds / sizeof *ds; l++)
        for (int how = 0; how < 16; how++)
          good &= gemm_case(k, (place)(how >> 1 & 1), ms[i], lengths[j], ds[l], (how & 1) * 3, how >> 3,
                            (dx_gemm_mode)((how >> 1 & 3) ^ (int)(i + l) % 4));
  return good & gemm_case(k, END, 64, 128, 128, 0, 0, DX_GEMM_BIAS_RELU) &
         gemm_case(k, END, 128, 128, 16, 0, 1, DX_GEMM_ADD) & gemm_case(k, END, 15, 49, 128, 0, 0, DX_GEMM_BIAS_RELU) &
         gemm_case(k, START, 15, 49, 129, 3, 0, DX_GEMM_BIAS_RELU) & gemm_case(k, END, 23, 70, 300, 1, 1, DX_GEMM_ADD);
}

/* Rows of all block heights, columns of all strips, k of several runs. */
static int same_gemm_packed(const dx_kernels *k[2])
{
  static const int64_t ms[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 21, 31}, ds[] = {0, 1, 5, 128, 129, 300};
  static const int64_t ns[] = {0, 1, 7, 8, 9, 15, 16, 17, 25, 31, 32, 48, 55, 63, 64, 71, 80, 112, 128, 187};
  int good = 1;

  for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
    for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
      for (size_t l = 0; l < sizeof ds / sizeof *ds; l++) {
        const place where = (place)((i + j + l) % 2);
        const dx_gemm_mode mode = (dx_gemm_mode)((i + 2 * j + l) % 4);
        const int64_t m = ms[i], n = ns[j], d = ds[l], ra = d + (int64_t)(i % 3), rc = n + (int64_t)(j % 3);
        const int64_t na = m ? (m - 1) * ra + d : 0, nb = dx_panels_size(n, d), nc = m ? (m - 1) * rc + n : 0;

        fill(in[0], where, na, 0);
        fill(in[1], where, nb, 1000);
        fill(in[2], where, n, 5000);
        for (int s = 0; s < 2; s++) {
          fill(out[s][0], where, nc, 7000);
          k[s]->gemm_packed(m, n, d, at(in[0], where, na), ra, at(in[1], where, nb), at(out[s][0], where, nc), rc,
                            mode >= DX_GEMM_BIAS ? at(in[2], where, n) : NULL, mode);
        }
        good &= same(out[0][0], out[1][0], where, nc);
      }
  return good;
}

/* A packed; m of its rows, from the third on where there are more. B with rows that are `gap` apart, or packed. */
static int packed_a_case(const dx_kernels *k[2], place where, int64_t m, int64_t n, int64_t d, int more, int64_t gap)
{
  const int64_t rows = m + 3 * more, rb = gap < 0 ? 0 : n + gap, rc = n + gap + 2;
  const int64_t na = dx_panels_size(d, rows), nb = !rb ? dx_panels_size(n, d) : d ? (d - 1) * rb + n : 0;
  const int64_t nc = m ? (m - 1) * rc + n : 0;

  fill(in[0], where, na, 0);
  fill(in[1], where, nb, 1000);
  for (int s = 0; s < 2; s++) {
    fill(out[s][0], where, nc, 7000);
    k[s]->gemm_packed_a(m, n, d, at(in[0], where, na) + 2 * more * DX_PANEL, rows * DX_PANEL, at(in[1], where, nb), rb,
                        at(out[s][0], where, nc), rc, (m + n + d) % 2 ? DX_GEMM_SET : DX_GEMM_ADD);
  }
  return same(out[0][0], out[1][0], where, nc);
}

static int same_gemm_packed_a(const dx_kernels *k[2])
{
  static const int64_t ms[] = {0, 1, 2, 3, 6, 7, 12, 14, 21, 31}, ds[] = {0, 1, 16, 17, 49, 300};
  static const int64_t ns[] = {0, 1, 8, 9, 16, 25, 32, 55, 64, 80, 112};
  int good = 1;

  for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
    for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
      for (size_t l = 0; l < sizeof ds / sizeof *ds; l++)
        for (int gap = -1; gap <= 1; gap++)
          good &= packed_a_case(k, (place)((i + j) % 2), ms[i], ns[j], ds[l], (int)(i + j + l) % 2, gap);
  return good;
}

static int same_transpose(const dx_kernels *k[2])
{
  int good = 1;

  for (int i = 1; i < LENGTHS - 2; i++)
    for (int j = 1; j < LENGTHS - 2; j++)
      for (place w = END; w < PLACES; w++) {
        const int64_t m = lengths[i], n = lengths[j], rx = n + (j % 3), ry = m + (i % 3);
        const int64_t nx = (m - 1) * rx + n, ny = (n - 1) * ry + m;

        fill(in[0], w, nx, 0);
        for (int s = 0; s < 2; s++) {
          fill(out[s][0], w, ny, 7000);
          k[s]->transpose(m, n, at(in[0], w, nx), rx, at(out[s][0], w, ny), ry);
        }
        good &= same(out[0][0], out[1][0], w, ny);
      }
  return good;
}

static int same_add_rows(const dx_kernels *k[2])
{
  int good = 1;

  for (int64_t m = 0; m < 20; m += 3)
    for (int j = 0; j < LENGTHS; j++)
      for (place w = END; w < PLACES; w++) {
        const int64_t n = lengths[j], rx = n + m % 2 * 5, nx = m ? (m - 1) * rx + n : 0;

        fill(in[0], w, nx, 0);
        for (int s = 0; s < 2; s++) {
          fill(out[s][0], w, n, 7000);
          k[s]->add_rows(m, n, at(in[0], w, nx), rx, at(out[s][0], w, n));
        }
        good &= same(out[0][0], out[1][0], w, n);
      }
  return good;
}

/* What the slots of one length share: inputs filled, outputs filled, a call, a comparison.
   in_place says that y is the first input. */
typedef void call(const dx_kernels *k, int64_t n, const float *a, const float *b, float *y);

static int same_loop(const dx_kernels *k[2], call *f)
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (int how = 0; how < 4; how++) {
      const place w = (place)(how & 1);
      const int in_place = how >> 1;
      const int64_t n = lengths[j];

      fill(in[0], w, n, 0);
      fill(in[1], w, n, 3000);
      for (int s = 0; s < 2; s++) {
        fill(out[s][0], w, n, 0);
        float *const y = at(out[s][0], w, n);

        f(k[s], n, in_place ? y : at(in[0], w, n), at(in[1], w, n), y);
      }
      good &= same(out[0][0], out[1][0], w, n);
    }
  return good;
}

static void call_relu(const dx_kernels *k, int64_t n, const float *a, const float *b, float *y)
{
  k->relu_backward(n, b, a, y);
}

static void call_add(const dx_kernels *k, int64_t n, const float *a, const float *b, float *y)
{
  k->add(n, a, b, y);
}

static void call_mix(const dx_kernels *k, int64_t n, const float *a, const float *b, float *y)
{
  k->mix(n, 0.3F, a, -1.7F, b, y);
}

static void call_mix_second(const dx_kernels *k, int64_t n, const float *a, const float *b, float *y)
{
  k->mix(n, 0.3F, b, -1.7F, a, y);
}

static int same_relu_backward(const dx_kernels *k[2]) { return same_loop(k, call_relu); }
static int same_add(const dx_kernels *k[2]) { return same_loop(k, call_add); }
static int same_mix(const dx_kernels *k[2]) { return same_loop(k, call_mix) & same_loop(k, call_mix_second); }

static int same_from_u8(const dx_kernels *k[2])
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (place w = END; w < PLACES; w++) {
      const int64_t n = lengths[j];
      uint8_t *const x = zone_at(in[0], w, (size_t)n);

      for (int64_t i = 0; i < n; i++) x[i] = (uint8_t)(i * 7 + 250);
      for (int s = 0; s < 2; s++) {
        fill(out[s][0], w, n, 0);
        k[s]->from_u8(n, 2 / 255.0F, -1, x, at(out[s][0], w, n));
      }
      good &= same(out[0][0], out[1][0], w, n);
    }
  return good;
}

static int same_sum_squares(const dx_kernels *k[2])
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (place w = END; w < PLACES; w++) {
      const int64_t n = lengths[j];

      fill(in[0], w, n, 100);
      const double a = k[0]->sum_squares(n, at(in[0], w, n)), b = k[1]->sum_squares(n, at(in[0], w, n));

      good &= !memcmp(&a, &b, sizeof a);
    }
  return good;
}

static int same_sum_squared_diff(const dx_kernels *k[2])
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (place w = END; w < PLACES; w++) {
      const int64_t n = lengths[j];

      fill(in[0], w, n, 100);
      fill(in[1], w, n, 4000);
      const double a = k[0]->sum_squared_diff(n, at(in[0], w, n), at(in[1], w, n));
      const double b = k[1]->sum_squared_diff(n, at(in[0], w, n), at(in[1], w, n));

      good &= !memcmp(&a, &b, sizeof a);
    }
  return good;
}

static int adam_case(const dx_kernels *k[2], place w, int64_t n, int averaged)
{
  const dx_adam p = {.rate = 1e-3F, .eps = 1e-8F, .beta1 = 0.9F, .beta2 = 0.999F, .decay = 0.9999F,
                     .grad_scale = 0.37F, .ema = 0.99F};
  int good = 1;

  fill(in[0], w, n, 500);
  for (int s = 0; s < 2; s++) {
    for (int i = 0; i < 4; i++) fill(out[s][i], w, n, 1000 * i);
    float *const m2 = at(out[s][2], w, n);

    for (int64_t i = 0; i < n; i++) m2[i] = fabsf(m2[i]);
    for (int step = 0; step < 2; step++)
      k[s]->adam(n, &p, at(in[0], w, n), at(out[s][0], w, n), at(out[s][1], w, n), m2,
                 averaged ? at(out[s][3], w, n) : NULL);
  }
  for (int i = 0; i < 4; i++) good &= same(out[0][i], out[1][i], w, n);
  return good;
}

static int same_adam(const dx_kernels *k[2])
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (int how = 0; how < 4; how++) good &= adam_case(k, (place)(how & 1), lengths[j], how >> 1);
  return good;
}

static int normals_case(const dx_kernels *k[2], place w, int64_t rows, int64_t n, int indexed)
{
  const uint32_t key[2] = {0xDEADBEEF, 77}, ctr[4] = {0xFFFFFFFE, 5, 0x80000001, 0xFFFFFFFF};
  uint32_t *const index = zone_at(in[0], w, (size_t)rows * sizeof *index);

  for (int64_t r = 0; r < rows; r++) index[r] = (uint32_t)r * 0x9E3779B9u;
  for (int s = 0; s < 2; s++) {
    fill(out[s][0], w, rows * n, 0);
    k[s]->normals(key, ctr, rows, indexed ? index : NULL, n, at(out[s][0], w, rows * n));
  }
  return same(out[0][0], out[1][0], w, rows * n);
}

static int same_normals(const dx_kernels *k[2])
{
  int good = 1;

  for (place w = END; w < PLACES; w++) {
    for (int j = 0; j < LENGTHS; j++) {
      good &= normals_case(k, w, 1, lengths[j], 0);
      for (int64_t n = 0; n <= 9; n++) good &= normals_case(k, w, lengths[j], n, 1);
    }
    for (int64_t rows = 0; rows < 40; rows++) good &= normals_case(k, w, rows, 70, 1);
  }
  return good;
}

static const dx_drop dropping = {.key = {1, 77}, .ctr = {0xFFFFFFFF, 5, 2, 3}, .scale = 1.25f};

static int dropout_case(const dx_kernels *k[2], place w, int64_t rows, int64_t n, uint32_t drop)
{
  uint32_t *const index = zone_at(in[0], w, (size_t)rows * sizeof *index);
  dx_drop d = dropping;

  d.drop = drop;
  for (int64_t r = 0; r < rows; r++) index[r] = (uint32_t)r * 0x9E3779B9u;
  for (int s = 0; s < 2; s++) {
    fill(out[s][0], w, rows * n, 3);
    k[s]->dropout(&d, rows, index, n, at(out[s][0], w, rows * n));
  }
  return same(out[0][0], out[1][0], w, rows * n);
}

static int same_dropout(const dx_kernels *k[2])
{
  int good = 1;

  for (place w = END; w < PLACES; w++)
    for (int j = 0; j < LENGTHS; j++) good &= dropout_case(k, w, 3, lengths[j], (uint32_t)j * 4000);
  return good & dropout_case(k, END, 2, 5003, 7000) & dropout_case(k, START, 2, 4096, 65535);
}

static int same_silu(const dx_kernels *k[2])
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (place w = END; w < PLACES; w++) {
      fill(in[0], w, lengths[j], 0);
      for (int s = 0; s < 2; s++) {
        fill(out[s][0], w, lengths[j], 9);
        k[s]->silu(lengths[j], at(in[0], w, lengths[j]), at(out[s][0], w, lengths[j]));
      }
      good &= same(out[0][0], out[1][0], w, lengths[j]);
    }
  return good;
}

static int same_silu_backward(const dx_kernels *k[2])
{
  int good = 1;

  for (int j = 0; j < LENGTHS; j++)
    for (place w = END; w < PLACES; w++) {
      fill(in[0], w, lengths[j], 0);
      fill(in[1], w, lengths[j], 700);
      for (int s = 0; s < 2; s++) {
        fill(out[s][0], w, lengths[j], 9);
        k[s]->silu_backward(lengths[j], at(in[0], w, lengths[j]), at(in[1], w, lengths[j]), at(out[s][0], w, lengths[j]));
      }
      good &= same(out[0][0], out[1][0], w, lengths[j]);
    }
  return good;
}

/* The sizes of one case of the norms: rows of n numbers, gap floats between rows. */
typedef struct { int64_t rows, n, gap; place w; int silu, drop; } norm_size;

static int64_t floats_of(const norm_size *z) { return z->rows ? (z->rows - 1) * (z->n + z->gap) + z->n : 0; }

/* x in in[0]; mean, gain, offset one after the other in in[1], one vector of each apart. */
static dx_norm_rows norm_of(const norm_size *z, const dx_drop *d)
{
  fill(in[0], z->w, floats_of(z), 100);
  fill(in[1], z->w, 3 * z->n, 4000);
  const float *const v = at(in[1], z->w, 3 * z->n);

  return (dx_norm_rows){.rows = z->rows, .n = z->n, .rx = z->n + z->gap, .x = at(in[0], z->w, floats_of(z)), .mean = v,
                        .gain = v + z->n, .offset = v + 2 * z->n, .silu = z->silu, .drop = z->drop ? d : NULL};
}

/* run over rows and widths that have every kind of tail, and over all kinds. */
static int all_norms(const dx_kernels *k[2], int (*run)(const dx_kernels *k[2], const norm_size *z))
{
  static const int64_t rows[] = {0, 1, 2, 31, 32, 33, 70};
  int good = 1;

  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int j = 1; j < LENGTHS - 2; j++)
      for (int how = 0; how < 8; how++)
        good &= run(k, &(norm_size){rows[i], lengths[j], j % 3, (place)(how & 1), how >> 1 & 1, how >> 2});
  for (int how = 0; how < 8; how++) /* pieces */
    good &= run(k, &(norm_size){5, 2500, how, (place)(how & 1), how >> 1 & 1, how >> 2});
  return good;
}

static int norm_forward_case(const dx_kernels *k[2], const norm_size *z)
{
  dx_drop d = dropping;

  d.drop = 20000;
  const dx_norm_rows q = norm_of(z, &d);
  for (int s = 0; s < 2; s++) {
    fill(out[s][0], z->w, floats_of(z), 9);
    k[s]->norm_forward(&q, at(out[s][0], z->w, floats_of(z)), z->n + z->gap);
  }
  return same(out[0][0], out[1][0], z->w, floats_of(z));
}

static int same_norm_forward(const dx_kernels *k[2]) { return all_norms(k, norm_forward_case); }

static int norm_backward_sums_case(const dx_kernels *k[2], const norm_size *z)
{
  dx_drop d = dropping;
  const int64_t n = floats_of(z);
  int good = 1;

  d.drop = 20000;
  const dx_norm_rows q = norm_of(z, &d);
  fill(in[2], z->w, n, 30000);
  for (int s = 0; s < 2; s++) {
    for (int i = 0; i < 3; i++) fill(out[s][i], z->w, i ? 2 * z->n : n, 9);
    k[s]->norm_backward_sums(&q, at(in[2], z->w, n), q.rx, at(out[s][0], z->w, n), q.rx,
                             zone_at(out[s][1], z->w, (size_t)z->n * sizeof(double)),
                             zone_at(out[s][2], z->w, (size_t)z->n * sizeof(double)));
  }
  for (int i = 0; i < 3; i++) good &= same(out[0][i], out[1][i], z->w, i ? 2 * z->n : n);
  return good;
}

static int same_norm_backward_sums(const dx_kernels *k[2]) { return all_norms(k, norm_backward_sums_case); }

static int norm_backward_case(const dx_kernels *k[2], const norm_size *z)
{
  const int64_t n = floats_of(z);
  dx_norm_rows q = norm_of(z, NULL);

  for (int s = 0; s < 2; s++) {
    float *const g = at(out[s][0], z->w, n);

    fill(out[s][0], z->w, n, 900); /* in place */
    fill(in[2], z->w, n, 12000);
    k[s]->norm_backward(&q, q.gain, q.offset, g, q.rx, z->silu ? at(in[2], z->w, n) : NULL, q.rx, z->drop, g, q.rx);
  }
  return same(out[0][0], out[1][0], z->w, n);
}

static int same_norm_backward(const dx_kernels *k[2]) { return all_norms(k, norm_backward_case); }

static int norm_sums_case(const dx_kernels *k[2], const norm_size *z)
{
  const dx_norm_rows q = norm_of(z, NULL);

  for (int s = 0; s < 2; s++) {
    fill(out[s][0], z->w, 2 * z->n, 9);
    k[s]->norm_sums(q.rows, q.n, q.x, q.rx, z->silu ? q.mean : NULL, zone_at(out[s][0], z->w, (size_t)z->n * sizeof(double)));
  }
  return same(out[0][0], out[1][0], z->w, 2 * z->n);
}

static int same_norm_sums(const dx_kernels *k[2]) { return all_norms(k, norm_sums_case); }

static int softmax_case(const dx_kernels *k[2], const norm_size *z)
{
  const int64_t n = floats_of(z), r = z->n + z->gap;
  int good = 1;

  fill(in[0], z->w, n, 3);
  for (int s = 0; s < 2; s++) {
    fill(out[s][0], z->w, n, 900);
    fill(out[s][1], z->w, n, 1900);
    k[s]->softmax(z->rows, z->n, at(out[s][0], z->w, n), r);
    k[s]->softmax_backward(z->rows, z->n, at(in[0], z->w, n), r, at(out[s][1], z->w, n), r);
  }
  for (int i = 0; i < 2; i++) good &= same(out[0][i], out[1][i], z->w, n);
  return good;
}

static int same_softmax(const dx_kernels *k[2]) { return all_norms(k, softmax_case); }
static int same_softmax_backward(const dx_kernels *k[2]) { return all_norms(k, softmax_case); }

/* The maps of one tile: pixels of n channels lie one after another in the zone, slices n + gap apart. */
typedef void tile_map(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice);

static int same_tile(const dx_kernels *k[2], int from, int to, tile_map *f)
{
  int good = 1;

  for (int j = 1; j < LENGTHS - 2; j++)
    for (int how = 0; how < 6; how++) {
      static const int64_t gap[] = {0, 3, 16}; /* 16: slices of whole lines, as convolutions have them */
      const place w = (place)(how & 1);
      const int64_t n = lengths[j], slice = n + gap[how >> 1], nx = (from - 1) * slice + n, ny = (to - 1) * slice + n;

      fill(in[0], w, nx, 0);
      fill(in[1], w, n, 3000);
      for (int s = 0; s < 2; s++) {
        fill(out[s][0], w, ny, 7000);
        f(k[s], n, at(in[0], w, nx), at(in[1], w, n), at(out[s][0], w, ny), slice);
      }
      good &= same(out[0][0], out[1][0], w, ny);
    }
  return good;
}

static void pointers(int count, float *x, int64_t step, float **p)
{
  for (int i = 0; i < count; i++) p[i] = x + i * step;
}

static void call_v(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice)
{
  float *p[36];

  (void)bias;
  pointers(36, (float *)x, slice, p);
  k->winograd_v(n, (const float *const *)p, y, slice);
}

static void call_y(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice)
{
  float *p[16];

  pointers(16, y, slice, p);
  k->winograd_y(n, x, slice, bias, NULL, p);
}

static void call_y_on_itself(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice)
{
  float *p[16];

  pointers(16, y, slice, p);
  k->winograd_y(n, x, slice, bias, (const float *const *)p, p);
}

static void call_u(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice)
{
  (void)bias;
  k->winograd_u(1, n, x, 0, slice, y, slice);
}

/* Two rows of half the channels. */
static void call_u_rows(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice)
{
  (void)bias;
  k->winograd_u(2, n / 2, x, n / 2, slice, y, slice);
}

static void call_gw(const dx_kernels *k, int64_t n, const float *x, const float *bias, float *y, int64_t slice)
{
  (void)bias;
  k->winograd_gw(n, x, slice, y, slice);
}

static int same_winograd_v(const dx_kernels *k[2]) { return same_tile(k, 36, 36, call_v); }
static int same_winograd_y(const dx_kernels *k[2]) { return same_tile(k, 36, 16, call_y) & same_tile(k, 36, 16, call_y_on_itself); }

static const int64_t panel_lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 19, 31, 32, 33, 48, 50};
enum { PANEL_LENGTHS = sizeof panel_lengths / sizeof *panel_lengths };

/* Pixels of a panel of tiles, which lie one after another; pixels of each other tile in the opposite order. */
static void panel_pointers(int each, float *x, int64_t n, float **p)
{
  for (int t = 0; t < DX_PANEL; t++)
    for (int i = 0; i < each; i++) p[t * each + i] = x + (t * each + (t % 2 ? each - 1 - i : i)) * n;
}

static int same_winograd_z(const dx_kernels *k[2])
{
  float *p[16 * DX_PANEL];
  int good = 1;

  for (int j = 0; j < 2 * PANEL_LENGTHS; j++) {
    const place w = (place)(j % 2);
    const int64_t n = panel_lengths[j / 2], slice = n * DX_PANEL + j % 3 * 8;
    const int64_t nx = 16 * DX_PANEL * n, ny = 35 * slice + n * DX_PANEL;

    fill(in[0], w, nx, 0);
    panel_pointers(16, at(in[0], w, nx), n, p);
    for (int s = 0; s < 2; s++) {
      fill(out[s][0], w, ny, 7000);
      k[s]->winograd_z(n, (const float *const *)p, at(out[s][0], w, ny), slice);
    }
    good &= same(out[0][0], out[1][0], w, ny);
  }
  return good;
}

static int same_winograd_gx(const dx_kernels *k[2])
{
  float *p[36 * DX_PANEL];
  int good = 1;

  for (int j = 0; j < 2 * PANEL_LENGTHS; j++) {
    const place w = (place)(j % 2);
    const int64_t n = panel_lengths[j / 2], row = DX_PANEL + j % 3 * 8, slice = n * row + j % 5;
    const int64_t nx = 35 * slice + (n - 1) * row + DX_PANEL, ny = 36 * DX_PANEL * n;

    fill(in[0], w, nx, 0);
    for (int s = 0; s < 2; s++) {
      fill(out[s][0], w, ny, 7000);
      panel_pointers(36, at(out[s][0], w, ny), n, p);
      p[40] = p[3]; /* a pixel of two tiles */
      k[s]->winograd_gx(n, at(in[0], w, nx), row, slice, p);
    }
    good &= same(out[0][0], out[1][0], w, ny);
  }
  return good;
}

static int same_winograd_u(const dx_kernels *k[2]) { return same_tile(k, 9, 36, call_u) & same_tile(k, 9, 36, call_u_rows); }
static int same_winograd_gw(const dx_kernels *k[2]) { return same_tile(k, 36, 9, call_gw); }

/* A slot without a function above does not compile. */
static void compare_slots(const dx_kernels *ref, const dx_kernels *set)
{
  const dx_kernels *pair[2] = {ref, set};
#define X(slot, result, args) ok(same_##slot(pair), "%s: " #slot " gives the bits of ref", set->name);
  DX_KERNELS(X)
#undef X
}

static void compare_sets(void)
{
  const char *names[3];
  const int n = dx_kernels_available(names);
  dx_kernels ref;

  dx_kernels_ref(&ref);
  for (int i = 0; i < n; i++) {
    dx_kernels set;
    dx_error *e = dx_kernels_select(names[i], &set);

    ok(!e && !strcmp(set.name, names[i]), "the set %s is there", names[i]);
    if (!e) compare_slots(&ref, &set);
  }
}

/* ---- the set whose products have bits of their own -------------------------------------- */

/* An element has the same bits in gemm, in gemm_packed, with A packed, transposed, in its row alone, in five columns alone. */
typedef struct { int64_t m, n, k; dx_gemm_mode mode; } product;

enum { MOST = 70 * 272, DEEPEST = 272 * 544 };
static float pa[DEEPEST], pa_turned[DEEPEST], pa_panels[2 * DEEPEST], pb[DEEPEST], pb_panels[2 * DEEPEST];

static float uniforms[4096]; /* in (-1, 1) */

static void fill_uniforms(void)
{
  const dx_stream s = {.seed = 3, .purpose = DX_FOR_TEST};
  uint32_t w[4];

  for (uint32_t i = 0; i < 4096; i++) {
    if (i % 4 == 0) dx_stream_words(&s, i / 4, w);
    uniforms[i] = (float)(dx_uniform(w[i % 4]) * 2 - 1);
  }
}

static float uniform(int64_t i) { return uniforms[i * 2654435761 % 4093]; }

/* Of element i, j of a packed matrix of so many rows. */
static int64_t place_in_panels(int64_t rows, int64_t i, int64_t j) { return (j / DX_PANEL * rows + i) * DX_PANEL + j % DX_PANEL; }

static void set_product(const product *p)
{
  for (int64_t i = 0; i < p->m; i++)
    for (int64_t l = 0; l < p->k; l++)
      pa[i * p->k + l] = pa_turned[l * p->m + i] = pa_panels[place_in_panels(p->m, i, l)] = uniform(i * p->k + l);
  for (int64_t l = 0; l < p->k; l++)
    for (int64_t j = 0; j < p->n; j++) pb[l * p->n + j] = pb_panels[place_in_panels(p->k, l, j)] = uniform(l * p->n + j + 1999);
}

static const float *bias_of(const product *p) { return p->mode >= DX_GEMM_BIAS ? numbers + 77 : NULL; }

/* The part of C of mi rows from i on and nj columns from j on, as a call of its own. */
static void gemm_part(const dx_kernels *k, const product *p, int64_t i, int64_t mi, int64_t j, int64_t nj, float *c)
{
  const float *const bias = bias_of(p) ? bias_of(p) + j : NULL;

  k->gemm(mi, nj, p->k, pa + i * p->k, p->k, 1, pb + j, p->n, c + i * p->n + j, p->n, bias, p->mode);
}

static int same_anywhere(const dx_kernels *k, const product *p)
{
  static float whole[MOST], other[MOST];
  const size_t bytes = (size_t)(p->m * p->n) * sizeof(float);
  int good = 1;

  set_product(p);
  memcpy(whole, numbers, bytes);
  gemm_part(k, p, 0, p->m, 0, p->n, whole);
  memcpy(other, numbers, bytes);
  k->gemm_packed(p->m, p->n, p->k, pa, p->k, pb_panels, other, p->n, bias_of(p), p->mode);
  good &= !memcmp(whole, other, bytes);
  for (int packed = 0; packed < 2 && p->mode <= DX_GEMM_ADD; packed++) {
    memcpy(other, numbers, bytes);
    k->gemm_packed_a(p->m, p->n, p->k, pa_panels, p->m * DX_PANEL, packed ? pb_panels : pb, packed ? 0 : p->n, other, p->n,
                     p->mode);
    good &= !memcmp(whole, other, bytes);
  }
  memcpy(other, numbers, bytes);
  k->gemm(p->m, p->n, p->k, pa_turned, 1, p->m, pb, p->n, other, p->n, bias_of(p), p->mode);
  good &= !memcmp(whole, other, bytes);
  memcpy(other, numbers, bytes);
  for (int64_t i = 0; i < p->m; i++) gemm_part(k, p, i, 1, 0, p->n, other);
  good &= !memcmp(whole, other, bytes);
  memcpy(other, numbers, bytes);
  for (int64_t j = 0; j < p->n; j += 5) gemm_part(k, p, 0, p->m, j, p->n - j < 5 ? p->n - j : 5, other);
  return good & !memcmp(whole, other, bytes);
}

/* Element i, j of A B, in double. */
static double product_of(const product *p, int64_t i, int64_t j)
{
  double sum = 0;

  for (int64_t l = 0; l < p->k; l++) sum += (double)pa[i * p->k + l] * pb[l * p->n + j];
  return sum;
}

/* The root of the mean square of what is wrong, over that of the products. */
static double error_of(const dx_kernels *k, const product *p)
{
  static float c[MOST];
  double wrong = 0, size = 0;

  set_product(p);
  memcpy(c, numbers, (size_t)(p->m * p->n) * sizeof(float));
  gemm_part(k, p, 0, p->m, 0, p->n, c);
  for (int64_t i = 0; i < p->m; i++)
    for (int64_t j = 0; j < p->n; j++) {
      const double start = p->mode == DX_GEMM_SET ? 0 : p->mode == DX_GEMM_ADD ? (double)numbers[i * p->n + j] : (double)bias_of(p)[j];
      double sum = start + product_of(p, i, j);

      if (p->mode == DX_GEMM_BIAS_RELU && sum < 0) sum = 0;
      wrong += (c[i * p->n + j] - sum) * (c[i * p->n + j] - sum);
      size += sum * sum;
    }
  return sqrt(wrong / size);
}

/* The mean of what is wrong, relative, where all numbers are positive and nothing averages out but errors of both signs. */
static double bias_of_errors(const dx_kernels *k, const product *p)
{
  static float c[MOST];
  double mean = 0;

  set_product(p);
  for (int64_t i = 0; i < p->m * p->k; i++) pa[i] = fabsf(pa[i]);
  for (int64_t i = 0; i < p->k * p->n; i++) pb[i] = fabsf(pb[i]);
  gemm_part(k, p, 0, p->m, 0, p->n, c);
  for (int64_t i = 0; i < p->m; i++)
    for (int64_t j = 0; j < p->n; j++) {
      const double sum = product_of(p, i, j);

      mean += (c[i * p->n + j] - sum) / sum / (double)(p->m * p->n);
    }
  return mean;
}

static void products_anywhere(const dx_kernels *k)
{
  static const int64_t ms[] = {1, 15, 16, 33, 64, 80, 96, 130}, ns[] = {1, 16, 31, 64, 77}, ks[] = {3, 16, 31, 64, 130, 700};

  for (dx_gemm_mode mode = DX_GEMM_SET; mode <= DX_GEMM_BIAS_RELU; mode++) {
    int good = 1;

    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
      for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
        for (size_t l = 0; l < sizeof ks / sizeof *ks; l++)
          good &= same_anywhere(k, &(product){ms[i], ns[j], ks[l], mode});
    /* More columns and rows than tiles keep, and sums that are put by. */
    good &= same_anywhere(k, &(product){70, 272, 544, mode}) & same_anywhere(k, &(product){260, 33, 70, mode});
    ok(good, "%s: an element has the same bits in every call, mode %d", k->name, (int)mode);
  }
}

static void accurate_products(const dx_kernels *k, const dx_kernels *ref)
{
  static const int64_t ks[] = {16, 45, 128, 300, 700, 4096};

  for (size_t l = 0; l < sizeof ks / sizeof *ks; l++) {
    const bool fits = ks[l] <= DEEPEST / 130; /* else fewer rows and columns */
    double worst = 0, floats = 0;

    for (dx_gemm_mode mode = DX_GEMM_SET; mode <= DX_GEMM_BIAS_RELU; mode++) {
      const product p = {fits ? 67 : 22, fits ? 45 : 22, ks[l], mode};

      worst = fmax(worst, error_of(k, &p));
      floats = fmax(floats, error_of(ref, &p));
    }
    ok(worst < 3e-7 && worst < 2 * floats, "%s: products over %d are off by %.1e, those of floats by %.1e", k->name, (int)ks[l],
       worst, floats);
    const product p = {fits ? 130 : 22, fits ? 77 : 22, ks[l], DX_GEMM_SET};
    const double bias = bias_of_errors(k, &p) / 0x1p-24;
    ok(fabs(bias) < 0.2, "%s: of positive numbers by %.2f of 2^-24 in the mean, those of floats by %.2f", k->name, bias,
       bias_of_errors(ref, &p) / 0x1p-24);
  }
}

/* Reads and writes inside the arrays only: ref gives bits to compare with but where numbers are whole and small. */
static int whole_numbers(const dx_kernels *k[2])
{
  static float saved[ROOM / 4];
  int good;

  memcpy(saved, numbers, sizeof saved);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) numbers[i] = (float)((int)(i * 37 % 41) - 20);
  good = same_gemm(k) & same_gemm_packed(k) & same_gemm_packed_a(k);
  memcpy(numbers, saved, sizeof saved);
  return good;
}

static void what_is_not_finite(const dx_kernels *k)
{
  float a[64], b[64], c[4];
  int good = 1;

  for (int bad = 0; bad < 3; bad++) {
    for (int i = 0; i < 64; i++) a[i] = b[i] = 1;
    a[20] = bad == 0 ? NAN : bad == 1 ? INFINITY : -INFINITY;
    k->gemm(2, 2, 32, a, 32, 1, b, 2, c, 2, NULL, DX_GEMM_SET);
    good &= !isfinite(c[0]) && !isfinite(c[1]) && c[2] == 32 && c[3] == 32;
  }
  /* nor does it reach the next product, which is shorter */
  a[20] = NAN;
  k->gemm_packed_a(2, 2, 20, a, 32, b, 2, c, 2, DX_GEMM_SET);
  for (int i = 0; i < 64; i++) a[i] = 1;
  k->gemm_packed_a(2, 2, 17, a, 32, b, 2, c, 2, DX_GEMM_SET);
  good &= c[0] == 17 && c[3] == 17;
  a[20] = FLT_MAX;
  k->gemm(2, 2, 32, a, 32, 1, b, 2, c, 2, NULL, DX_GEMM_SET);
  ok(good && c[0] == FLT_MAX, "%s: what is not finite stays so, in its row, and the largest number is finite", k->name);
}

#ifdef DX_AMX
/* Tiles as another user leaves them: none, or with so many rows. */
static void leave_tiles(uint8_t rows)
{
  struct { uint8_t palette, start, zero[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } c = {.palette = 1, .row_bytes = {64}, .rows = {rows}};

  if (rows) __asm__ volatile("ldtilecfg %0" : : "m"(c));
  else __asm__ volatile("tilerelease");
}
#else
static void leave_tiles(uint8_t rows) { (void)rows; }
#endif

static void tiles_of_others(const dx_kernels *k)
{
  static float usual[64 * 64], after[64 * 64];
  const product p = {64, 64, 64, DX_GEMM_SET};
  int good = 1;

  set_product(&p);
  gemm_part(k, &p, 0, 64, 0, 64, usual);
  for (uint8_t rows = 0; rows <= 16; rows += 8) {
    leave_tiles(rows);
    gemm_part(k, &p, 0, 64, 0, 64, after);
    good &= !memcmp(usual, after, sizeof usual);
  }
  ok(good, "%s: whoever used tiles before", k->name);
}

/* A with gaps in its rows. */
static void scattered(const dx_kernels *k)
{
  static float apart[2 * 40 * 50], usual[40 * 30], other[40 * 30];
  const product p = {40, 30, 50, DX_GEMM_SET};

  set_product(&p);
  for (int64_t i = 0; i < 40 * 50; i++) apart[2 * i] = pa[i];
  gemm_part(k, &p, 0, 40, 0, 30, usual);
  k->gemm(40, 30, 50, apart, 100, 2, pb, 30, other, 30, NULL, DX_GEMM_SET);
  ok(!memcmp(usual, other, sizeof usual), "%s: A with gaps in its rows", k->name);
}

/* Its other slots give the bits of ref. */
static void judge_other_set(const dx_kernels *set)
{
  dx_kernels ref, rest = *set;

  dx_kernels_ref(&ref);
  fill_uniforms();
  rest.gemm = ref.gemm;
  rest.gemm_packed = ref.gemm_packed;
  rest.gemm_packed_a = ref.gemm_packed_a;
  rest.name = "amx but for the products";
  compare_slots(&ref, &rest);
  ok(whole_numbers((const dx_kernels *[2]){&ref, set}), "%s: products of whole numbers are exact, guards are whole", set->name);
  products_anywhere(set);
  accurate_products(set, &ref);
  what_is_not_finite(set);
  scattered(set);
}

/* amx on emulated tiles, where the processor has none. */
static void emulated_set(void)
{
#ifdef DX_X86
  const char *names[3];
  const int n = dx_kernels_available(names);
  dx_kernels set;

  if (!strcmp(names[n - 1], "avx512")) {
    emulated_amx(&set);
    judge_other_set(&set);
    return;
  }
#endif
  ok(1, "no set of other bits here, nor AVX-512 to emulate it # SKIP");
}

static void other_set(void)
{
  const char *const name = dx_kernels_other();
  dx_kernels set;

  if (!name) {
    emulated_set();
    return;
  }
  dx_error *e = dx_kernels_select(name, &set);
  ok(!e && !strcmp(set.name, name), "the set %s is there", name);
  if (e) return;
  judge_other_set(&set);
  tiles_of_others(&set);
}

/* ---- each set against the formula in double ------------------------------------------- */

static void right_gemm(const dx_kernels *k)
{
  enum { M = 5, N = 7, D = 300 };
  float a[M * D], b[D * N], c[M * N], bias[N], worst = 0;

  for (int i = 0; i < M * D; i++) a[i] = (float)sin(i);
  for (int i = 0; i < D * N; i++) b[i] = (float)cos(i * 1.7);
  for (int j = 0; j < N; j++) bias[j] = (float)j - 3;
  for (int mode = DX_GEMM_SET; mode <= DX_GEMM_BIAS_RELU; mode++) {
    for (int i = 0; i < M * N; i++) c[i] = 2;
    k->gemm(M, N, D, a, D, 1, b, N, c, N, bias, (dx_gemm_mode)mode);
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) {
        double sum = mode == DX_GEMM_SET ? 0 : mode == DX_GEMM_ADD ? 2 : bias[j];

        for (int l = 0; l < D; l++) sum += (double)a[i * D + l] * b[l * N + j];
        if (mode == DX_GEMM_BIAS_RELU && sum < 0) sum = 0;
        worst = fmaxf(worst, fabsf(c[i * N + j] - (float)sum));
      }
  }
  ok(worst < 1e-5F, "%s: gemm is the product, off by %.1e", k->name, (double)worst);
  const float nan_a = NAN, one = 1, zero = 0;

  k->gemm(1, 1, 1, &nan_a, 1, 1, &one, 1, c, 1, &zero, DX_GEMM_BIAS_RELU);
  ok(isnan(c[0]), "%s: a NaN passes the ReLU of gemm", k->name);
}

static void right_loops(const dx_kernels *k)
{
  const float a[3] = {1, -2, 3}, b[3] = {4, 0, -6}, x[4] = {3, 4, -12, 0};
  const uint8_t u[3] = {0, 255, 128};
  float y[4], t[4];

  k->relu_backward(3, b, a, y);
  ok(y[0] == 1 && y[1] == 0 && y[2] == 0, "%s: relu_backward passes where y > 0", k->name);
  k->add(3, a, b, y);
  ok(y[0] == 5 && y[1] == -2 && y[2] == -3, "%s: add", k->name);
  k->mix(3, 2, a, 0.5F, b, y);
  ok(y[0] == 4 && y[1] == -4 && y[2] == 3, "%s: mix", k->name);
  k->from_u8(3, 2 / 255.0F, -1, u, y);
  ok(y[0] == -1 && fabsf(y[1] - 1) < 2e-7F && fabsf(y[2] - 1 / 255.0F) < 2e-7F, "%s: from_u8", k->name);
  k->transpose(2, 2, x, 2, t, 2);
  ok(t[0] == 3 && t[1] == -12 && t[2] == 4 && t[3] == 0, "%s: transpose", k->name);
  y[0] = y[1] = 1;
  k->add_rows(2, 2, x, 2, y);
  ok(y[0] == -8 && y[1] == 5, "%s: add_rows", k->name);
  ok(k->sum_squares(4, x) == 169 && k->sum_squared_diff(3, a, b) == 9 + 4 + 81, "%s: sums of squares", k->name);
}

/* Ten steps against the textbook form in double. */
static void right_adam(const dx_kernels *k)
{
  const double rate = 1e-2, b1 = 0.9, b2 = 0.999, eps = 1e-8, weight_decay = 0.1, ema = 0.9;
  double w = 1, m = 0, v = 0, e = 1;
  float wf = 1, mf = 0, vf = 0, ef = 1;

  for (int step = 1; step <= 10; step++) {
    const double g = sin(step) * 0.5, c1 = 1 - pow(b1, step), c2 = 1 - pow(b2, step);
    const float twice = (float)(2 * g);
    const dx_adam p = {.rate = (float)(rate * sqrt(c2) / c1), .eps = (float)(eps * sqrt(c2)), .beta1 = (float)b1,
                       .beta2 = (float)b2, .decay = (float)(1 - rate * weight_decay), .grad_scale = 0.5F,
                       .ema = (float)ema};

    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g * g;
    w -= rate * weight_decay * w;
    w -= rate * (m / c1) / (sqrt(v / c2) + eps);
    e = ema * e + (1 - ema) * w;
    k->adam(1, &p, &twice, &wf, &mf, &vf, &ef);
  }
  ok(fabs(w - wf) < 1e-6 && fabs(e - ef) < 1e-6, "%s: ten steps of AdamW: %.7f, expected %.7f", k->name,
     wf, w);
}

static void right_normals(const dx_kernels *k)
{
  const dx_stream s = {.seed = 5, .purpose = DX_FOR_TEST, .step = 9, .index = 123};
  const uint32_t index = 123;
  uint32_t key[2], ctr[4];
  double want[11];
  float z[11];
  int equal = 1;

  dx_stream_start(&s, key, ctr);
  dx_stream_normals(&s, 11, want);
  ctr[1] = 0;
  k->normals(key, ctr, 1, &index, 11, z);
  for (int i = 0; i < 11; i++) equal &= z[i] == (float)want[i];
  ok(equal, "%s: normals are those of dx_stream_normals, rounded", k->name);
}

static void right_dropout(const dx_kernels *k)
{
  enum { N = 65536 };
  const dx_drop quarter = {.key = {1, 2}, .ctr = {0, 3, 4, 5}, .drop = 16384, .scale = 1.5f};
  static float x[N];
  int64_t dropped = 0, wrong = 0;

  for (int i = 0; i < N; i++) x[i] = 2;
  k->dropout(&quarter, 1, NULL, N, x);
  for (int i = 0; i < N; i++) {
    dropped += x[i] == 0;
    wrong += x[i] != 0 && x[i] != 3;
  }
  ok(wrong == 0 && fabs((double)dropped / N - 0.25) < 4 * sqrt(0.25 * 0.75 / N), "%s: dropout leaves three of four, scaled",
     k->name);
}

/* SiLU, softmax, and a norm's forward and both backward loops, in double; dropout as the slot has it. */
static void right_norm(const dx_kernels *k)
{
  enum { R = 45, N = 21 };
  const dx_drop third = {.key = {9, 2}, .ctr = {0, 3, 4, 5}, .drop = 21845, .scale = 1.5f};
  float x[R * N], gy[R * N], mask[R * N], y[R * N], gz[R * N], gx[R * N], mean[N], gain[N], offset[N], a[N], d[N], worst = 0;
  double sums[4][N], want[4][N] = {{0}};

  for (int i = 0; i < R * N; i++) x[i] = (float)sin(i) * 3, gy[i] = (float)cos(i * 1.3), mask[i] = 1;
  for (int c = 0; c < N; c++) mean[c] = 0.1f * (float)c, gain[c] = 1 + 0.05f * (float)c, offset[c] = 0.3f - 0.02f * (float)c;
  for (int c = 0; c < N; c++) a[c] = 0.01f * (float)c, d[c] = -0.03f * (float)c;
  k->dropout(&third, 1, NULL, R * N, mask);
  const dx_norm_rows q = {.rows = R, .n = N, .rx = N, .x = x, .mean = mean, .gain = gain, .offset = offset, .silu = 1, .drop = &third};
  k->norm_forward(&q, y, N);
  k->norm_backward_sums(&q, gy, N, gz, N, sums[0], sums[1]);
  memcpy(gx, y, sizeof gx);
  k->norm_backward(&q, a, d, gz, N, gy, N, 1, gx, N);
  k->norm_sums(R, N, x, N, NULL, sums[2]);
  k->norm_sums(R, N, x, N, mean, sums[3]);
  for (int i = 0; i < R * N; i++) {
    const int c = i % N;
    const double off = (double)x[i] - mean[c], z = off * gain[c] + offset[c], p = 1 / (1 + exp(-z));
    const double g = gy[i] * mask[i] * p * (1 + z * (1 - p));

    worst = fmaxf(worst, (float)fabs(y[i] - z * p * mask[i]));
    worst = fmaxf(worst, (float)fabs(gz[i] - g));
    worst = fmaxf(worst, (float)fabs(gx[i] - (gain[c] * g - (a[c] + off * d[c]) + gy[i] + y[i])));
    want[0][c] += g, want[1][c] += g * off, want[2][c] += x[i], want[3][c] += off * off;
  }
  ok(worst < 3e-6F, "%s: norm with SiLU and dropout, forward and backward, off by %.1e", k->name, (double)worst);
  worst = 0;
  for (int i = 0; i < 4 * N; i++) worst = fmaxf(worst, (float)fabs(sums[i / N][i % N] - want[i / N][i % N]));
  ok(worst < 1e-4F, "%s: the sums of a norm, off by %.1e", k->name, (double)worst);
}

static void right_silu_and_softmax(const dx_kernels *k)
{
  enum { N = 37 };
  const float far[3] = {-200, 200, NAN};
  float x[N], y[N], p[N], g[N], out_far[3], worst = 0;
  double sum = 0, pg = 0;

  for (int i = 0; i < N; i++) p[i] = x[i] = (float)sin(i) * 8, g[i] = (float)cos(i);
  k->silu(N, x, y);
  for (int i = 0; i < N; i++) worst = fmaxf(worst, fabsf(y[i] - (float)(x[i] / (1 + exp(-(double)x[i])))));
  k->silu_backward(N, x, g, y);
  for (int i = 0; i < N; i++) {
    const double q = 1 / (1 + exp(-(double)x[i]));

    worst = fmaxf(worst, fabsf(y[i] - (float)(g[i] * q * (1 + x[i] * (1 - q)))));
  }
  ok(worst < 2e-6F, "%s: silu and its backward, off by %.1e", k->name, (double)worst);
  k->silu(3, far, out_far);
  ok(fabsf(out_far[0]) < 1e-30F && out_far[1] == 200 && isnan(out_far[2]), "%s: silu far from 0", k->name);
  k->softmax(1, N, p, N);
  worst = 0;
  for (int i = 0; i < N; i++) sum += exp(x[i]);
  for (int i = 0; i < N; i++) worst = fmaxf(worst, fabsf(p[i] - (float)(exp(x[i]) / sum)));
  for (int i = 0; i < N; i++) pg += (double)p[i] * g[i];
  memcpy(y, g, sizeof y);
  k->softmax_backward(1, N, p, N, y, N);
  for (int i = 0; i < N; i++) worst = fmaxf(worst, fabsf(y[i] - (float)(p[i] * (g[i] - pg))));
  ok(worst < 1e-6F, "%s: softmax and its backward, off by %.1e", k->name, (double)worst);
}

static void selection(void)
{
  dx_kernels k;
  dx_error *e = dx_kernels_select("fast", &k);
  char text[200] = "", again[200], tiny[8];

  ok(e && dx_error_code(e) == DX_E_CONFIG && strstr(dx_error_text(e), "fast") &&
         strstr(dx_error_text(e), "portable"),
     "an unknown set is refused: %s", e ? dx_error_text(e) : "not");
  dx_error_free(e);
  dx_cpu_describe(text, sizeof text);
  dx_cpu_describe(again, sizeof again);
  dx_cpu_describe(tiny, sizeof tiny);
  ok(*text && !strcmp(text, again) && strlen(tiny) < sizeof tiny, "this processor: %s", text);
}

static void float_mode(void)
{
  dx_float_mode();
  ok(!dx_float_mode_wrong(), "the float mode is right once set");
  fesetround(FE_UPWARD);
  ok(dx_float_mode_wrong() != NULL, "another rounding is seen");
  dx_float_mode();
  ok(!dx_float_mode_wrong(), "and mended");
#ifdef DX_X86
  _mm_setcsr(_mm_getcsr() | 0x8000);
  ok(dx_float_mode_wrong() != NULL, "flush to zero is seen");
  dx_float_mode();
  _mm_setcsr(_mm_getcsr() | 0x0040);
  ok(dx_float_mode_wrong() != NULL, "denormals read as zero are seen");
  dx_float_mode();
  ok(!dx_float_mode_wrong(), "and mended");
#endif
}

int main(void)
{
  const char *names[3];
  const int n = dx_kernels_available(names);

  for (uint32_t i = 0; i < sizeof numbers / sizeof *numbers; i++) numbers[i] = number(i);
  for (int i = 0; i < 3; i++) in[i] = zone_create();
  for (int i = 0; i < 8; i++) out[i / 4][i % 4] = zone_create();

  ok(n >= 1 && n <= 3 && !strcmp(names[0], "portable"), "%d sets, the slowest is portable", n);
  for (int i = 0; i < n; i++) {
    dx_kernels k;
    dx_error *e = dx_kernels_select(names[i], &k);

    if (e) return 99;
    right_gemm(&k);
    right_loops(&k);
    right_adam(&k);
    right_normals(&k);
    right_dropout(&k);
    right_norm(&k);
    right_silu_and_softmax(&k);
  }
  compare_sets();
  other_set();
  selection();
  float_mode();
  return done();
}
