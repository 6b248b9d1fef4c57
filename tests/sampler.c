/* SPDX-License-Identifier: Apache-2.0 */
/* tests/sampler.c - every sampler recovers a known Gaussian; plans and steps have their golden values. */
#include "diffusion/sampler.h"
#include "base/random.h"
#include "diffusion/exact.h"
#include "diffusion/objective.h"
#include "golden/diffusion.h"
#include "near.h"
#include "tap.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { D = 2, N = 4000, T_MAX = 4000 };

typedef union { max_align_t align; char bytes[256]; } settings;

static void set(const dx_sampler *s, settings *c, const char *const *pairs)
{
  assert(s->config_size <= sizeof *c);
  dx_option_presets(s->options, c);
  for (; pairs && *pairs; pairs += 2) {
    dx_error *e = dx_option_read(dx_option_find(s->options, pairs[0]), pairs[1], c);

    assert(!e);
    dx_error_free(e);
  }
}

static dx_process make(int64_t T, dx_variance variance)
{
  const dx_schedule *s = dx_schedule_find("linear");
  const dx_process_config c = {.schedule = "linear", .timesteps = T};
  dx_process p;
  settings options;
  dx_error *e;

  dx_option_presets(s->options, &options);
  e = dx_process_create(&c, s, &options, variance, &p);
  if (!e) return p;
  printf("Bail out! %s\n", dx_error_text(e));
  exit(1);
}

static void noise(uint64_t step, float *z)
{
  static double wide[N * D];
  const dx_stream stream = {.seed = 11, .purpose = DX_FOR_TEST, .step = step};

  dx_stream_normals(&stream, N * D, wide);
  for (int i = 0; i < N * D; i++) z[i] = (float)wide[i];
}

static void run(const dx_sampler *s, const void *config, const dx_objective *o, const dx_exact *exact,
                float *x)
{
  static float eps[N * D], x0hat[N * D], z[N * D];
  static int32_t each[N];
  int64_t t[T_MAX];
  const int64_t steps = s->plan(config, o->process, t);

  noise(0, x);
  for (int64_t i = 0; i < steps; i++) {
    for (int j = 0; j < N; j++) each[j] = (int32_t)t[i];
    dx_exact_predict(exact, o->predict, N, each, x, eps, NULL);
    dx_objective_x0(o, N, each, x, eps, x0hat);
    noise((uint64_t)t[i], z);
    s->step(config, o->process, o->kernel, t[i], i + 1 < steps ? t[i + 1] : 0, N * D, x, x0hat, z, x);
  }
}

/* Mean and variance within 4 standard errors. Every step is taken: 50 steps of ddim narrow this
   Gaussian by 9 hundredths, 500 by 1, and 4 standard errors of the variance are 9. */
static void recovers(const dx_sampler *s, const char *const *pairs, dx_variance variance,
                     const char *what)
{
  static const double weight[] = {1}, mean[D] = {0.5, -1}, sigma[] = {0.7};
  const dx_mixture m = {.count = 1, .dim = D, .weight = weight, .mean = mean, .sigma = sigma};
  static float x[N * D];
  dx_process p = make(500, variance);
  dx_kernels k;
  const dx_objective o = {.process = &p, .kernel = &k, .predict = dx_predict_find("noise"), .dim = D,
                          .reverse = dx_reverse_find("fixed-large")};
  dx_exact *exact;
  dx_error *e = dx_exact_create(&m, 0, 1, &p, &exact);
  settings c;

  assert(!e);
  dx_error_free(e);
  dx_kernels_ref(&k);
  set(s, &c, pairs);
  run(s, &c, &o, exact, x);
  for (int j = 0; j < D; j++) {
    double sum = 0, square = 0;

    for (int i = 0; i < N; i++) sum += x[i * D + j];
    for (int i = 0; i < N; i++) square += (x[i * D + j] - sum / N) * (x[i * D + j] - sum / N);
    ok(fabs(sum / N - mean[j]) < 4 * 0.7 / sqrt(N), "%s %s: mean %.4f of %g", s->name, what, sum / N,
       mean[j]);
    ok(fabs(square / (N - 1) - 0.49) < 4 * 0.49 * sqrt(2.0 / N), "%s %s: variance %.4f of 0.49",
       s->name, what, square / (N - 1));
  }
  dx_exact_destroy(exact);
  dx_process_destroy(&p);
}

static void plans(const dx_sampler *s)
{
  static const int64_t lengths[] = {2, 21, 50, 51, 999, 1000, 4000};
  static int64_t t[T_MAX];
  int wrong = 0;

  for (size_t i = 0; i < COUNT(lengths); i++) {
    dx_process p = {.timesteps = lengths[i]};
    settings c;
    int64_t n;

    set(s, &c, NULL);
    n = s->plan(&c, &p, t);
    wrong += n < 1 || n > lengths[i] || t[0] != lengths[i] || t[n - 1] != 1;
    for (int64_t j = 1; j < n; j++) wrong += t[j] >= t[j - 1];
  }
  ok(!wrong, "%s: plans fall strictly from T to 1", s->name);
}

