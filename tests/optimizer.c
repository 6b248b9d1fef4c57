/* SPDX-License-Identifier: Apache-2.0 */
/* tests/optimizer.c - the rate by its formula, the clip by what it promises, Adam(W) against double precision. */
#include "train/optimizer.h"
#include "near.h"
#include "tap.h"

#include <math.h>
#include <string.h>

enum { N = 37, STEPS = 60 };

static dx_train_config presets(void)
{
  dx_train_config c;

  dx_option_presets(dx_train_options, &c);
  return c;
}

static void rates(void)
{
  static const double pi = 3.14159265358979323846;
  dx_train_config c = presets();
  int good = 1;

  c.rate = 0.5;
  c.steps = 40;
  ok(dx_rate(&c, 0) == 0.5 && dx_rate(&c, 39) == 0.5, "no warm-up, no decay: the rate stays");
  c.warmup = 8;
  for (int k = 0; k < 8; k++) good &= near(dx_rate(&c, k), 0.5 * (k + 1) / 8, 1e-15);
  ok(good && dx_rate(&c, 8) == 0.5, "warm-up rises in a line, from its first part to the rate itself at its last step");

  c.warmup = 0;
  snprintf(c.decay, sizeof c.decay, "linear");
  good = 1;
  for (int k = 0; k < 40; k++) good &= near(dx_rate(&c, k), 0.5 * (40 - k) / 40, 1e-15);
  ok(good, "linear decay: from the rate to rate / steps at the last step");
  ok(dx_rate(&c, 40) == 0 && dx_rate(&c, 100) == 0, "and 0 from then on, never below");

  snprintf(c.decay, sizeof c.decay, "cosine");
  good = 1;
  for (int k = 0; k < 40; k++) good &= fabs(dx_rate(&c, k) - 0.25 * (1 + cos(pi * k / 40))) < 4e-16;
  ok(good && dx_rate(&c, 0) == 0.5 && near(dx_rate(&c, 20), 0.25, 1e-15), "cosine decay: half at half the way");
  ok(fabs(dx_rate(&c, 40)) < 1e-16 && dx_rate(&c, 100) == dx_rate(&c, 40), "and 0 from then on, never up again");

  c.warmup = 10;
  ok(near(dx_rate(&c, 4), 0.5 * 5 / 10 * 0.5 * (1 + cos(pi * 4 / 40)), 1e-15), "warm-up and decay multiply");
  c.warmup = 0;
  for (c.steps = 0; c.steps < 2; c.steps++)
    ok(dx_rate(&c, 0) == 0.5, "a run of %d steps divides by nothing", (int)c.steps);
}

/* An awkward vector: signs, sizes over six decades, a zero. */
static void fill(float *g, int step)
{
  for (int i = 0; i < N; i++) g[i] = (float)(sin(1.7 * i + 0.9 * step) * pow(10, i % 7 - 4));
  g[N / 2] = 0;
}

/* The gradient as Adam sees it, by a first moment that forgets. */
static double clipped_norm(const dx_kernels *k, const float *g, float scale, double clip, float *clipped)
{
  float scaled[N], w[N] = {0}, m2[N] = {0};
  dx_adam a = {.eps = 1, .decay = 1};

  for (int i = 0; i < N; i++) scaled[i] = scale * g[i];
  memset(clipped, 0, N * sizeof *clipped);
  a.grad_scale = (float)dx_clip_factor(clip, sqrt(k->sum_squares(N, scaled)));
  k->adam(N, &a, scaled, w, clipped, m2, NULL);
  return sqrt(k->sum_squares(N, clipped));
}

