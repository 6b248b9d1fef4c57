/* SPDX-License-Identifier: Apache-2.0 */
/* train/verify_machine.c - checks of the machine: kernel sets, BLIS, threads, the mode of the floats. */
#include "train/verify.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Odd sizes, so that every loop has a tail; PACKED columns are a wide strip and more. */
enum { M = 19, N = 37, K = 53, PACKED = 85, DEEP = 21, LONG = 1003, FEW = 21, INPUT = 36 * FEW * 16 };

/* What every slot makes of the same input. Zeroed first: the bytes are compared. */
typedef struct {
  float gemm[4][M * N], packed[M * PACKED], packed_a[2][M * PACKED], transpose[N * M], relu[LONG], rows[N], add[LONG],
      mix[LONG], u8[LONG], adam[4][LONG], normals[3 * N], dropout[3 * N], silu[2][LONG], norm[3][M * N], softmax[2][M * N],
      wino_v[36 * N], wino_y[16 * N], wino_z[36 * FEW * DX_PANEL], wino_gx[36 * FEW * DX_PANEL], wino_u[36 * N], wino_gw[9 * N];
  double squares, difference, sums[4][N];
} results;

/* Numbers in (-1, 1) for argument `which`; the same everywhere. */
static void fill(uint64_t which, int64_t n, float *x)
{
  const dx_stream s = {.seed = 5, .purpose = DX_FOR_TEST, .index = which};
  uint32_t word[4];

  for (int64_t i = 0; i < n; i++) {
    if (i % 4 == 0) dx_stream_words(&s, (uint32_t)(i / 4), word);
    x[i] = (float)(2 * dx_uniform(word[i % 4]) - 1);
  }
}

/* A slot that is not called below would go unseen. */
enum {
  SLOTS = 0
#define X(name, result, args) +1
  DX_KERNELS(X)
#undef X
};
_Static_assert(SLOTS == 28, "a new kernel slot: call it in exercise(), then count it here");

static void exercise_norm(const dx_kernels *k, const float *a, const float *b, const float *c, const dx_drop *drop, results *r)
{
  const dx_norm_rows q = {.rows = M, .n = N, .rx = N, .x = a, .mean = b, .gain = c, .offset = c + N, .silu = 1, .drop = drop};

  k->silu(LONG, a, r->silu[0]);
  k->silu_backward(LONG, a, c, r->silu[1]);
  k->norm_sums(M, N, a, N, NULL, r->sums[0]);
  k->norm_sums(M, N, a, N, b, r->sums[1]);
  k->norm_forward(&q, r->norm[0], N);
  k->norm_backward_sums(&q, c, N, r->norm[1], N, r->sums[2], r->sums[3]);
  k->norm_backward(&q, c + 5, c + 7, r->norm[1], N, b, N, 1, r->norm[2], N);
  fill(11, M * N, r->softmax[0]);
  k->softmax(M, N, r->softmax[0], N);
  fill(12, M * N, r->softmax[1]);
  k->softmax_backward(M, N, r->softmax[0], N, r->softmax[1], N);
}

/* One tile of N channels, its 36 slices in and out; a panel of tiles of FEW. */
static void exercise_winograd(const dx_kernels *k, const float *a, results *r)
{
  const float *from[36], *gy[16 * DX_PANEL];
  float *y[16], *gx[36 * DX_PANEL];

  for (int i = 0; i < 36; i++) from[i] = a + i * N;
  for (int i = 0; i < 16; i++) y[i] = r->wino_y + i * N;
  for (int i = 0; i < 16 * DX_PANEL; i++) gy[i] = a + i * FEW;
  for (int i = 0; i < 36 * DX_PANEL; i++) gx[i] = r->wino_gx + i * FEW;
  fill(13, 36 * FEW * DX_PANEL, r->wino_gx);
  fill(14, 9 * N, r->wino_gw);
  k->winograd_v(N, from, r->wino_v, N);
  k->winograd_y(N, a, N, a + N, from, y);
  k->winograd_z(FEW, gy, r->wino_z, FEW * DX_PANEL);
  k->winograd_gx(FEW, a, DX_PANEL, FEW * DX_PANEL, gx);
  k->winograd_u(1, N, a, 0, N, r->wino_u, N);
  k->winograd_gw(N, a, N, r->wino_gw, N);
}