/* improved-diffusion's spacing by array index: "10" of 1000 is 0, 111, ..., 999; "100" of 4000 is
   0, 40, 81, 121, 162, 202, ..., 3999. */
static void ddim_plan(void)
{
  const dx_sampler *s = dx_sampler_find("ddim");
  static const int64_t start[] = {0, 40, 81, 121, 162, 202};
  dx_process p = {.timesteps = 1000};
  static int64_t t[T_MAX];
  settings c;
  int wrong = 0;

  set(s, &c, (const char *const[]){"steps", "10", NULL});
  wrong += s->plan(&c, &p, t) != 10;
  for (int i = 0; i < 10; i++) wrong += t[9 - i] - 1 != 111 * i;
  ok(!wrong, "ddim: 10 steps of 1000");
  p.timesteps = 4000;
  set(s, &c, (const char *const[]){"steps", "100", NULL});
  wrong = s->plan(&c, &p, t) != 100 || t[0] != 4000;
  for (int i = 0; i < 6; i++) wrong += t[99 - i] - 1 != start[i];
  ok(!wrong, "ddim: 100 steps of 4000");
  set(s, &c, (const char *const[]){"steps", "1", NULL});
  ok(s->plan(&c, &p, t) == 1 && t[0] == 4000, "ddim: one step starts at T");
  p.timesteps = 6;
  set(s, &c, (const char *const[]){"steps", "3", NULL});
  ok(s->plan(&c, &p, t) == 3 && t[1] == 3 && t[2] == 1, "ddim: index 2.5 is rounded to the even 2");
  p.timesteps = 30;
  set(s, &c, NULL);
  ok(s->plan(&c, &p, t) == 30 && t[29] == 1, "ddim: no more steps than T");
}

static void ddim_steps(void)
{
  const dx_sampler *s = dx_sampler_find("ddim");
  dx_process p = make(1000, DX_VARIANCE_LARGE);
  dx_kernels k;

  dx_kernels_ref(&k);
  for (size_t i = 0; i < COUNT(golden_ddim); i++) {
    const float xt = 0.75f, x0 = -0.5f, z = 1.25f, still = 0;
    char eta[32];
    float xs, quiet;
    settings c;

    snprintf(eta, sizeof eta, "%g", golden_ddim[i].eta);
    set(s, &c, (const char *const[]){"eta", eta, NULL});
    s->step(&c, &p, &k, golden_ddim[i].t, golden_ddim[i].s, 1, &xt, &x0, &z, &xs);
    s->step(&c, &p, &k, golden_ddim[i].t, golden_ddim[i].s, 1, &xt, &x0, &still, &quiet);
    ok(near(xs, golden_ddim[i].xs, 5e-7) && fabs((xs - quiet) / 1.25 - golden_ddim[i].sigma) < 2e-7,
       "ddim: from %d to %d with eta %s, x %.7f, sigma %.7f", golden_ddim[i].t, golden_ddim[i].s, eta, xs,
       (xs - quiet) / 1.25);
  }
  dx_process_destroy(&p);
}

/* With eta 1 and every step DDIM is DDPM with beta~. */
static void ddim_is_ancestral(void)
{
  const dx_sampler *a = dx_sampler_find("ancestral"), *d = dx_sampler_find("ddim");
  dx_process p = make(1000, DX_VARIANCE_SMALL);
  dx_kernels k;
  settings c;
  double worst = 0;

  dx_kernels_ref(&k);
  set(d, &c, (const char *const[]){"eta", "1", NULL});
  for (int64_t t = 1; t <= 1000; t++) {
    const float xt = 0.75f, x0 = -0.5f, z = 1.25f;
    float one, other;

    a->step(NULL, &p, &k, t, t - 1, 1, &xt, &x0, &z, &one);
    d->step(&c, &p, &k, t, t - 1, 1, &xt, &x0, &z, &other);
    worst = fmax(worst, fabs((double)one - other));
  }
  ok(worst < 3e-7, "ddim with eta 1 and every step is ancestral with fixed-small, to %.1e", worst);
  dx_process_destroy(&p);
}

int main(void)
{
  static const char *const every[] = {"steps", "500", NULL}, *const fresh[] = {"steps", "500", "eta", "1", NULL};

  for (int i = 0; dx_sampler_at(i); i++) {
    const dx_sampler *s = dx_sampler_at(i);

    ok(dx_sampler_find(s->name) == s && s->help, "%s is found by its name", s->name);
    plans(s);
    recovers(s, dx_option_find(s->options, "steps") ? every : NULL, DX_VARIANCE_SMALL, "with fixed-small");
    recovers(s, dx_option_find(s->options, "steps") ? every : NULL, DX_VARIANCE_LARGE, "with fixed-large");
  }
  ok(!dx_sampler_find("ddin") && !dx_sampler_at(-1) && !dx_sampler_at(1000), "no other sampler");
  recovers(dx_sampler_find("ddim"), fresh, DX_VARIANCE_LARGE, "with eta 1");
  ddim_plan();
  ddim_steps();
  ddim_is_ancestral();
  return done();
}
