/* SPDX-License-Identifier: Apache-2.0 */
/* tests/strata.c - strata by a pilot of terms whose law is known: log-normal, the same factor in all terms of an example.
   The true gain of a plan follows from their moments; the interval holds it as often as it says. */
#include "train/strata.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tap.h"

enum { T = 60, K = 8, N = 16, PILOTS = 400 };
static const double common = 0.5, own = 0.4; /* deviations of the logarithms */

static double mean_of(int t) { return 1000.0 / ((t + 3.0) * sqrt(t + 3.0)) + 1 + (t > 40) * 40; }

/* Terms of pilot number `which`. */
static void draw(int which, double *vb)
{
  double z[T + 1];

  for (int e = 0; e < N; e++) {
    dx_stream_normals(&(dx_stream){.seed = 5, .purpose = DX_FOR_TEST, .step = (uint64_t)which, .index = (uint64_t)e}, T + 1, z);
    for (int t = 0; t < T; t++) vb[e * T + t] = mean_of(t) * exp(common * z[T] + own * z[t] - (common * common + own * own) / 2);
  }
}

/* E of what differs between ways to draw t in strata 1..K-1: sum over t of E v^2 / chance - (sum over t of E v)^2. */
static double variance(const int64_t *first, const double *size)
{
  const double square = exp(common * common + own * own); /* E v^2 / (E v)^2 */
  double sum = 0;

  for (int k = 1; k < K; k++) {
    double all = 0, mean = 0;

    for (int64_t t = first[k]; t < first[k + 1]; t++) all += size ? size[t - 1] : 1;
    for (int64_t t = first[k]; t < first[k + 1]; t++) {
      const double m = mean_of((int)t - 1);

      sum += m * m * square * all / (size ? size[t - 1] : 1);
      mean += m;
    }
    sum -= mean * mean;
  }
  return sum;
}

/* Strata at squares, by the formula of doc/math.md. */
static void squares(int64_t *first)
{
  first[0] = 1;
  for (int k = 1; k < K; k++) {
    first[k] = 2 + (int64_t)((T - 1) * ((k - 1.0) / (K - 1)) * ((k - 1.0) / (K - 1)));
    if (first[k] <= first[k - 1]) first[k] = first[k - 1] + 1;
  }
  first[K] = T + 1;
}

int main(void)
{
  static double vb[N * T];
  int64_t first[K + 1], at_squares[K + 1];
  double size[T], widest = 0, off = 0, said = 0;
  int held = 0, whole = 1;

  squares(at_squares);
  for (int i = 0; i < PILOTS; i++) {
    dx_strata s = {.count = K, .first = first, .size = size, .gain_low = NAN, .gain_high = NAN};

    draw(i, vb);
    dx_error_free(dx_strata_by_pilot(N, T, vb, &s));
    const double gain = variance(at_squares, NULL) / variance(first, size);
    held += s.gain_low <= gain && gain <= s.gain_high;
    widest = fmax(widest, s.gain_high / s.gain_low);
    off += log(s.gain_low * s.gain_high) / 2 - log(gain);
    said += log(s.gain) - log(gain);
    whole = whole && first[0] == 1 && first[1] == 2 && first[K] == T + 1;
    for (int k = 0; k < K; k++) whole = whole && first[k] < first[k + 1];
  }
  printf("# of %d intervals %d hold the true gain; the widest goes over a factor of %.2f; bias %.3f, of the gain itself %.3f\n", PILOTS,
         held, widest, off / PILOTS, said / PILOTS);
  ok(whole, "t = 1 alone and %d strata that cut the rest", K - 1);
  ok(held >= 0.90 * PILOTS && held <= 0.99 * PILOTS, "an interval of 95 %% holds the true gain as often as it says");
  ok(widest < 4 && fabs(off / PILOTS) < 0.05, "and it is neither wide nor off");
  dx_strata two = {.count = K, .first = first, .size = size, .gain_low = NAN, .gain_high = NAN};
  dx_error_free(dx_strata_by_pilot(2, T, vb, &two));
  ok(isfinite(two.gain) && isnan(two.gain_low) && isnan(two.gain_high), "two examples give a gain, but no interval");
  return done();
}
