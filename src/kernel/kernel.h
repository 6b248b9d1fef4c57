/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/kernel.h - the float loops, as one table, and the door to BLIS.

   Kernels see pointers and sizes: no shapes, no MPI, no errors, no memory.
   ref fills every slot with plain C; avx2 and avx512 (one source compiled
   twice) replace the slots that they speed up. Every set gives the same bits:
   the order of each sum is written down below, fma stands only where the
   comment says fma, and no libm function but sqrt, fma, floor is called.

   One set does not, and so is never chosen unasked: amx, which is avx512 with
   products of its own (tile_gemm.c). Their sums have another order, and are as
   close to the product. That c_ij depends on row i of A, column j of B, k, mode
   and start alone, and that the three slots agree, holds for them too. */
#ifndef DX_KERNEL_KERNEL_H
#define DX_KERNEL_KERNEL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

/* What one Adam step needs. The caller folds the bias correction of step k = 1, 2, ... into two
   numbers, with c1 = 1 - beta1^k and c2 = 1 - beta2^k. Plain Adam has decay 1; no clip, grad_scale 1. */
typedef struct {
  float rate;         /* learning rate x sqrt(c2) / c1 */
  float eps;          /* epsilon x sqrt(c2) */
  float beta1, beta2; /* decay of the moments */
  float decay;        /* AdamW: 1 - learning rate x weight decay */
  float grad_scale;   /* the gradient is multiplied by this first */
  float ema;          /* decay of the moving average */
} dx_adam;

/* A moment below 2^-120 counts as 0. That of a weight without gradient would fall to the denormal numbers and stay
   there for ever, at a hundred cycles an operation on some processors. */
static inline float dx_adam_moment(float m) { return __builtin_fabsf(m) < 0x1p-120f ? 0 : m; }

/* Dropout of one example of many numbers: number j is kept, times scale, where its 16 bits are at
   least drop, else 0. The bits are half j mod 8 (low half first) of the words of block
   ctr[0] + j/8 of Philox4x32-10. */
typedef struct {
  uint32_t key[2], ctr[4], drop;
  float scale;
} dx_drop;

/* What group normalisation does to one example: rows of n numbers, a pixel each, rx floats apart.
   z = fma(x - mean, gain, offset);  y = z, or silu(z) = z / (1 + e^-z), and then dropout, of which
   channel c of row i is number i n + c. */
typedef struct {
  int64_t rows, n, rx;
  const float *x, *mean, *gain, *offset; /* the last three (n) */
  int silu;
  const dx_drop *drop; /* NULL: none */
} dx_norm_rows;

/* What gemm does to C. */
typedef enum {
  DX_GEMM_SET,      /* C  = A B */
  DX_GEMM_ADD,      /* C += A B : the sum starts with the old C */
  DX_GEMM_BIAS,     /* C  = bias + A B : the sum starts with bias[j] */
  DX_GEMM_BIAS_RELU /* the same, then 0 where it is < 0 (NaN stays) */
} dx_gemm_mode;

/* Products that gemm adds up at a stretch: the rounding of longer sums would grow with their root. */
enum { DX_GEMM_RUN = 128 };
/* Columns of a panel of a packed matrix (k,n), which stands as panels without gaps: (k,DX_PANEL) (k,DX_PANEL) ... The last
   one is as wide, and what stands beside its columns is not used. */
enum { DX_PANEL = 16 };

/* Lanes of sums over long vectors: element i goes to lane i mod 16, each lane
   adds in order of i, then lanes l and l+8 are added, l and l+4, l+2, l+1. */
