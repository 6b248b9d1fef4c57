/* SPDX-License-Identifier: Apache-2.0 */
/* tests/times.c - drawn timesteps: their chances, weights and strata, and the history of losses. */
#include "diffusion/times.h"
#include "near.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T = 4 };

/* improved-diffusion's LossSecondMomentResampler with rows (1..10), (1), (2), (0.5). */
static void fill(dx_history *h)
{
  for (int k = 1; k <= DX_HISTORY; k++) {
    dx_history_add(h, 1, k);
    dx_history_add(h, 2, 1);
    dx_history_add(h, 3, 2);
    dx_history_add(h, 4, 0.5);
  }
}

static void chances(void)
{
  static const double golden[T] = {.63896574, .10318836, .20612672, .05171918};
  dx_history h;
  int wrong = 0;

  if (dx_history_create(T, &h)) exit(1);
  dx_history_add(&h, 2, 1000);
  dx_history_weigh(&h);
  for (int i = 0; i < T; i++) wrong += h.chance[i] != 0.25;
  ok(!wrong, "every t alike until all have their ten losses");
  for (int k = 0; k < 7; k++) dx_history_add(&h, 1, 77); /* the oldest go */
  fill(&h);
  dx_history_weigh(&h);
  for (int i = 0; i < T; i++) wrong += !near(h.chance[i], golden[i], 5e-8);
  ok(!wrong, "chances %.8f %.8f %.8f %.8f", h.chance[0], h.chance[1], h.chance[2], h.chance[3]);
  ok(h.loss[0] == 1 && h.loss[9] == 10 && h.count[0] == 10, "the last ten are kept, oldest first");
  for (int i = 0; i < T * DX_HISTORY; i++) h.loss[i] = 0;
  dx_history_weigh(&h);
  ok(h.chance[0] == 0.25 && h.chance[3] == 0.25, "losses of 0 make every t alike again");
  dx_history_destroy(&h);
}

/* Share of each t within 4 standard errors, and the mean of weight x f(t) that of uniform t. */
static void shares(const dx_times *w)
{
  enum { BATCH = 40, STEPS = 2000, N = BATCH * STEPS };
  dx_history h;
  double count[T] = {0}, mean = 0, square = 0;
  int wrong = 0;

  if (dx_history_create(T, &h)) exit(1);
  fill(&h);
  dx_history_weigh(&h);
  for (int i = 0; i < N; i++) {
    const dx_lot l = {.seed = 3, .step = i / BATCH, .batch = BATCH, .timesteps = T, .history = &h};
    double weight, f;
    const int32_t t = w->draw(&l, i % BATCH, &weight);

    if (t < 1 || t > T) {
      ok(0, "%s: t = %d", w->name, t);
      return;
    }
    f = weight * t * t;
    count[t - 1]++;
    mean += f / N;
    square += f * f / N;
  }
  for (int i = 0; i < T; i++) {
    const double p = w->learns ? h.chance[i] : 0.25;

    wrong += fabs(count[i] / N - p) > 4 * sqrt(p * (1 - p) / N);
  }
  ok(!wrong, "%s: each t as often as it should be", w->name);
  ok(fabs(mean - 7.5) < 4 * sqrt((square - mean * mean) / N), "%s: weights make the mean that of uniform t: %.4f", w->name, mean);
  dx_history_destroy(&h);
}

/* A batch of 2 T examples has every t twice. */
static void strata(const char *name)
{
  int wrong = 0;

  for (int step = 0; step < 100; step++) {
    const dx_lot l = {.seed = 5, .step = step, .batch = 2 * T, .timesteps = T};
    int count[T] = {0};
    double weight;

    for (int b = 0; b < 2 * T; b++) count[dx_times_find(name)->draw(&l, b, &weight) - 1]++;
    for (int i = 0; i < T; i++) wrong += count[i] != 2;
  }
  ok(!wrong, "%s: a batch of two examples for each t has each twice", name);
}

/* ln sigma is normal: its moments, its share within one deviation, and that no two places or steps are alike. */
static void log_normal(void)
{
  enum { N = 20000 };
  const dx_times *const w = dx_times_find("log-normal");
  double mean = 0, square = 0, inside = 0, last = 0;
  int alike = 0;

  for (int i = 0; i < N; i++) {
    const dx_lot l = {.seed = 3, .step = i / 40, .batch = 40, .timesteps = T, .sigma_mean = -1.2, .sigma_std = 1.2};
    const double sigma = w->sigma(&l, i % 40), z = (log(sigma) + 1.2) / 1.2;

    alike += sigma == last;
    last = sigma;
    mean += z / N;
    square += z * z / N;
    inside += (fabs(z) < 1) / (double)N;
  }
  ok(!alike && fabs(mean) < 4 / sqrt(N) && fabs(square - 1) < 4 * sqrt(2.0 / N) && fabs(inside - 0.6826895) < 4 * sqrt(0.217 / N),
     "log-normal: mean %.4f, variance %.4f, within a deviation %.4f", mean, square, inside);
}

int main(void)
{
  chances();
  for (int i = 0; dx_times_at(i); i++) {
    ok(dx_times_find(dx_times_at(i)->name) == dx_times_at(i), "%s is found by its name", dx_times_at(i)->name);
    ok(!dx_times_at(i)->draw == !!dx_times_at(i)->sigma, "%s draws a step or a sigma", dx_times_at(i)->name);
    if (dx_times_at(i)->draw) shares(dx_times_at(i));
  }
  ok(!dx_times_find("unifrom") && !dx_times_at(-1), "no other way");
  log_normal();
  strata("stratified");
  strata("antithetic");
  return done();
}
