/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/ref.c - every slot in plain C: what kernel.h says, element by element. */
#include "kernel/kernel.h"

#include "base/math.h"
#include "base/random.h"

enum { LANES = 16, P = DX_PANEL };

/* Columns of A and of B are pa and pb floats apart from panel to panel. */
static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, int64_t pa, const float *b,
                    int64_t rb, int64_t pb, float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      float *const to = c + i * rc + j;
      float run = mode == DX_GEMM_SET ? 0 : mode == DX_GEMM_ADD ? *to : bias[j], sum = 0;

      for (int64_t l = 0; l < k; l++) {
        if (l && l % DX_GEMM_RUN == 0) {
          sum = l == DX_GEMM_RUN ? run : sum + run;
          run = 0;
        }
        run = __builtin_fmaf(a[i * ras + l / P * pa + l % P * cas], b[l * rb + j / P * pb + j % P], run);
      }
      if (k > DX_GEMM_RUN) run += sum;
      *to = mode == DX_GEMM_BIAS_RELU && run < 0 ? 0 : run;
    }
}

static void gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas, const float *b,
                 int64_t rb, float *c, int64_t rc, const float *bias, dx_gemm_mode mode)
{
  product(m, n, k, a, ras, cas, P * cas, b, rb, P, c, rc, bias, mode);
}

static void gemm_packed(int64_t m, int64_t n, int64_t k, const float *a, int64_t ra, const float *panels, float *c,
                        int64_t rc, const float *bias, dx_gemm_mode mode)
{
  product(m, n, k, a, ra, 1, P, panels, P, P * k, c, rc, bias, mode);
}

static void gemm_packed_a(int64_t m, int64_t n, int64_t k, const float *a, int64_t pa, const float *b, int64_t rb,
                          float *c, int64_t rc, dx_gemm_mode mode)
{
  product(m, n, k, a, P, 1, pa, b, rb ? rb : P, rb ? P : P * k, c, rc, NULL, mode);
}

static void transpose(int64_t m, int64_t n, const float *x, int64_t rx, float *y, int64_t ry)
{
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) y[j * ry + i] = x[i * rx + j];
}

static void relu_backward(int64_t n, const float *y, const float *gy, float *gx)
{
  for (int64_t i = 0; i < n; i++) gx[i] = y[i] > 0 ? gy[i] : 0;
}

static void add_rows(int64_t m, int64_t n, const float *x, int64_t rx, float *s)
{
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) s[j] += x[i * rx + j];
}