#define DX_KERNELS(X)                                                                             \
  /* Small products without packing. A (m,k) with any strides; B (k,n) and C (m,n) with rows      \
     rb and rc floats apart. c_ij = fma(a_il, b_lj, c_ij) for l = 0..k-1 in this order,           \
     starting with 0, the old c_ij or bias[j]; after every DX_GEMM_RUN of l the sum is put by and  \
     the next starts with 0: c = (first + second) + third ... m, n, k may be 0; C overlaps nothing. */ \
  X(gemm, void, (int64_t m, int64_t n, int64_t k, const float *a, int64_t ras, int64_t cas,       \
                 const float *b, int64_t rb, float *c, int64_t rc, const float *bias,             \
                 dx_gemm_mode mode))                                                              \
  /* The same product, bit for bit, of A (m,k) with rows ra floats apart and packed B, of which more is asked for ahead  \
     than what is in the caches: what stands behind it in memory, too, which the next product may read. */ \
  X(gemm_packed, void, (int64_t m, int64_t n, int64_t k, const float *a, int64_t ra, const float *panels, \
                        float *c, int64_t rc, const float *bias, dx_gemm_mode mode))             \
  /* The same product of packed A, or of some of its rows: panels of A are pa floats apart. B has rows rb floats apart or,  \
     where rb is 0, is packed. SET and ADD alone. */                                              \
  X(gemm_packed_a, void, (int64_t m, int64_t n, int64_t k, const float *a, int64_t pa, const float *b, int64_t rb, \
                          float *c, int64_t rc, dx_gemm_mode mode))                               \
  /* y (n,m) = transpose of x (m,n); rows rx and ry floats apart. */                              \
  X(transpose, void, (int64_t m, int64_t n, const float *x, int64_t rx, float *y, int64_t ry))    \
  /* gx = gy where y > 0, else 0 (y: the output of the ReLU). gx may be gy. */                    \
  X(relu_backward, void, (int64_t n, const float *y, const float *gy, float *gx))                 \
  /* s[j] += x[0][j] + x[1][j] + ...: rows added to s one after the other. */                     \
  X(add_rows, void, (int64_t m, int64_t n, const float *x, int64_t rx, float *s))                 \
  X(add, void, (int64_t n, const float *a, const float *b, float *y)) /* y = a + b; y may be a */ \
  /* y = p a + q b, as fma(p, a, q * b). y may be a or b. */                                      \
  X(mix, void, (int64_t n, float p, const float *a, float q, const float *b, float *y))           \
  /* y = shift + scale x of 8-bit data, fma(scale, x, shift). */                                  \
  X(from_u8, void, (int64_t n, float scale, float shift, const uint8_t *x, float *y))             \
  /* Sum of x_i^2 and of (a_i - b_i)^2: each float (difference) widened to double first, squared, \
     added lane by lane as above (product, then sum: no fma). */                                  \
  X(sum_squares, double, (int64_t n, const float *x))                                             \
  X(sum_squared_diff, double, (int64_t n, const float *a, const float *b))                        \
  /* Adam(W) with moments m1, m2 and the moving average e (NULL: none), in place:                 \
     g' = grad_scale g;  m1 = moment(fma(beta1, m1, (1-beta1) g'));                               \
     m2 = moment(fma(beta2, m2, (1-beta2) (g' g')));  w' = decay w;   (moment: dx_adam_moment)    \
     w = w' - (rate m1) / (sqrt(m2) + eps);  e = fma(ema, e, (1-ema) w). */                       \
  X(adam, void, (int64_t n, const dx_adam *p, const float *g, float *w, float *m1, float *m2,     \
                 float *e))                                                                       \
  /* Standard normals by Box-Muller from Philox4x32-10. Row r (of rows) has n numbers at          \
     out + r n; its counter is ctr with index[r] in word 1 (index NULL: ctr as it is, rows 1),    \
     element j comes from block ctr[0] + j/4, whose words w0..w3 give, in double                  \
     (dx_box_muller in base/math.h), u = (w0 + 1) 2^-32, v = w1 2^-32, r = sqrt(-2 ln u):         \
     r cos 2 pi v, r sin 2 pi v, and the same of w2, w3; then rounded to float. |z| < 6.661. */   \
  X(normals, void, (const uint32_t key[2], const uint32_t ctr[4], int64_t rows,                   \
                    const uint32_t *index, int64_t n, float *out))                                \
  /* Dropout of rows of n numbers, in place: row r as dx_drop says, with ctr[1] = index[r] where    \
     index is not NULL. Backward is the same call on gradients. */                                \
  X(dropout, void, (const dx_drop *d, int64_t rows, const uint32_t *index, int64_t n, float *x))  \
  /* y = silu(x) and gx = gy silu'(x), with q = 1 / (1 + e^-x): x / (1 + e^-x) and                \
     gy (q fma(x, 1 - q, 1)). y may be x, gx may be gy. e^x is dx_expf of base/math.h. */          \
  X(silu, void, (int64_t n, const float *x, float *y))                                            \
  X(silu_backward, void, (int64_t n, const float *x, const float *gy, float *gx))                 \
  /* s[c] = sum over the rows of x[c], or, by fma, of (x[c] - mean[c])^2 where mean is not NULL: float \
     sums over 32 rows each, starting with 0, then these in double; all in order of rows. */      \
  X(norm_sums, void, (int64_t rows, int64_t n, const float *x, int64_t rx, const float *mean, double *s)) \
  X(norm_forward, void, (const dx_norm_rows *q, float *y, int64_t ry))                            \
  /* gz, the gradient of z, from that of y; a[c] = sum over the rows of gz[c], d[c] = sum of      \
     gz[c] (x[c] - mean[c]), by fma, summed as in norm_sums. gz may be gy. */                             \
  X(norm_backward_sums, void, (const dx_norm_rows *q, const float *gy, int64_t rgy, float *gz, int64_t rgz, \
                               double *a, double *d))                                             \
  /* gx = fma(gain, gz, -fma(x - mean, d, a)), a and d (n); to this plus (rows rplus apart) is added      \
     where it is not NULL, then the old gx where more is not 0. gx may be gz or plus. */          \
  X(norm_backward, void, (const dx_norm_rows *q, const float *a, const float *d, const float *gz, int64_t rgz, \
                          const float *plus, int64_t rplus, int more, float *gx, int64_t rgx))              \
  /* Softmax of each of m rows of n numbers, in place: dx_expf(x - largest) times 1 / their sum, which    \
     is of floats, lane by lane as above. */                                                      \
  X(softmax, void, (int64_t m, int64_t n, float *x, int64_t rx))                                  \
  /* Its backward: g = p (g - s), s the sum of p g, by fma, the same way. */                       \
  X(softmax_backward, void, (int64_t m, int64_t n, const float *p, int64_t rp, float *g, int64_t rg))\
  /* Winograd's F(4x4,3x3): the maps of kernel/winograd.h for n channels of one tile. Pointers are  \
     to pixels, row by row, of the 6 x 6 under the tile or of its 4 x 4; slices are `slice` floats \
     apart. V = B' x B;  y = (A' M A + bias) + base (NULL: none; may be y). */                     \
  X(winograd_v, void, (int64_t n, const float *const x[36], float *v, int64_t slice))             \
  X(winograd_y, void, (int64_t n, const float *m, int64_t slice, const float *bias,               \
                       const float *const *base, float *const y[16]))                             \
  /* Z = A gy A' of DX_PANEL tiles, 16 pointers to each one's pixels: slices are a panel, (n,DX_PANEL). gx += B gV B'  \
     of so many, 36 pointers each, pixel by pixel, tile after tile; channel c of tile t at gv + c row + t. */ \
  X(winograd_z, void, (int64_t n, const float *const gy[16 * DX_PANEL], float *z, int64_t slice)) \
  X(winograd_gx, void, (int64_t n, const float *gv, int64_t row, int64_t slice, float *const gx[36 * DX_PANEL])) \
  /* U = G w G' of rows of n channels: weight (i,j) of a row stands at w + (3 i + j) tap, the next row row_w floats   \
     further, and its U behind that of the row before it.  gw += G' gU G, of one row. */             \
  X(winograd_u, void, (int64_t rows, int64_t n, const float *w, int64_t row_w, int64_t tap, float *u, int64_t slice)) \
  X(winograd_gw, void, (int64_t n, const float *gu, int64_t slice, float *gw, int64_t tap))

