/* SPDX-License-Identifier: Apache-2.0 */
/* math.c - our exp, log, sine and tanh against the C library's long double ones. */
#include "base/math.h"

#include "base/random.h"
#include "tap.h"

#include <float.h>
#include <math.h>

enum { TRIES = 200000 };

/* Random numbers between lo and hi, evenly or evenly in their logarithm. */
static double draw(uint32_t i, double lo, double hi)
{
  const dx_stream s = {.seed = 1, .purpose = DX_FOR_TEST};
  uint32_t w[4];

  dx_stream_words(&s, i, w);
  return lo + (hi - lo) * (dx_uniform(w[0]) + dx_uniform(w[1]) * 0x1p-32);
}

/* |got - want| in units of the last place of want. */
static double units_off(double got, long double want)
{
  const double near = (double)want;
  const double up = nextafter(fabs(near), INFINITY) - fabs(near);

  if (isnan(got) || isnan(near)) return isnan(got) == isnan(near) ? 0 : INFINITY;
  if (isinf(got) || isinf(near)) return got == near ? 0 : INFINITY;
  return (double)(fabsl((long double)got - want) / (long double)up);
}

typedef double function(double);
typedef long double reference(long double);

/* The largest error for x in lo..hi; with by_size for |x| in 2^lo..2^hi, of both signs if that is -1. */
static double worst(function *f, reference *exact, double lo, double hi, int by_size, double *where)
{
  double most = 0;

  for (uint32_t i = 0; i < TRIES; i++) {
    double x = draw(i, lo, hi);

    if (by_size) x = exp2(x) * (by_size < 0 && i % 2 ? -1 : 1);
    const double off = units_off(f(x), exact((long double)x));

    if (!(off <= most)) {
      most = off;
      *where = x;
    }
  }
  return most;
}

static double sine(double x)
{
  double s, c;

  dx_sincos(x, &s, &c);
  return s;
}

static double cosine(double x)
{
  double s, c;

  dx_sincos(x, &s, &c);
  return c;
}

static double sine_turn(double v)
{
  double s, c;

  dx_sincos_turn(v, &s, &c);
  return s;
}

static double cosine_turn(double v)
{
  double s, c;

  dx_sincos_turn(v, &s, &c);
  return c;
}

static const long double pi_l = 3.14159265358979323846264338327950288L;

/* Reduced exactly first: the argument has few bits, 2 pi does not. */
static long double exact_turn(long double v, long double quarter)
{
  const long double n = floorl(v * 4 + 0.5L), f = (v - n / 4) * 2 * pi_l;
  const int q = ((int)n + (int)quarter) & 3;

  return (q & 2 ? -1 : 1) * (q & 1 ? cosl(f) : sinl(f));
}

static long double exact_sine_turn(long double v) { return exact_turn(v, 0); }
static long double exact_cosine_turn(long double v) { return exact_turn(v, 1); }

static void check(const char *name, function *f, reference *exact, double lo, double hi, int by_size,
                  double limit)
{
  double where = 0;
  const double off = worst(f, exact, lo, hi, by_size, &where);

  ok(off <= limit, "%s, %s %g..%g: %.3f units off at most, at %.17g", name,
     by_size ? "2 to the" : "x in", lo, hi, off, where);
}

static void accuracy(void)
{
  check("exp", dx_exp, expl, -1, 1, 0, 1);
  check("exp", dx_exp, expl, -708, 709.7, 0, 1);
  check("exp", dx_exp, expl, -745, -708, 0, 1);
  check("expm1", dx_expm1, expm1l, -2, 2, 0, 2);
  check("expm1", dx_expm1, expm1l, -60, -1, -1, 2);
  check("expm1", dx_expm1, expm1l, -50, 709.7, 0, 2);
  check("log", dx_log, logl, 0.5, 2, 0, 1);
  check("log", dx_log, logl, 0.99, 1.01, 0, 1);
  check("log", dx_log, logl, -1074, 1024, 1, 1);
  check("log1p", dx_log1p, log1pl, -0.999, 2, 0, 1);
  check("log1p", dx_log1p, log1pl, -60, -1, -1, 1);
  check("log1p", dx_log1p, log1pl, -1, 1023, 1, 1);
  check("tanh", dx_tanh, tanhl, -3, 3, 0, 2.5);
  check("tanh", dx_tanh, tanhl, -60, 6, -1, 2.5);
  check("sin", sine, sinl, -4, 4, 0, 1);
  check("cos", cosine, cosl, -4, 4, 0, 1);
  check("sin", sine, sinl, -60, 20, -1, 1);
  check("cos", cosine, cosl, -60, 20, -1, 1);
  check("sin 2 pi v", sine_turn, exact_sine_turn, 0, 1, 0, 2);
  check("cos 2 pi v", cosine_turn, exact_cosine_turn, 0, 1, 0, 2);
}

