/* SPDX-License-Identifier: Apache-2.0 */
/* train/verify_math.c - checks of formulas: random numbers, functions, schedules, terms of the bound. */
#include "train/verify.h"

#include "base/math.h"
#include "base/random.h"
#include "diffusion/exact.h"
#include "diffusion/sampler.h"

#include <math.h>
#include <stdlib.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* The known answers of Random123 (Salmon et al. 2011). */
dx_error *dx_check_philox(const dx_team *team, dx_verdict *v)
{
  static const struct { uint32_t ctr[4], key[2], out[4]; } known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };

  (void)team;
  for (int i = 0; i < COUNT(known); i++) {
    uint32_t out[4];

    dx_philox(known[i].ctr, known[i].key, out);
    for (int j = 0; j < 4; j++)
      dx_verdict_add(v, out[j], known[i].out[j], 0, "word %d of answer %d", j, i + 1);
  }
  return NULL;
}

/* Within 4 standard errors of a standard normal: moments 1 to 4, and the share beyond 3. */
dx_error *dx_check_normals(const dx_team *team, dx_verdict *v)
{
  enum { N = 1 << 16 };
  const dx_stream stream = {.seed = 1, .purpose = DX_FOR_TEST};
  const double root = sqrt(N);
  double moment[5] = {0}, beyond = 0;
  float *z = malloc(N * sizeof *z);
  uint32_t key[2], ctr[4];

  if (!z) return DX_FAIL(INTERNAL, "no memory for %d normals", N);
  dx_stream_start(&stream, key, ctr);
  team->kernel.normals(key, ctr, 1, NULL, N, z);
  for (int i = 0; i < N; i++) {
    double power = 1;

    for (int j = 1; j <= 4; j++) moment[j] += (power *= z[i]) / N;
    beyond += fabsf(z[i]) > 3;
  }
  free(z);
  dx_verdict_add(v, moment[1], 0, 4 / root, "mean");
  dx_verdict_add(v, moment[2], 1, 4 * sqrt(2) / root, "second moment");
  dx_verdict_add(v, moment[3], 0, 4 * sqrt(15) / root, "third moment");
  dx_verdict_add(v, moment[4], 3, 4 * sqrt(96) / root, "fourth moment");
  dx_verdict_add(v, beyond / N, 0.0026997960632602, 4 * sqrt(0.0027) / root, "share beyond 3");
  return NULL;
}

static double own_sin(double x)
{
  double s, c;

  dx_sincos(x, &s, &c);
  return s;
}

static double own_cos(double x)
{
  double s, c;

  dx_sincos(x, &s, &c);
  return c;
}

/* Units in the last place of the libm value between the two. */
static double ulps(double found, long double exact)
{
  const double near = (double)exact;

  return (double)((found - exact) / (nextafter(fabs(near), INFINITY) - fabs(near)));
}

/* libm's results are compared with, never used. */
dx_error *dx_check_functions(const dx_team *team, dx_verdict *v)
{
  static const struct {
    const char *name;
    double (*own)(double);
    long double (*libm)(long double);
    double lo, hi;
  } functions[] = {
    {"exp", dx_exp, expl, -40, 40},        {"expm1", dx_expm1, expm1l, -5, 5},
    {"log", dx_log, logl, 1e-6, 20},       {"log1p", dx_log1p, log1pl, -0.999, 5},
    {"sin", own_sin, sinl, -100, 100},     {"cos", own_cos, cosl, -100, 100},
    {"tanh", dx_tanh, tanhl, -10, 10},
  };
  enum { POINTS = 4001 };

  (void)team;
  for (int f = 0; f < COUNT(functions); f++)
    for (int i = 0; i < POINTS; i++) {
      const double x = functions[f].lo + (functions[f].hi - functions[f].lo) * (i + 0.25) / POINTS;

      dx_verdict_add(v, ulps(functions[f].own(x), functions[f].libm(x)), 0, 3, "%s(%.17g)",
                     functions[f].name, x);
    }
  return NULL;
}