typedef struct {
  const char *name; /* "portable", "avx2", "avx512", "amx" */
#define X(name, result, args) result (*name) args;
  DX_KERNELS(X)
#undef X
} dx_kernels;

void dx_kernels_ref(dx_kernels *k);    /* plain C: fills every slot; the set "portable" */
void dx_kernels_avx2(dx_kernels *k);   /* replace the slots that they speed up */
void dx_kernels_avx512(dx_kernels *k);
void dx_kernels_amx(dx_kernels *k);

/* The sets of this build that this processor can run and that give the same bits, slowest
   first: 1..3 names into names[3]. Starts neither BLIS nor MPI. Local */
int dx_kernels_available(const char *names[3]);
/* The one that gives bits of its own, or NULL. Local */
const char *dx_kernels_other(void);
/* Fill k with the set of that name; DX_E_CONFIG where it is not available. Local */
dx_error *dx_kernels_select(const char *name, dx_kernels *k) DX_MUST_CHECK;

/* Pin BLIS to the kernel set that belongs to `ours` ("portable": generic,
   "avx2": haswell, "avx512" and "amx": skx), found by name in this BLIS, then start it and
   check what it runs; ours NULL: let BLIS choose for this processor.
   Must come before any other BLIS call; once per process. Local */
dx_error *dx_blis_start(const char *ours) DX_MUST_CHECK;
const char *dx_blis_kernels(void); /* name of the set that BLIS runs, such as "zen3" */
const char *dx_blis_version(void); /* starts nothing */

/* Vendor and level of this processor in a few words, equal on machines on which
   BLIS and dx_kernels_available choose alike: what ranks compare. Local */
void dx_cpu_describe(char *text, int room);
/* A server of Intel's that has two units of 512 bits. Local */
bool dx_cpu_is_wide(void);

/* C = alpha A B + beta C through BLIS with one thread, whatever BLIS_NUM_THREADS says.
   A (m,k), B (k,n) with any strides; C (m,n) with rows rc floats apart. Local */
void dx_gemm_blis(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t ras,
                  int64_t cas, const float *b, int64_t rbs, int64_t cbs, float beta, float *c,
                  int64_t rc);

/* Rounding to nearest, denormals kept: the mode that every worker sets at the
   start of a parallel region, so that no library's setting reaches the bits. */
void dx_float_mode(void);
/* NULL when the mode is as dx_float_mode sets it, else what differs. */
const char *dx_float_mode_wrong(void);
#endif