static void clips(const dx_kernels *k)
{
  float g[N], clipped[N];
  double dot = 0, slope[2];

  fill(g, 0);
  const double norm = sqrt(k->sum_squares(N, g)), bound = 0.3 * norm;

  ok(dx_clip_factor(0, norm) == 1, "no bound, no clipping");
  ok(dx_clip_factor(norm, norm) == 1 && dx_clip_factor(1.001 * norm, norm) == 1 && dx_clip_factor(1, 0) == 1,
     "a gradient at its bound, below it or zero is left alone, bit for bit");
  ok(near(clipped_norm(k, g, 1, bound, clipped), bound, 1e-7), "above the bound the norm becomes the bound");
  for (int i = 0; i < N; i++) dot += (double)g[i] * clipped[i];
  ok(near(dot, norm * bound, 1e-7), "and the direction stays");
  ok(near(clipped_norm(k, g, 1e6f, bound, clipped), bound, 1e-7), "whatever the gradient's size");

  /* d |clip(s g)| / ds: |g| below the bound (s = 0.3), 0 above */
  for (int i = 0; i < 2; i++) {
    const float s = i ? 0.6f : 0.15f, h = 0.01f;

    slope[i] = (clipped_norm(k, g, s + h, bound, clipped) - clipped_norm(k, g, s - h, bound, clipped)) /
               ((double)(s + h) - (double)(s - h));
  }
  ok(near(slope[0], norm, 1e-5) && fabs(slope[1]) < 1e-5 * norm,
     "by finite differences the norm grows with the gradient below the bound, and not above");
  ok(near(clipped_norm(k, g, 0.2999f, bound, clipped), bound, 1e-3) && near(clipped_norm(k, g, 0.3001f, bound, clipped), bound, 1e-3),
     "and does not jump there");
}

/* Adam and AdamW as their papers write them, in double. */
typedef struct { double w[N], m1[N], m2[N], e[N]; } state;

static void by_the_paper(const dx_train_config *c, int step, double factor, const float *g, state *s)
{
  /* the decays are float32 by definition (doc/math.md) */
  const double b1 = (double)(float)c->beta1, b2 = (double)(float)c->beta2, ema = (double)(float)dx_average_decay(c, 1, step);
  const double rate = dx_rate(c, step);

  for (int i = 0; i < N; i++) {
    const double gi = factor * (double)g[i];

    s->m1[i] = b1 * s->m1[i] + (1 - b1) * gi;
    s->m2[i] = b2 * s->m2[i] + (1 - b2) * gi * gi;
    s->w[i] -= rate * c->weight_decay * s->w[i];
    s->w[i] -= rate * (s->m1[i] / (1 - pow(b1, step + 1))) / (sqrt(s->m2[i] / (1 - pow(b2, step + 1))) + c->epsilon);
    s->e[i] = ema * s->e[i] + (1 - ema) * s->w[i];
  }
}