/* A process with the presets of its schedule. */
static dx_error *make(const char *schedule, int64_t T, dx_variance variance, dx_process *p)
{
  const dx_schedule *s = dx_schedule_find(schedule);
  dx_process_config c;
  void *options = calloc(1, s->config_size + 1);
  dx_error *err;

  if (!options) return DX_FAIL(INTERNAL, "no memory for the options of a schedule");
  dx_option_presets(dx_process_options, &c);
  dx_option_presets(s->options, options);
  snprintf(c.schedule, sizeof c.schedule, "%s", schedule);
  c.timesteps = T;
  err = dx_process_create(&c, s, options, variance, p);
  free(options);
  return err;
}

/* Values of improved-diffusion's arrays, t counted from 1 here. */
dx_error *dx_check_schedules(const dx_team *team, dx_verdict *v)
{
  enum { BETA, ABAR, POST_VAR, POST_LOG };
  static const struct { const char *schedule, *name; int T, t, which; double value; } known[] = {
    {"linear", "abar", 1000, 501, ABAR, 0.0777966583650239},
    {"linear", "abar", 1000, 1000, ABAR, 4.03582976537568e-05},
    {"linear", "beta~", 1000, 2, POST_VAR, 5.45318766130219e-05},
    {"linear", "log beta~, clipped", 1000, 1, POST_LOG, -9.81672513529567},
    {"linear", "log beta~", 1000, 501, POST_LOG, -4.600049739985},
    {"linear", "abar", 4000, 4000, ABAR, 4.24665227580225e-05},
    {"cosine", "beta", 1000, 1, BETA, 4.12842248219691e-05},
    {"cosine", "beta", 1000, 1000, BETA, 0.999},
    {"cosine", "abar", 1000, 501, ABAR, 0.492285172448803},
    {"cosine", "abar", 1000, 1000, ABAR, 2.42876690703486e-09},
    {"cosine", "abar", 4000, 4000, ABAR, 1.51798046885145e-10},
  };

  (void)team;
  for (int i = 0; i < COUNT(known); i++) {
    dx_process p;

    DX_TRY(make(known[i].schedule, known[i].T, DX_VARIANCE_SMALL, &p));
    const double *const arrays[] = {p.beta, p.abar, p.post_var, p.post_log};
    dx_verdict_add(v, arrays[known[i].which][known[i].t - 1], known[i].value, 1e-10 * fabs(known[i].value),
                   "%s_%d of %s %d", known[i].name, known[i].t, known[i].schedule, known[i].T);
    dx_process_destroy(&p);
  }
  return NULL;
}

/* Bits per dimension of the term of step t for data N(0, s2), the exact predictor's error put in. */
static double gaussian_term(const dx_process *p, const dx_decoder *d, int64_t t, double s2)
{
  return dx_process_vb_expected(p, d, t, 1, dx_exact_gaussian_mse(p, t, s2)) / DX_LN2;
}

dx_error *dx_check_kl(const dx_team *team, dx_verdict *v)
{
  dx_process p;

  (void)team;
  DX_TRY(make("linear", 1000, DX_VARIANCE_LARGE, &p));
  const dx_decoder optimal = {.variance = dx_exact_gaussian_mse(&p, 1, 1)};
  const dx_decoder clipped = {.variance = dx_decoder_variance(&p, DX_DECODER_CLIPPED, 0)};

  dx_verdict_add(v, dx_normal_kl(0.1, -1, 0.2, -0.5), 0.061508936209817, 1e-14, "KL of two normals");
  dx_verdict_add(v, dx_process_prior(&p, 1, 0) / DX_LN2, 5.8748e-10, 1e-14, "prior of x_0 = 0");
  dx_verdict_add(v, dx_process_prior(&p, 1, 1) / DX_LN2, 2.911294542e-05, 1e-14, "prior of x_0 = 1");
  dx_verdict_add(v, gaussian_term(&p, &optimal, 501, 1), 6.186605e-04, 1e-10, "L_500, s^2 = 1");
  dx_verdict_add(v, gaussian_term(&p, &optimal, 500, 1), 6.242350e-04, 1e-10, "L_499, s^2 = 1");
  dx_verdict_add(v, gaussian_term(&p, &optimal, 1, 1), -4.596760605, 1e-9, "L_0, optimal decoder");
  dx_verdict_add(v, gaussian_term(&p, &clipped, 1, 1), -4.432722533, 1e-9, "L_0, clipped decoder");
  dx_process_destroy(&p);
  return NULL;
}

