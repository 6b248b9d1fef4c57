/* SPDX-License-Identifier: Apache-2.0 */
/* random.c - Philox known answers, the permutation, and the law of the normals. */
#include "base/random.h"

#include "base/math.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The three vectors that Random123 publishes for philox4x32-10. */
static void known_answers(void)
{
  static const struct { uint32_t ctr[4], key[2], out[4]; const char *name; } row[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, "zeros"},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, "ones"},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}, "digits of pi"},
  };

  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    uint32_t out[4];

    dx_philox(row[i].ctr, row[i].key, out);
    ok(!memcmp(out, row[i].out, sizeof out), "philox4x32-10 of %s is %08x %08x %08x %08x", row[i].name,
       out[0], out[1], out[2], out[3]);
  }
}

static void counter_layout(void)
{
  const dx_stream s = {.seed = 0x1122334455667788, .purpose = DX_FOR_NOISE, .layer = 0xAB,
                       .step = 0xCD01020304, .index = 0xEF05060708};
  uint32_t key[2], ctr[4], want[4], words[4];

  dx_stream_start(&s, key, ctr);
  ok(key[0] == 0x55667788 && key[1] == 0x11223344, "the key is the seed");
  ok(ctr[0] == 0 && ctr[1] == 0x05060708 && ctr[2] == 0x01020304 && ctr[3] == 0x05ABCDEF,
     "the counter is laid out as written down");
  ctr[0] = 7;
  dx_philox(ctr, key, want);
  dx_stream_words(&s, 7, words);
  ok(!memcmp(words, want, sizeof want), "block 7 has 7 in word 0");
}

static void whole_numbers(void)
{
  ok(dx_below(0, 5) == 0 && dx_below(0xffffffff, 5) == 4 && dx_below(0x80000000, 2) == 1, "dx_below at its ends");
  ok(dx_uniform(0) > 0 && dx_uniform(0xffffffff) < 1, "dx_uniform stays inside (0, 1)");
}

static int is_bijection(uint64_t n, uint64_t seed, uint64_t epoch)
{
  unsigned char *seen = calloc(n, 1);
  dx_permutation p;
  uint64_t hits = 0;

  dx_permutation_init(&p, n, seed, epoch);
  for (uint64_t i = 0; i < n; i++) {
    const uint64_t at = dx_permutation_at(&p, i);

    if (at < n && !seen[at]) {
      seen[at] = 1;
      hits++;
    }
  }
  free(seen);
  return hits == n;
}

static void bijection(void)
{
  static const uint64_t size[] = {1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 1000, 1024, 10007, 65536, 65537};
  uint64_t bad = 0;

  for (size_t i = 0; i < sizeof size / sizeof *size; i++)
    ok(is_bijection(size[i], 1, 0) && is_bijection(size[i], 99, 12345), "a permutation of %d places",
       (int)size[i]);
  for (uint64_t n = 1; n <= 300; n++) bad += !is_bijection(n, n, n);
  ok(bad == 0, "a permutation of every n up to 300");
}

/* Places at which two permutations of n agree. */
static int agreements(uint64_t n, uint64_t seed_a, uint64_t epoch_a, uint64_t seed_b, uint64_t epoch_b)
{
  dx_permutation a, b;
  int same = 0;

  dx_permutation_init(&a, n, seed_a, epoch_a);
  dx_permutation_init(&b, n, seed_b, epoch_b);
  for (uint64_t i = 0; i < n; i++) same += dx_permutation_at(&a, i) == dx_permutation_at(&b, i);
  return same;
}