static void add(int64_t n, const float *a, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void mix(int64_t n, float p, const float *a, float q, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_fmaf(p, a[i], q * b[i]);
}

static void from_u8(int64_t n, float scale, float shift, const uint8_t *x, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_fmaf(scale, x[i], shift);
}

static double sum_lanes(double lane[LANES])
{
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[l + half];
  return lane[0];
}

static double sum_squares(int64_t n, const float *x)
{
  double lane[LANES] = {0};

  for (int64_t i = 0; i < n; i++) lane[i % LANES] += (double)x[i] * x[i];
  return sum_lanes(lane);
}

static double sum_squared_diff(int64_t n, const float *a, const float *b)
{
  double lane[LANES] = {0};

  for (int64_t i = 0; i < n; i++) {
    const double d = (double)a[i] - b[i];

    lane[i % LANES] += d * d;
  }
  return sum_lanes(lane);
}

static void adam(int64_t n, const dx_adam *p, const float *g, float *w, float *m1, float *m2, float *e)
{
  for (int64_t i = 0; i < n; i++) {
    const float gs = p->grad_scale * g[i];

    m1[i] = dx_adam_moment(__builtin_fmaf(p->beta1, m1[i], (1 - p->beta1) * gs));
    m2[i] = dx_adam_moment(__builtin_fmaf(p->beta2, m2[i], (1 - p->beta2) * (gs * gs)));
    w[i] = p->decay * w[i] - p->rate * m1[i] / (__builtin_sqrtf(m2[i]) + p->eps);
    if (e) e[i] = __builtin_fmaf(p->ema, e[i], (1 - p->ema) * w[i]);
  }
}

static void normals_of_row(const uint32_t key[2], const uint32_t start[4], int64_t n, float *out)
{
  uint32_t ctr[4] = {start[0], start[1], start[2], start[3]}, w[4];

  for (int64_t j = 0; j < n; j += 4, ctr[0]++) {
    double z[4];

    dx_philox(ctr, key, w);
    dx_box_muller(w[0], w[1], z, z + 1);
    dx_box_muller(w[2], w[3], z + 2, z + 3);
    for (int64_t i = 0; i < 4 && j + i < n; i++) out[j + i] = (float)z[i];
  }
}

static void normals(const uint32_t key[2], const uint32_t ctr[4], int64_t rows, const uint32_t *index,
                    int64_t n, float *out)
{
  for (int64_t r = 0; r < rows; r++) {
    const uint32_t start[4] = {ctr[0], index ? index[r] : ctr[1], ctr[2], ctr[3]};

    normals_of_row(key, start, n, out + r * n);
  }
}

/* Numbers first.. of an example. */
static void drop_some(const dx_drop *d, int64_t first, int64_t n, float *x)
{
  uint32_t w[4];

  for (int64_t i = 0; i < n; i++) {
    const int64_t j = first + i;

    if (i == 0 || j % 8 == 0)
      dx_philox((const uint32_t[4]){d->ctr[0] + (uint32_t)(j / 8), d->ctr[1], d->ctr[2], d->ctr[3]}, d->key, w);
    x[i] = (w[j % 8 / 2] >> (j % 2 * 16) & 0xFFFF) >= d->drop ? d->scale * x[i] : 0;
  }
}

static void dropout(const dx_drop *d, int64_t rows, const uint32_t *index, int64_t n, float *x)
{
  dx_drop row = *d;

  for (int64_t r = 0; r < rows; r++) {
    if (index) row.ctr[1] = index[r];
    drop_some(&row, 0, n, x + r * n);
  }
}

static void silu(int64_t n, const float *x, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = x[i] / (1 + dx_expf(-x[i]));
}

static float silu_slope(float x)
{
  const float q = 1 / (1 + dx_expf(-x));

  return q * __builtin_fmaf(x, 1 - q, 1);
}

static void silu_backward(int64_t n, const float *x, const float *gy, float *gx)
{
  for (int64_t i = 0; i < n; i++) gx[i] = gy[i] * silu_slope(x[i]);
}

enum { PART = 32 }; /* rows that are summed in float */

static void norm_sums(int64_t rows, int64_t n, const float *x, int64_t rx, const float *mean, double *s)
{
  for (int64_t c = 0; c < n; c++) {
    s[c] = 0;
    for (int64_t first = 0; first < rows; first += PART) {
      float part = 0;

      for (int64_t i = first; i < rows && i < first + PART; i++) {
        const float v = x[i * rx + c] - (mean ? mean[c] : 0);

        part = mean ? __builtin_fmaf(v, v, part) : part + v;
      }
      s[c] += (double)part;
    }
  }
}

static float normalised(const dx_norm_rows *q, int64_t i, int64_t c)
{
  return __builtin_fmaf(q->x[i * q->rx + c] - q->mean[c], q->gain[c], q->offset[c]);
}

static void norm_forward(const dx_norm_rows *q, float *y, int64_t ry)
{
  for (int64_t i = 0; i < q->rows; i++) {
    for (int64_t c = 0; c < q->n; c++) y[i * ry + c] = normalised(q, i, c);
    if (q->silu) silu(q->n, y + i * ry, y + i * ry);
    if (q->drop) drop_some(q->drop, i * q->n, q->n, y + i * ry);
  }
}

static void norm_backward_sums(const dx_norm_rows *q, const float *gy, int64_t rgy, float *gz, int64_t rgz,
                               double *a, double *d)
{
  for (int64_t i = 0; i < q->rows; i++) {
    for (int64_t c = 0; c < q->n; c++) gz[i * rgz + c] = gy[i * rgy + c];
    if (q->drop) drop_some(q->drop, i * q->n, q->n, gz + i * rgz);
    for (int64_t c = 0; c < q->n && q->silu; c++) gz[i * rgz + c] *= silu_slope(normalised(q, i, c));
  }
  for (int64_t c = 0; c < q->n; c++) {
    a[c] = d[c] = 0;
    for (int64_t first = 0; first < q->rows; first += PART) {
      float pa = 0, pd = 0;

      for (int64_t i = first; i < q->rows && i < first + PART; i++) {
        pa += gz[i * rgz + c];
        pd = __builtin_fmaf(gz[i * rgz + c], q->x[i * q->rx + c] - q->mean[c], pd);
      }
      a[c] += (double)pa;
      d[c] += (double)pd;
    }
  }
}

static void norm_backward(const dx_norm_rows *q, const float *a, const float *d, const float *gz, int64_t rgz,
                          const float *plus, int64_t rplus, int more, float *gx, int64_t rgx)
{
  for (int64_t i = 0; i < q->rows; i++)
    for (int64_t c = 0; c < q->n; c++) {
      const float less = __builtin_fmaf(q->x[i * q->rx + c] - q->mean[c], d[c], a[c]);
      float g = __builtin_fmaf(q->gain[c], gz[i * rgz + c], -less);

      if (plus) g += plus[i * rplus + c];
      if (more) g += gx[i * rgx + c];
      gx[i * rgx + c] = g;
    }
}

static float sum_float_lanes(float lane[LANES])
{
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[l + half];
  return lane[0];
}

static void softmax(int64_t m, int64_t n, float *x, int64_t rx)
{
  for (int64_t i = 0; i < m; i++) {
    float *const row = x + i * rx, lane[LANES] = {0}, largest = row[0];

    for (int64_t j = 1; j < n; j++) largest = row[j] > largest ? row[j] : largest;
    for (int64_t j = 0; j < n; j++) {
      row[j] = dx_expf(row[j] - largest);
      lane[j % LANES] += row[j];
    }
    const float scale = 1 / sum_float_lanes(lane);
    for (int64_t j = 0; j < n; j++) row[j] *= scale;
  }
}

static void softmax_backward(int64_t m, int64_t n, const float *p, int64_t rp, float *g, int64_t rg)
{
  for (int64_t i = 0; i < m; i++) {
    const float *const row = p + i * rp;
    float *const to = g + i * rg, lane[LANES] = {0};

    for (int64_t j = 0; j < n; j++) lane[j % LANES] = __builtin_fmaf(row[j], to[j], lane[j % LANES]);
    const float sum = sum_float_lanes(lane);
    for (int64_t j = 0; j < n; j++) to[j] = row[j] * (to[j] - sum);
  }
}

/* Vectors of one float for the maps that all sets share. */
#define INLINE static inline
#define UNROLL
enum { W = 1 };
typedef float vec;
typedef int mask;
INLINE mask first_lanes(int64_t n) { return (mask)n; }
INLINE vec spread(float x) { return x; }
INLINE vec mul_add(vec a, vec b, vec c) { return __builtin_fmaf(a, b, c); }
INLINE vec get(int some, mask m, const float *p) { return (void)some, (void)m, *p; }
INLINE void put(int some, mask m, float *p, vec x) { (void)some, (void)m, *p = x; }
INLINE void turn_four(const float *const *row, int64_t step, int64_t j, vec v[4])
{
  (void)step;
  for (int i = 0; i < 4; i++) v[i] = row[0][j + i];
}
#include "kernel/winograd.h"

void dx_kernels_ref(dx_kernels *k)
{
  k->name = "portable";
#define X(slot, result, args) k->slot = slot;
  DX_KERNELS(X)
#undef X
}