/* The reverse variance that is best where E (x0 - x0hat)^2 = mse. */
static void set_optimal(dx_process *p, int64_t t, double mse)
{
  p->var[t - 1] = p->post_var[t - 1] + p->c1[t - 1] * p->c1[t - 1] * mse;
  p->log_var[t - 1] = dx_log(p->var[t - 1]);
}

static double gaussian_total(const dx_process *p, const dx_decoder *d, double s2)
{
  double total = dx_process_prior(p, 1, s2) / DX_LN2;

  for (int64_t t = 1; t <= p->timesteps; t++) total += gaussian_term(p, d, t, s2);
  return total;
}

static double gaussian_entropy(double s2) { return 0.5 * dx_log(2 * DX_PI * dx_exp(1) * s2) / DX_LN2; }

/* KL of q(x_T), which is Gaussian, from the prior: what the bound of Gaussian data has above the entropy. */
static double gaussian_gap(const dx_process *p, double s2)
{
  const int64_t last = p->timesteps - 1;

  return dx_normal_kl(0, dx_log(p->abar[last] * s2 + p->nbar[last]), 0, 0) / DX_LN2;
}

/* For Gaussian data with the best variances the bound is the entropy and that gap: 5e-9 of linear. */
dx_error *dx_check_entropy(const dx_team *team, dx_verdict *v)
{
  static const double variances[] = {0.25, 1, 4};

  (void)team;
  for (int i = 0; i < COUNT(variances); i++)
    for (int j = 0; dx_schedule_at(j); j++) {
      const double s2 = variances[i];
      dx_process p;

      if (!strcmp(dx_schedule_at(j)->name, "list")) continue; /* nothing without betas */
      DX_TRY(make(dx_schedule_at(j)->name, 1000, DX_VARIANCE_LARGE, &p));
      const dx_decoder d = {.variance = dx_exact_gaussian_mse(&p, 1, s2)};

      for (int64_t t = 2; t <= p.timesteps; t++) set_optimal(&p, t, dx_exact_gaussian_mse(&p, t, s2));
      dx_verdict_add(v, gaussian_total(&p, &d, s2), gaussian_entropy(s2) + gaussian_gap(&p, s2), 1e-6, "s^2 = %g, %s", s2,
                     dx_schedule_at(j)->name);
      dx_process_destroy(&p);
    }
  return NULL;
}

dx_error *dx_check_fixed(const dx_team *team, dx_verdict *v)
{
  static const struct { dx_variance variance; const char *name; double s2, optimal, clipped; } known[] = {
    {DX_VARIANCE_LARGE, "fixed-large", 1, 2.047095585, 2.211133656},
    {DX_VARIANCE_SMALL, "fixed-small", 1, 2.717793428, 2.881831499},
    {DX_VARIANCE_LARGE, "fixed-large", 0.25, 1.048671344, 1.212529067},
    {DX_VARIANCE_SMALL, "fixed-small", 0.25, 1.705467178, 1.869324900},
  };

  (void)team;
  for (int i = 0; i < COUNT(known); i++) {
    const double s2 = known[i].s2;
    dx_process p;

    DX_TRY(make("linear", 1000, known[i].variance, &p));
    const double mse = dx_exact_gaussian_mse(&p, 1, s2);
    const dx_decoder optimal = {.variance = dx_decoder_variance(&p, DX_DECODER_OPTIMAL, mse)};
    const dx_decoder clipped = {.variance = dx_decoder_variance(&p, DX_DECODER_CLIPPED, mse)};

    dx_verdict_add(v, gaussian_total(&p, &optimal, s2), known[i].optimal, 2e-9, "%s, s^2 = %g",
                   known[i].name, s2);
    dx_verdict_add(v, gaussian_total(&p, &clipped, s2), known[i].clipped, 2e-9, "%s, s^2 = %g, clipped",
                   known[i].name, s2);
    dx_process_destroy(&p);
  }
  return NULL;
}