static void exercise(const dx_kernels *k, results *r)
{
  static const dx_drop drop = {.key = {7, 8}, .ctr = {0, 1, 2, 3}, .drop = 30000, .scale = 1.5f};
  static const dx_gemm_mode mode[] = {DX_GEMM_SET, DX_GEMM_ADD, DX_GEMM_BIAS, DX_GEMM_BIAS_RELU};
  const dx_adam step = {.rate = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decay = 0.99f,
                        .grad_scale = 0.5f, .ema = 0.995f};
  const uint32_t key[2] = {7, 8}, ctr[4] = {0, 1, 2, 3}, index[3] = {5, 0, 9};
  float a[INPUT], b[INPUT], c[INPUT];
  uint8_t bytes[LONG];

  memset(r, 0, sizeof *r);
  fill(1, INPUT, a);
  fill(2, INPUT, b);
  fill(3, INPUT, c);
  for (int i = 0; i < LONG; i++) bytes[i] = (uint8_t)(31 * i);
  for (int i = 0; i < 4; i++) {
    fill(4, M * N, r->gemm[i]);
    fill((uint64_t)(6 + i), LONG, r->adam[i]);
    k->gemm(M, N, K, a, i % 2 ? 1 : K, i % 2 ? M : 1, b, N, r->gemm[i], N, c, mode[i]);
  }
  k->gemm_packed(M, PACKED, DEEP, a, DEEP, b, r->packed, PACKED, c, DX_GEMM_BIAS);
  k->gemm_packed_a(M, PACKED, DEEP, a, M * DX_PANEL, b, PACKED, r->packed_a[0], PACKED, DX_GEMM_SET);
  k->gemm_packed_a(M, PACKED, DEEP, a, M * DX_PANEL, b, 0, r->packed_a[1], PACKED, DX_GEMM_SET);
  for (int i = 0; i < LONG; i++) r->adam[2][i] = fabsf(r->adam[2][i]); /* the second moment */
  k->transpose(M, N, a, N, r->transpose, M);
  k->relu_backward(LONG, a, c, r->relu);
  k->add_rows(M, N, a, N, r->rows);
  k->add(LONG, a, c, r->add);
  k->mix(LONG, 0.3f, a, -1.7f, c, r->mix);
  k->from_u8(LONG, 2.f / 255, -1, bytes, r->u8);
  r->squares = k->sum_squares(LONG, a);
  r->difference = k->sum_squared_diff(LONG, a, c);
  k->adam(LONG, &step, a, r->adam[0], r->adam[1], r->adam[2], r->adam[3]);
  k->normals(key, ctr, 3, index, N, r->normals);
  fill(10, 3 * N, r->dropout);
  k->dropout(&drop, 3, index, N, r->dropout);
  exercise_norm(k, a, b, c, &drop, r);
  exercise_winograd(k, a, r);
}

static int64_t different_bytes(const void *a, const void *b, size_t size)
{
  const unsigned char *x = a, *y = b;
  int64_t n = 0;

  for (size_t i = 0; i < size; i++) n += x[i] != y[i];
  return n;
}

/* Where the set is one whose products have bits of their own: r's products are no longer compared. */
static void forgive_products(const dx_kernels *k, const results *plain, results *r)
{
  const char *const other = dx_kernels_other();

  if (!other || strcmp(other, k->name)) return;
  memcpy(r->gemm, plain->gemm, sizeof r->gemm);
  memcpy(r->packed, plain->packed, sizeof r->packed);
  memcpy(r->packed_a, plain->packed_a, sizeof r->packed_a);
}

