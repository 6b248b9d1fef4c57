/* SPDX-License-Identifier: Apache-2.0 */
/* base/math.h - exp, log, sine, tanh in double, and exp in float, that give the same bits on every machine.

   libm's functions change bits with the processor, so no value that reaches a model or a
   file comes from them. These use + - * / only (and sqrt, which IEEE 754 fixes; dx_expf fma as well):
   with -ffp-contract=off there is one possible result. They are straight-line code, so a
   loop over them under `omp simd` is vectorised. Error below 1 unit in the last place where
   nothing else is said; NaN in, NaN out.

   Polynomials are plain Taylor series, long enough for the reduced range. */
#ifndef DX_BASE_MATH_H
#define DX_BASE_MATH_H
#include <stdint.h>
#include <string.h>

#define DX_PI 3.14159265358979323846
#define DX_LN2 0.69314718055994530942

static inline uint64_t dx_bits(double x)
{
  uint64_t u;

  memcpy(&u, &x, sizeof u);
  return u;
}

static inline double dx_from_bits(uint64_t u)
{
  double x;

  memcpy(&x, &u, sizeof x);
  return x;
}

/* Adding this to a small number rounds it to a whole one, which then stands in the low bits. */
#define DX_ROUND 0x1.8p52

/* 2^k for whole k in -1022..1023. */
static inline double dx_pow2(double k) { return dx_from_bits(dx_bits(k + (DX_ROUND + 1023)) << 52); }

/* ln 2 in two parts: the first has 21 zero bits at its end, so k times it is exact. */
#define DX_LN2_HI 0x1.62e42feep-1
#define DX_LN2_LO 0x1.a39ef35793c76p-33

/* exp(x) = 2^k (1 + p), |p| <= sqrt(2) - 1; p is right to its own last places. |x| < 2^20. */
static inline double dx_exp_parts(double x, double *k)
{
  const double n = (x * 1.44269504088896340736 + DX_ROUND) - DX_ROUND;
  const double hi = x - n * DX_LN2_HI, lo = n * DX_LN2_LO;
  const double r = hi - lo, rest = (hi - r) - lo;
  double q = 1. / 6227020800;

  q = q * r + 1. / 479001600;
  q = q * r + 1. / 39916800;
  q = q * r + 1. / 3628800;
  q = q * r + 1. / 362880;
  q = q * r + 1. / 40320;
  q = q * r + 1. / 5040;
  q = q * r + 1. / 720;
  q = q * r + 1. / 120;
  q = q * r + 1. / 24;
  q = q * r + 1. / 6;
  q = q * r + 1. / 2;
  *k = n;
  return r + (rest + r * r * q);
}

/* x 2^k in two steps, as 2^k alone may be out of range. */
static inline double dx_scale(double x, double k)
{
  const double half = (k * 0.5 + DX_ROUND) - DX_ROUND;

  return x * dx_pow2(half) * dx_pow2(k - half);
}

static inline double dx_exp(double x)
{
  const double low = x < -746 ? -746 : x, y = low > 710 ? 710 : low; /* 0 and infinity by then */
  double k;
  const double p = dx_exp_parts(y, &k);

  return dx_scale(1 + p, k);
}

/* exp(x) - 1; error below 2 units. */
static inline double dx_expm1(double x)
{
  const double low = x < -40 ? -40 : x, y = low > 710 ? 710 : low;
  double k;
  const double p = dx_exp_parts(y, &k);
  const double less = k > 60 ? 60 : k; /* beyond, the 1 is far below the last place */

  return y == 0 ? x : dx_scale(p + (1 - dx_pow2(-less)), k);
}