/* Modes +-1 of width 0.1. The true reverse step is no Gaussian, so a gap stays. */
static const double mode_weight[] = {0.5, 0.5}, mode_mean[] = {-1, 1}, mode_sigma[] = {0.1, 0.1};
static const dx_mixture modes = {
  .count = 2, .dim = 1, .weight = mode_weight, .mean = mode_mean, .sigma = mode_sigma,
};

dx_error *dx_check_mixture(const dx_team *team, dx_verdict *v)
{
  dx_decoder d = {0};
  dx_process p;
  double total;

  (void)team;
  DX_TRY(make("linear", 1000, DX_VARIANCE_LARGE, &p));
  total = dx_process_prior(&p, 1, dx_exact_mixture_second_moment(&modes));
  for (int64_t t = 1; t <= p.timesteps; t++) {
    const double mse = dx_exact_mixture_mse(&p, t, &modes);

    if (t == 1) d.variance = mse;
    set_optimal(&p, t, mse);
    total += dx_process_vb_expected(&p, &d, t, 1, mse);
  }
  dx_process_destroy(&p);
  dx_verdict_add(v, total / DX_LN2, -0.27003684, 1e-8, "bound");
  dx_verdict_add(v, dx_exact_mixture_entropy(&modes) / DX_LN2, -0.27483251, 1e-8, "entropy");
  return NULL;
}

/* Draws of the two modes, noised to step t and predicted by the code that runs use. */
static double predicted_mse(const dx_team *team, const dx_exact *e, const dx_process *p, int32_t t,
                            double *error)
{
  enum { N = 4096 };
  const dx_objective o = {.process = p, .kernel = &team->kernel, .predict = dx_predict_find("noise"),
                          .reverse = dx_reverse_find("fixed-large"), .dim = 1};
  const dx_stream data = {.seed = 2, .purpose = DX_FOR_TEST}, noise = {.seed = 3, .purpose = DX_FOR_TEST};
  float x0[N], eps[N], xt[N], out[N];
  double sum = 0, squares = 0;
  uint32_t key[2], ctr[4];
  int32_t ts[N];
  dx_level level[N];

  dx_stream_start(&data, key, ctr);
  team->kernel.normals(key, ctr, 1, NULL, N, x0);
  dx_stream_start(&noise, key, ctr);
  team->kernel.normals(key, ctr, 1, NULL, N, eps);
  for (int i = 0; i < N; i++) {
    x0[i] = (float)(mode_mean[i % 2] + mode_sigma[i % 2] * x0[i]);
    ts[i] = t;
    level[i] = dx_process_level(p, t);
  }
  dx_objective_noise(&o, N, level, x0, eps, xt);
  dx_exact_predict(e, o.predict, N, ts, NULL, xt, out, NULL);
  dx_objective_x0(&o, N, ts, NULL, xt, out, out);
  for (int i = 0; i < N; i++) {
    const double square = ((double)x0[i] - out[i]) * ((double)x0[i] - out[i]);

    sum += square / N;
    squares += square * square / N;
  }
  *error = sqrt((squares - sum * sum) / N);
  return sum;
}

dx_error *dx_check_predictor(const dx_team *team, dx_verdict *v)
{
  static const int32_t steps[] = {1, 10, 100, 300, 600, 900};
  dx_exact *e;
  dx_process p;
  dx_error *err;

  DX_TRY(make("linear", 1000, DX_VARIANCE_LARGE, &p));
  err = dx_exact_create(&modes, 0, 1, &p, &e);
  for (int i = 0; !err && i < COUNT(steps); i++) {
    double error;
    const double mse = predicted_mse(team, e, &p, steps[i], &error);

    dx_verdict_add(v, mse, dx_exact_mixture_mse(&p, steps[i], &modes), 4 * error,
                   "E (x_0 - x0hat)^2 at t = %d", steps[i]);
  }
  if (!err) dx_exact_destroy(e);
  dx_process_destroy(&p);
  return err;
}