/* Every set of the same bits that this processor can run, and the one that this rank works with. */
dx_error *dx_check_kernels(const dx_team *team, dx_verdict *v)
{
  const char *names[3];
  const int sets = dx_kernels_available(names);
  results *r = malloc(2 * sizeof *r);
  dx_error *err = NULL;
  dx_kernels k;

  if (!r) return DX_FAIL(INTERNAL, "no memory for the results of the kernels");
  dx_kernels_ref(&k);
  exercise(&k, r);
  for (int i = 0; !err && i < sets; i++) {
    err = dx_kernels_select(names[i], &k);
    if (err) break;
    exercise(&k, r + 1);
    dx_verdict_add(v, (double)different_bytes(r, r + 1, sizeof *r), 0, 0, "bytes that differ, %s",
                   names[i]);
  }
  exercise(&team->kernel, r + 1);
  forgive_products(&team->kernel, r, r + 1);
  dx_verdict_add(v, (double)different_bytes(r, r + 1, sizeof *r), 0, 0, "bytes that differ, in use");
  free(r);
  return err;
}

enum { BM = 67, BN = 45, BK = 131 };

/* Rounding of a float product is at most k 2^-24 sum |a b|, whatever the order; of random numbers it is not of one sign, and
   the root of k does. */
static void judge_product(const float *a, const float *b, const float *c, const char *whose, dx_verdict *v)
{
  for (int i = 0; i < BM; i++)
    for (int j = 0; j < BN; j++) {
      double sum = 0, size = 0;

      for (int l = 0; l < BK; l++) {
        sum += (double)a[i * BK + l] * b[l * BN + j];
        size += fabs((double)a[i * BK + l] * b[l * BN + j]);
      }
      dx_verdict_add(v, (c[i * BN + j] - sum) / (sqrt(BK) * 0x1p-24 * size), 0, 1, "%s, element %d, %d", whose, i, j);
    }
}

dx_error *dx_check_gemm(const dx_team *team, dx_verdict *v)
{
  float *a = malloc((BM * BK + BK * BN + BM * BN) * sizeof *a);

  if (!a) return DX_FAIL(INTERNAL, "no memory for a product");
  float *b = a + BM * BK, *c = b + BK * BN;
  fill(1, BM * BK, a);
  fill(2, BK * BN, b);
  fill(3, BM * BN, c);
  for (int i = 0; i < BM * BN; i++) c[i] *= 1e-3f; /* so that beta = 0 shows */
  dx_gemm_blis(BM, BN, BK, 1, a, BK, 1, b, BN, 1, 0, c, BN);
  judge_product(a, b, c, "BLIS", v);
  team->kernel.gemm(BM, BN, BK, a, BK, 1, b, BN, c, BN, NULL, DX_GEMM_SET);
  judge_product(a, b, c, team->kernel.name, v);
  free(a);
  return NULL;
}

/* One thread's answers of BLIS and of our own gemm, (M, N) each. */
static void products(const dx_team *team, float *c)
{
  float a[M * K], b[K * N];

  dx_float_mode();
  fill(1, M * K, a);
  fill(2, K * N, b);
  dx_gemm_blis(M, N, K, 1, a, K, 1, b, N, 1, 0, c, N);
  team->kernel.gemm(M, N, K, a, K, 1, b, N, c + M * N, N, NULL, DX_GEMM_SET);
}

/* Two threads at the least: what they share unknowingly shows only then. */
dx_error *dx_check_threads(const dx_team *team, dx_verdict *v)
{
  enum { ROUNDS = 50 };
  const int threads = team->threads < 2 ? 2 : team->threads;
  float alone[2 * M * N];
  int64_t wrong = 0;

  products(team, alone);
#pragma omp parallel num_threads(threads) reduction(+ : wrong)
  {
    float c[2 * M * N];

    for (int i = 0; i < ROUNDS; i++) {
      products(team, c);
      wrong += memcmp(c, alone, sizeof c) != 0;
    }
  }
  dx_verdict_add(v, (double)wrong, 0, 0, "products that differ, %d threads", threads);
  return NULL;
}

dx_error *dx_check_float_mode(const dx_team *team, dx_verdict *v)
{
  int64_t wrong = 0;

#pragma omp parallel num_threads(team->threads) reduction(+ : wrong)
  {
    dx_float_mode();
    wrong += dx_float_mode_wrong() != NULL;
  }
  dx_verdict_add(v, (double)wrong, 0, 0, "threads that differ, of %d", team->threads);
  return NULL;
}