/* ln(x 2^power) + low for low far below; x > 0, finite, not denormal. */
static inline double dx_log_sum(double x, double power, double low)
{
  const uint64_t root = 0x3fe6a09e00000000; /* just below sqrt(1/2) */
  const uint64_t u = dx_bits(x) + (0x3ff0000000000000 - root);
  /* x = 2^k (1 + f), 1 + f from sqrt(1/2) to sqrt(2) */
  const double k = dx_from_bits(u >> 52 | 0x4330000000000000) - (0x1p52 + 1023) + power;
  const double f = dx_from_bits((u & 0x000fffffffffffff) + root) - 1;
  const double s = f / (2 + f), z = s * s, half = 0.5 * f * f;
  double q = 2. / 23; /* ln(1 + f) = 2 artanh(s) = 2 s + s z q */

  q = q * z + 2. / 21;
  q = q * z + 2. / 19;
  q = q * z + 2. / 17;
  q = q * z + 2. / 15;
  q = q * z + 2. / 13;
  q = q * z + 2. / 11;
  q = q * z + 2. / 9;
  q = q * z + 2. / 7;
  q = q * z + 2. / 5;
  q = q * z + 2. / 3;
  /* 2 s = f - f^2/2 + s f^2/2 keeps the rounding of s out of the leading term. */
  return k * DX_LN2_HI - ((half - (s * (half + z * q) + (k * DX_LN2_LO + low))) - f);
}

static inline double dx_log(double x)
{
  const double inf = dx_from_bits(0x7ff0000000000000);
  const double y = dx_log_sum(x < 0x1p-1022 ? x * 0x1p54 : x, x < 0x1p-1022 ? -54 : 0, 0);
  const double wrong = x == 0 ? -inf : dx_from_bits(0x7ff8000000000000);

  return x == inf ? x : x > 0 ? y : wrong;
}

/* ln(1 + x). */
static inline double dx_log1p(double x)
{
  const double inf = dx_from_bits(0x7ff0000000000000), u = 1 + x;
  const double lost = x > 1 ? 1 - (u - x) : x - (u - 1); /* what rounding took from u */
  const double y = dx_log_sum(u, 0, lost / u);
  const double wrong = u == 0 ? -inf : dx_from_bits(0x7ff8000000000000);

  return x == inf || x == 0 ? x : u > 0 ? y : wrong;
}

/* Sine and cosine of r + rest, |r| <= pi/4, turned by quarter (its two low bits) times pi/2. */
static inline void dx_sincos_quarter(double r, double rest, uint64_t quarter, double *sine,
                                     double *cosine)
{
  const double z = r * r, half = 0.5 * z, w = 1 - half;
  double p = 1. / 355687428096000, q = 1. / 20922789888000;

  p = p * z - 1. / 1307674368000;
  p = p * z + 1. / 6227020800;
  p = p * z - 1. / 39916800;
  p = p * z + 1. / 362880;
  p = p * z - 1. / 5040;
  p = p * z + 1. / 120;
  p = p * z - 1. / 6;
  q = q * z - 1. / 87178291200;
  q = q * z + 1. / 479001600;
  q = q * z - 1. / 3628800;
  q = q * z + 1. / 40320;
  q = q * z - 1. / 720;
  q = q * z + 1. / 24;

  const double s = r + (rest * w + r * z * p);
  const double c = w + (((1 - w) - half) + (z * z * q - r * rest));
  const double swap_s = quarter & 1 ? c : s, swap_c = quarter & 1 ? s : c;

  *sine = dx_from_bits(dx_bits(swap_s) ^ (quarter & 2) << 62);
  *cosine = dx_from_bits(dx_bits(swap_c) ^ ((quarter + 1) & 2) << 62);
}

/* For |x| <= 2^20 (beyond, digits are lost). */
static inline void dx_sincos(double x, double *sine, double *cosine)
{
  /* pi/2 in three parts of 33, 33 and 53 bits: whole numbers below 2^20 times the first two are exact. */
  const double n0 = x * 0.63661977236758134308 + DX_ROUND, n = n0 - DX_ROUND;
  const double a = x - n * 0x1.921fb544p+0, b = n * 0x1.0b4611a6p-34;
  const double c = n * 0x1.3198a2e037073p-69;
  const double r1 = a - b, rest1 = (a - r1) - b;
  const double r = r1 + (rest1 - c), rest = (r1 - r) + (rest1 - c);

  dx_sincos_quarter(r, rest, dx_bits(n0), sine, cosine);
}