static void shuffling(void)
{
  enum { N = 8, EPOCHS = 8000 };
  int count[N][N] = {{0}};
  double chi2 = 0;
  dx_permutation p;

  ok(agreements(1000, 1, 0, 1, 1) < 15, "epochs have different orders");
  ok(agreements(1000, 1, 0, 2, 0) < 15, "seeds have different orders");
  for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
    dx_permutation_init(&p, N, 5, epoch);
    for (uint64_t i = 0; i < N; i++) count[i][dx_permutation_at(&p, i)]++;
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++) {
      const double off = count[i][j] - (double)EPOCHS / N;

      chi2 += off * off / ((double)EPOCHS / N);
    }
  /* (N-1)^2 = 49 degrees of freedom: mean 49, deviation 10. */
  ok(chi2 < 49 + 4 * 10, "every sample comes to every place equally often: chi2 %.1f", chi2);
  dx_permutation_init(&p, (uint64_t)1 << 62, 1, 1);
  ok(dx_permutation_at(&p, ((uint64_t)1 << 62) - 1) < (uint64_t)1 << 62, "the largest n");
}

static void normals_follow_the_formula(void)
{
  const dx_stream s = {.seed = 3, .purpose = DX_FOR_TEST, .index = 4};
  double z[11], shorter[6] = {0}, most = 0;

  dx_stream_normals(&s, 11, z);
  for (int j = 0; j < 11; j++) {
    uint32_t w[4];

    dx_stream_words(&s, (uint32_t)j / 4, w);
    const double u = (w[j % 4 / 2 * 2] + 1.) * 0x1p-32, v = w[j % 4 / 2 * 2 + 1] * 0x1p-32;
    const double r = sqrt(-2 * log(u)), want = r * (j % 2 ? sin(2 * DX_PI * v) : cos(2 * DX_PI * v));

    most = fmax(most, fabs(z[j] - want));
  }
  ok(most < 1e-14, "normals are Box-Muller of their words, off by %.1e", most);
  dx_stream_normals(&s, 5, shorter);
  ok(!memcmp(shorter, z, 5 * sizeof *z) && shorter[5] == 0, "element j does not depend on n");
}

static void largest_normal(void)
{
  double a, b;

  dx_box_muller(0, 0, &a, &b);
  ok(a > 6.66 && a < 6.661 && b == 0, "the largest normal is %.4f", a);
  dx_box_muller(0xffffffff, 0, &a, &b);
  ok(a == 0 && b == 0, "the smallest radius is 0");
}

/* Moments to 4 standard errors, tails against the error function. */
static void law_of_normals(void)
{
  enum { N = 1 << 20 };
  static const double cut[] = {0.5, 1, 2, 3, 4};
  const dx_stream s = {.seed = 11, .purpose = DX_FOR_TEST};
  double *z = malloc(N * sizeof *z), m[5] = {0}, lag = 0, most = 0;
  int beyond[5] = {0};

  dx_stream_normals(&s, N, z);
  for (int i = 0; i < N; i++) {
    for (int k = 1; k <= 4; k++) m[k] += pow(z[i], k) / N;
    if (i) lag += z[i] * z[i - 1] / N;
    most = fmax(most, fabs(z[i]));
    for (int k = 0; k < 5; k++) beyond[k] += fabs(z[i]) > cut[k];
  }
  const double se = 1 / sqrt(N);

  ok(fabs(m[1]) < 4 * se, "mean %.5f", m[1]);
  ok(fabs(m[2] - 1) < 4 * sqrt(2) * se, "second moment %.5f", m[2]);
  ok(fabs(m[3]) < 4 * sqrt(15) * se, "third moment %.5f", m[3]);
  ok(fabs(m[4] - 3) < 4 * sqrt(96) * se, "fourth moment %.5f", m[4]);
  ok(fabs(lag) < 4 * se, "neighbours are uncorrelated: %.5f", lag);
  ok(most <= 6.661 && most > 4.2, "the largest of %d is %.3f", N, most);
  for (int k = 0; k < 5; k++) {
    const double chance = erfc(cut[k] / sqrt(2)), want = N * chance;

    ok(fabs(beyond[k] - want) < 4 * sqrt(want * (1 - chance)), "beyond %g: %d, expected %.1f", cut[k],
       beyond[k], want);
  }
  free(z);
}

int main(void)
{
  known_answers();
  counter_layout();
  whole_numbers();
  bijection();
  shuffling();
  normals_follow_the_formula();
  largest_normal();
  law_of_normals();
  return done();
}