static void near_zeros_of_sine(void)
{
  double most = 0;

  for (int k = 1; k < 600000; k += 7) {
    const double x = (double)(k * pi_l / 2);
    const double off = k % 2 ? units_off(cosine(x), cosl((long double)x))
                             : units_off(sine(x), sinl((long double)x));

    if (off > most) most = off;
  }
  ok(most <= 1, "beside multiples of pi/2: %.3f units off at most", most);
}

static void special(void)
{
  const double big = HUGE_VAL;

  ok(dx_exp(0) == 1 && dx_exp(-big) == 0 && dx_exp(big) == big && isnan(dx_exp(NAN)), "exp at its ends");
  ok(dx_exp(709.8) == big && dx_exp(-746) == 0 && dx_exp(-744) == 0x1p-1073, "exp over- and underflows");
  ok(dx_expm1(0) == 0 && dx_expm1(-big) == -1 && dx_expm1(big) == big && isnan(dx_expm1(NAN)) &&
         signbit(dx_expm1(-0.0)) && dx_expm1(DBL_TRUE_MIN) == DBL_TRUE_MIN,
     "expm1 at its ends");
  ok(dx_log(1) == 0 && dx_log(0) == -big && dx_log(big) == big && isnan(dx_log(-1)) && isnan(dx_log(NAN)),
     "log at its ends");
  ok(dx_log1p(0) == 0 && dx_log1p(-1) == -big && dx_log1p(big) == big && isnan(dx_log1p(-2)) &&
         isnan(dx_log1p(NAN)) && dx_log1p(DBL_TRUE_MIN) == DBL_TRUE_MIN && signbit(dx_log1p(-0.0)),
     "log1p at its ends");
  ok(dx_tanh(big) == 1 && dx_tanh(-big) == -1 && dx_tanh(0) == 0 && signbit(dx_tanh(-0.0)) &&
         isnan(dx_tanh(NAN)) && dx_tanh(DBL_TRUE_MIN) == DBL_TRUE_MIN,
     "tanh at its ends");
  ok(sine(0) == 0 && cosine(0) == 1 && isnan(sine(NAN)) && isnan(cosine(NAN)), "sin and cos at 0 and NaN");
  ok(sine_turn(0) == 0 && sine_turn(0.25) == 1 && fabs(sine_turn(0.5)) == 0 && sine_turn(0.75) == -1 &&
         cosine_turn(0) == 1 && fabs(cosine_turn(0.25)) == 0 && cosine_turn(0.5) == -1 &&
         fabs(cosine_turn(0.75)) == 0,
     "quarter turns are exact");
}

/* In float: the error in units of the last place, the ends, and the bits. */
static void exp_in_float(void)
{
  double most = 0;
  uint64_t sum = 0;

  for (uint32_t i = 0; i < TRIES; i++) {
    const float x = (float)draw(i, -87, 88), y = dx_expf(x);
    const long double want = expl((long double)x);
    uint32_t u;

    most = fmax(most, (double)(fabsl((long double)y - want) / exp2l((long double)(ilogb((double)want) - 23))));
    memcpy(&u, &y, sizeof u);
    sum = (sum ^ u) * 0x9E3779B97F4A7C15u;
  }
  ok(most < 1.1, "expf is off by at most %.3f units", most);
  ok(dx_expf(0) == 1 && dx_expf(-1000) == dx_expf(-87) && dx_expf(1000) == dx_expf(88) && isnan(dx_expf(NAN)),
     "expf at 0, beyond its ends, and of NaN");
  ok(sum == 0x3e30d1229802142a, "the bits of its values are those written down here (%016llx)", (unsigned long long)sum);
}

/* The bits themselves, over many arguments: the promise that they differ nowhere. */
static void bits(void)
{
  uint64_t sum = 0;

  for (uint32_t i = 0; i < 20000; i++) {
    const double x = draw(i, -30, 30), y = draw(i, 0, 1);
    double v[10];

    v[0] = dx_exp(x);
    v[1] = dx_expm1(x);
    v[2] = dx_log(y);
    v[3] = dx_log1p(y);
    v[4] = dx_tanh(y);
    dx_sincos(x, v + 5, v + 6);
    dx_sincos_turn(y, v + 7, v + 8);
    v[9] = dx_tanh(x);
    for (int j = 0; j < 10; j++) sum = (sum ^ dx_bits(v[j])) * 0x9E3779B97F4A7C15u;
  }
  ok(sum == 0x579b75eba3f82f69, "the bits of 200000 values are those written down here (%016llx)",
     (unsigned long long)sum);
}

int main(void)
{
  accuracy();
  near_zeros_of_sine();
  special();
  exp_in_float();
  bits();
  return done();
}