/* Sine and cosine of 2 pi v, v in [0, 1); error below 2 units. */
static inline void dx_sincos_turn(double v, double *sine, double *cosine)
{
  const double n0 = v * 4 + DX_ROUND, f = v - (n0 - DX_ROUND) * 0.25; /* exact */

  dx_sincos_quarter(f * (2 * DX_PI), 0, dx_bits(n0), sine, cosine);
}

/* Error below 2.5 units. */
static inline double dx_tanh(double x)
{
  const double a = x < 0 ? -x : x, y = a > 22 ? 22 : a; /* 1 by then */
  const double t = dx_expm1(y > 0.5 ? 2 * y : -2 * y);
  const double quotient = (y > 0.5 ? 2 : -t) / (t + 2);
  const double z = y > 0.5 ? 1 - quotient : quotient;

  return x == 0 ? x : x < 0 ? -z : z;
}

/* Two standard normals from two random 32-bit words (Box-Muller), |z| <= 6.66. */
static inline void dx_box_muller(uint64_t w0, uint64_t w1, double *z0, double *z1)
{
  const uint64_t two52 = 0x4330000000000000; /* 2^52 with the word in its low bits */
  const double u = (dx_from_bits(w0 | two52) - (0x1p52 - 1)) * 0x1p-32; /* (0, 1] */
  const double v = (dx_from_bits(w1 | two52) - 0x1p52) * 0x1p-32;       /* [0, 1) */
  const double r = __builtin_sqrt(-2 * dx_log_sum(u, 0, 0));
  double s, c;

  dx_sincos_turn(v, &s, &c);
  *z0 = r * c;
  *z1 = r * s;
}

#define DX_EXPF_0 0x1.fffffcp-2f
#define DX_EXPF_1 0x1.555492p-3f
#define DX_EXPF_2 0x1.5558f2p-5f
#define DX_EXPF_3 0x1.123a2p-7f
#define DX_EXPF_4 0x1.6a23dp-10f
#define DX_LN2_HIF 0x1.62ep-1f /* ln 2 in two parts, the first of 12 bits */
#define DX_LN2_LOF 0x1.0bfbe8p-15f

/* e^x in float, error below 1.1 units in the last place; x below -87 counts as -87, above 88 as 88: no denormals, no
   infinity. fma where it stands and nowhere else: kernels do the same lane by lane. e^r = 1 + r + r^2 q(r), with q of
   the least greatest error of its degree, 4e-9, for |r| <= ln 2 / 2. */
static inline float dx_expf(float x)
{
  const float low = x < -87 ? -87 : x, y = low > 88 ? 88 : low;
  const float n0 = __builtin_fmaf(y, 1.44269504f, 0x1.8p23f), n = n0 - 0x1.8p23f; /* whole, nearest to y / ln 2 */
  const float r = __builtin_fmaf(n, -DX_LN2_LOF, __builtin_fmaf(n, -DX_LN2_HIF, y));
  uint32_t bits;
  float q = DX_EXPF_4, power;

  q = __builtin_fmaf(q, r, DX_EXPF_3);
  q = __builtin_fmaf(q, r, DX_EXPF_2);
  q = __builtin_fmaf(q, r, DX_EXPF_1);
  q = __builtin_fmaf(q, r, DX_EXPF_0);
  memcpy(&bits, &n0, sizeof bits);
  bits = (bits + 127) << 23;
  memcpy(&power, &bits, sizeof power);
  return __builtin_fmaf(power, __builtin_fmaf(r * r, q, r), power);
}
#endif