/* A Gaussian for the samplers; far from the start in mean and width. */
static const double bell_weight[] = {1}, bell_mean[] = {0.5}, bell_sigma[] = {0.7};
static const dx_mixture bell = {
  .count = 1, .dim = 1, .weight = bell_weight, .mean = bell_mean, .sigma = bell_sigma,
};

enum { DRAWS = 4096 };

static void fresh(const dx_team *team, uint64_t step, float *z)
{
  const dx_stream s = {.seed = 4, .purpose = DX_FOR_TEST, .step = step};
  uint32_t key[2], ctr[4];

  dx_stream_start(&s, key, ctr);
  team->kernel.normals(key, ctr, 1, NULL, DRAWS, z);
}

/* From noise to x by every step of the plan. */
static void draw(const dx_team *team, const dx_sampler *s, const void *config, const dx_exact *e,
                 const dx_process *p, dx_visit *plan, float *x)
{
  const dx_objective o = {.process = p, .kernel = &team->kernel, .predict = dx_predict_find("noise"),
                          .reverse = dx_reverse_find("fixed-large"), .dim = 1};
  const int64_t steps = s->plan(config, p, plan);
  float eps[DRAWS], x0hat[DRAWS], z[DRAWS], memory[DRAWS];
  int32_t t[DRAWS];

  fresh(team, 0, x);
  for (int64_t i = 0; i < steps; i++) {
    for (int j = 0; j < DRAWS; j++) t[j] = (int32_t)plan[i].t;
    dx_exact_predict(e, o.predict, DRAWS, t, NULL, x, eps, NULL);
    dx_objective_x0(&o, DRAWS, t, NULL, x, eps, x0hat);
    if (plan[i].draw) fresh(team, (uint64_t)plan[i].draw, z);
    s->step(config, p, &team->kernel, &plan[i], DRAWS, x0hat, z, memory, x);
  }
}

/* Presets, but every step where the sampler could take fewer: few steps narrow what comes out. */
static dx_error *set_sampler(const dx_sampler *s, int64_t T, void *config)
{
  const dx_option *steps = dx_option_find(s->options, "steps");
  char text[32];

  dx_option_presets(s->options, config);
  snprintf(text, sizeof text, "%lld", (long long)T);
  return steps ? dx_option_read(steps, text, config) : NULL;
}

static dx_error *check_sampler(const dx_team *team, const dx_sampler *s, const dx_process *p, dx_verdict *v)
{
  void *config = calloc(1, s->config_size + 1);
  double mean = 0, variance = 0;
  dx_visit *plan = NULL;
  dx_exact *e = NULL;
  float x[DRAWS];
  dx_error *err = config ? set_sampler(s, p->timesteps, config) : DX_FAIL(INTERNAL, "no memory for a sampler");

  if (err) goto out;
  DX_TRY_GOTO(err, out, dx_exact_create(&bell, 0, 1, p, &e));
  plan = calloc((size_t)s->plan(config, p, NULL), sizeof *plan);
  if (!plan) err = DX_FAIL(INTERNAL, "no memory for a plan");
  if (err) goto out;
  draw(team, s, config, e, p, plan, x);
  for (int i = 0; i < DRAWS; i++) mean += (double)x[i] / DRAWS;
  for (int i = 0; i < DRAWS; i++) variance += (x[i] - mean) * (x[i] - mean) / (DRAWS - 1);
  dx_verdict_add(v, mean, 0.5, 4 * 0.7 / sqrt(DRAWS), "mean, %s", s->name);
  dx_verdict_add(v, variance, 0.49, 4 * 0.49 * sqrt(2.0 / DRAWS), "variance, %s", s->name);
out:
  dx_exact_destroy(e);
  free(config);
  free(plan);
  return err;
}

dx_error *dx_check_samplers(const dx_team *team, dx_verdict *v)
{
  dx_error *err = NULL;
  dx_process p;

  DX_TRY(make("linear", 300, DX_VARIANCE_LARGE, &p));
  for (int i = 0; !err && dx_sampler_at(i); i++) err = check_sampler(team, dx_sampler_at(i), &p, v);
  dx_process_destroy(&p);
  return err;
}