/* Root mean square error relative to the numbers. */
static double error_of(const float *found, const double *expected)
{
  double diff = 0, size = 0;

  for (int i = 0; i < N; i++) {
    diff += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return sqrt(diff / size);
}

static void against_double(const dx_kernels *k, const dx_train_config *c, const char *what)
{
  float g[N], w[N], m1[N] = {0}, m2[N] = {0}, e[N];
  state s = {0};

  for (int i = 0; i < N; i++) {
    w[i] = e[i] = (float)(1 + cos(i));
    s.w[i] = s.e[i] = (double)w[i];
  }
  for (int step = 0; step < STEPS; step++) {
    fill(g, step);
    const double factor = dx_clip_factor(c->clip, sqrt(k->sum_squares(N, g)));
    const dx_adam a = dx_adam_of(c, step, factor);

    k->adam(N, &a, g, w, m1, m2, dx_averages(c) ? e : NULL);
    by_the_paper(c, step, factor, g, &s);
  }
  const double in_w = error_of(w, s.w), in_m1 = error_of(m1, s.m1), in_m2 = error_of(m2, s.m2);
  ok(in_w < 1e-6 && in_m1 < 1e-6 && in_m2 < 1e-6, "%s, %s, %d steps: weights %.0e, moments %.0e, %.0e", k->name, what,
     STEPS, in_w, in_m1, in_m2);
  if (dx_averages(c)) {
    const double in_e = error_of(e, s.e);

    ok(in_e < 1e-6, "%s, %s: moving average %.0e", k->name, what, in_e);
  }
}

static void steps(const dx_kernels *k)
{
  dx_train_config c = presets();

  c.steps = STEPS;
  c.rate = 0.01;
  against_double(k, &c, "adam");
  snprintf(c.optimizer, sizeof c.optimizer, "adamw");
  snprintf(c.decay, sizeof c.decay, "cosine");
  c.weight_decay = 0.3;
  c.warmup = 5;
  c.clip = 20;
  c.ema = (dx_reals){1, {0.9}};
  against_double(k, &c, "adamw with all there is");
  c = presets();
  c.steps = STEPS;
  c.rate = 0.01;
  c.beta1 = c.beta2 = 0;
  against_double(k, &c, "no memory at all");
  c.beta1 = dx_option_find(dx_train_options, "beta1")->hi;
  c.beta2 = dx_option_find(dx_train_options, "beta2")->hi;
  c.ema = (dx_reals){1, {dx_option_find(dx_train_options, "ema")->hi}};
  against_double(k, &c, "the longest memory that is allowed");
}

/* Against the programs that the warm-ups come from, as they compute them. */
static void averages(void)
{
  dx_train_config c = presets();
  int wrong = 0;

  c.ema = (dx_reals){3, {0.999, 0.9999, 0.5}};
  for (int64_t done = 0; done < 100000; done += 7)
    for (int i = 1; i <= 3; i++) wrong += dx_average_decay(&c, i, done) != c.ema.v[i - 1];
  ok(wrong == 0, "without a warm-up each decays by its rate");
  snprintf(c.ema_warmup, sizeof c.ema_warmup, "inverse");
  for (int64_t updates = 1; updates < 200000; updates += 3) /* score_sde's counter, which is raised first */
    for (int i = 1; i <= 3; i++) {
      const double theirs = fmin(c.ema.v[i - 1], (1.0 + (double)updates) / (10.0 + (double)updates));

      wrong += dx_average_decay(&c, i, updates - 1) != theirs;
    }
  ok(wrong == 0, "inverse is min(rate, (1 + n) / (10 + n)), each for itself");
  ok(near(dx_average_decay(&c, 1, 0), 2.0 / 11, 1e-15) && dx_average_decay(&c, 3, 7) == 0.5 && near(dx_average_decay(&c, 3, 6), 8.0 / 17, 1e-15),
     "which begins at 2/11 and stops at the rate");
  snprintf(c.ema_warmup, sizeof c.ema_warmup, "half-life");
  double worst = 0;
  for (int64_t done = 0; done < 1000000; done = 2 * done + 1)
    for (int i = 1; i <= 3; i++) { /* EDM's training loop, in images with any batch */
      const double batch = 512, half = batch * log(0.5) / log(c.ema.v[i - 1]), now = fmin(half, 0.05 * batch * (double)done);
      const double theirs = pow(0.5, batch / fmax(now, 1e-8));

      worst = fmax(worst, fabs(dx_average_decay(&c, i, done) - theirs));
    }
  ok(worst < 1e-14, "half-life is EDM's with its ratio of 0.05: off by at most %.0e", worst);
  c.ema = (dx_reals){1, {pow(0.5, 512 / 500e3)}};
  ok(near(dx_average_decay(&c, 1, 1000000), 0.99929046912, 1e-11), "and at the end its published 0.99929046912");
}

static int place_of(const dx_train_config *c, const char *name, char words[256])
{
  int place = -1;
  dx_error *e = dx_weights_find(c, name, &place);

  snprintf(words, 256, "%s", e ? dx_error_text(e) : "");
  if (e) place = -1;
  dx_error_free(e);
  return place;
}

static void which_weights(void)
{
  dx_train_config c = presets();
  char words[256], name[DX_WEIGHTS_NAME];

  ok(dx_averages(&c) == 0 && place_of(&c, "ema", words) == 0 && place_of(&c, "raw", words) == 0, "without an average ema is raw");
  ok(place_of(&c, "ema-0.9", words) == -1 && strstr(words, "is ema-0.9; allowed: raw, ema (raw, too, as train.ema is none)") != NULL, "%s", words);
  c.ema = (dx_reals){1, {0.9999}};
  ok(dx_averages(&c) == 1 && place_of(&c, "ema", words) == 1 && place_of(&c, "ema-0.9999", words) == 1 && place_of(&c, "raw", words) == 0 &&
     !strcmp(dx_weights_name(&c, 1, name), "ema") && !strcmp(dx_weights_name(&c, 0, name), "raw"), "one average is called ema, and may be by its rate");
  c.ema = (dx_reals){3, {0.9999, 0.999, 1e-5}};
  ok(place_of(&c, "ema", words) == 1 && place_of(&c, "ema-.99900", words) == 2 && place_of(&c, "ema-1e-5", words) == 3, "of three each by its rate");
  ok(!strcmp(dx_weights_name(&c, 1, name), "ema-0.9999") && place_of(&c, dx_weights_name(&c, 3, name), words) == 3, "and named so");
  for (int i = 0; i < 6; i++) {
    static const char *const bad[] = {"ema-0.99", "ema-", "emma", "ema-0.999x", "ema2", ""};

    place_of(&c, bad[i], words);
    ok(strstr(words, "; allowed: raw, ema (the first of train.ema), ema-0.9999, ema-0.999, ema-1.0e-05") != NULL, "%s", words);
  }
}

static void numbers(void)
{
  dx_train_config c = presets();
  const float g = 3, still = 0;
  float w = 1, m1 = 0, m2 = 0;
  dx_kernels k;
  dx_adam a;

  dx_kernels_ref(&k);
  c.rate = 0.125;
  a = dx_adam_of(&c, 0, 1);
  k.adam(1, &a, &g, &w, &m1, &m2, NULL);
  ok(near((double)w, 0.875, 1e-7), "the first step is the rate, whatever the gradient's size");
  a = dx_adam_of(&c, (int64_t)1e9, 1);
  ok(a.rate == 0.125f && a.eps == 1e-8f, "after long nothing is left to correct");
  c.weight_decay = 0.5;
  a = dx_adam_of(&c, 0, 1);
  w = 2;
  m1 = m2 = 0;
  k.adam(1, &a, &still, &w, &m1, &m2, NULL);
  ok(near((double)w, 2 * (1 - 0.125 * 0.5), 1e-7), "without a gradient the decay alone moves a weight: it is decoupled");
  m1 = m2 = 1;
  for (int i = 0; i < 1000; i++) k.adam(1, &a, &still, &w, &m1, &m2, NULL);
  ok(m1 == 0 && m2 > 0.3F, "a moment that fades becomes 0, not a denormal number");
}

static void refusals(void)
{
  dx_train_config c = presets();
  const char *key = NULL;
  char words[96] = "";

  ok(!dx_train_config_wrong(&c, &key, words), "the presets go together");
  c.batch = 50;
  c.grain = 8;
  ok(dx_train_config_wrong(&c, &key, words) && !strcmp(key, "train.batch") &&
       !strcmp(words, "is 50, no multiple of train.grain (8)"), "a batch that is no multiple of the grain: %s", words);
  c.batch = 48;
  c.weight_decay = 0.01;
  ok(dx_train_config_wrong(&c, &key, words) && !strcmp(key, "train.weight_decay") &&
       !strcmp(words, "is 0.01 and needs train.optimizer: adamw (here adam)"), "weight decay with adam: %s", words);
  snprintf(c.optimizer, sizeof c.optimizer, "adamw");
  ok(!dx_train_config_wrong(&c, &key, words), "and with adamw it is fine");
  c.ema = (dx_reals){3, {0.9, 0.99, 0.9}};
  ok(dx_train_config_wrong(&c, &key, words) && !strcmp(key, "train.ema") &&
       !strcmp(words, "has 0.9 in place 3; allowed in a list: rates above 0, each once"), "a rate twice: %s", words);
  c.ema.v[2] = 0;
  ok(dx_train_config_wrong(&c, &key, words) && strstr(words, "has 0 in place 3") != NULL, "a rate of 0 in a list: %s", words);
}

int main(void)
{
  const char *names[3];
  const int sets = dx_kernels_available(names);
  dx_kernels k;

  rates();
  for (int i = 0; i < sets; i++) {
    dx_error *const e = dx_kernels_select(names[i], &k);

    ok(e == NULL, "kernels %s", names[i]);
    if (e) return 1;
    if (i == 0) clips(&k);
    steps(&k);
  }
  averages();
  which_weights();
  numbers();
  refusals();
  return done();
}
