/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/process.c - the Gaussian process of DDPM; formulas in process.h and doc/math.md. */
#include "diffusion/process.h"

#include "base/math.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const double dx_abar_least = 1e-30;
static const double log_2pi = 1.8378770664093455;

/* "|linear|cosine": the choices of process.schedule come from the list itself. */
static const char schedule_names[] =
#define DX_SCHEDULE(name) "|" #name
#include "diffusion/schedules.def"
#undef DX_SCHEDULE
  ;

const dx_option dx_process_options[] = {
  DX_OPTION(dx_process_config, schedule, "linear", 0, 0, "how much noise each step adds",
            .choices = schedule_names + 1, .elsewhere = "squaredcos_cap_v2=cosine|scaled_linear=quadratic|quad=quadratic|const=constant",
            .alias = "noise_schedule|beta_schedule"),
  DX_OPTION(dx_process_config, timesteps, "1000", 2, 1000000, "number of diffusion steps T", .alias = "diffusion_steps|num_timesteps|num_train_timesteps"),
  DX_OPTION(dx_process_config, zero_terminal, "false", 0, 0,
            "shift sqrt(abar) of the schedule so that x_T keeps nothing of x_0 (Lin et al. 2024); needs objective.predict "
            "x0 or v"),
  DX_OPTION(dx_process_config, decoder_variance, "auto", 0, 0,
            "variance of the decoder term L_0: beta~_2 (clipped), beta_1 (beta), the mean squared "
            "error of x_0 at t = 1 (optimal), or the network's own (learned); auto is learned where the variance is, else "
            "clipped for 8-bit data, else optimal",
            .choices = "auto|clipped|beta|optimal|learned"),
  DX_OPTION_END
};

static dx_error *allocate(int64_t T, dx_process *p)
{
  double **const arrays[] = {
    &p->beta, &p->abar, &p->abar_prev, &p->nbar, &p->nbar_prev, &p->post_var,
    &p->post_log, &p->c1, &p->c2, &p->var, &p->log_var,
  };
  const size_t count = sizeof arrays / sizeof *arrays;

  p->timesteps = T;
  p->memory = calloc(count * (size_t)T, sizeof(double));
  if (!p->memory) return DX_FAIL(INTERNAL, "no memory for a process of %lld steps", (long long)T);
  for (size_t i = 0; i < count; i++) *arrays[i] = p->memory + i * (size_t)T;
  return NULL;
}

/* Lin et al. 2024, algorithm 1: sqrt(abar_t) is shifted by sqrt(abar_T) and stretched so that
   abar_1 stays. With s_t = sqrt(abar_t), as differences that lose no digits,

     beta'_t = (s_{t-1} - s_t) (s_{t-1} + s_t - 2 s_T) / (s_{t-1} - s_T)^2,  beta'_1 = beta_1, beta'_T = 1 */
static void rescale(int64_t T, double *beta)
{
  double last = 1, before = sqrt(1 - beta[0]);

  for (int64_t i = 0; i < T; i++) last *= sqrt(1 - beta[i]);
  for (int64_t i = 1; i < T; i++) {
    const double ratio = sqrt(1 - beta[i]), now = before * ratio, left = before - last;

    beta[i] = before * (beta[i] / (1 + ratio)) * (before + now - 2 * last) / (left * left);
    before = now;
  }
  beta[T - 1] = 1;
}

static dx_error *check_betas(const dx_process_config *c, const dx_process *p)
{
  double abar = 1;

  for (int64_t i = 0; i < p->timesteps; i++) {
    if (!(p->beta[i] > 0 && p->beta[i] <= 1))
      return DX_FAIL(CONFIG, "process.schedule is %s: its beta_%lld is %g; allowed: above 0, at most 1",
                     c->schedule, (long long)(i + 1), p->beta[i]);
    abar *= 1 - p->beta[i];
    if (abar < dx_abar_least && i + 1 < p->timesteps)
      return DX_FAIL(CONFIG,
                     "process.schedule is %s, process.timesteps is %lld: abar_%lld = %.3g (beta_%lld = %g) "
                     "leaves nothing of x_0; allowed before the last step: beta below 1 and abar of at least %g",
                     c->schedule, (long long)p->timesteps, (long long)(i + 1), abar,
                     (long long)(i + 1), p->beta[i], dx_abar_least);
  }
  return NULL;
}

/* 1 - abar_t = (1 - abar_{t-1}) + abar_{t-1} beta_t: only positive terms, so no digits are lost. */
static void accumulate(dx_process *p)
{
  double abar = 1, nbar = 0;

  for (int64_t i = 0; i < p->timesteps; i++) {
    p->abar_prev[i] = abar;
    p->nbar_prev[i] = nbar;
    nbar = fma(abar, p->beta[i], nbar);
    abar *= 1 - p->beta[i];
    p->abar[i] = abar;
    p->nbar[i] = nbar;
  }
}

static void fill_posterior(dx_process *p)
{
  for (int64_t i = 0; i < p->timesteps; i++) {
    p->post_var[i] = p->beta[i] * p->nbar_prev[i] / p->nbar[i];
    p->c1[i] = p->beta[i] * sqrt(p->abar_prev[i]) / p->nbar[i];
    p->c2[i] = p->nbar_prev[i] * sqrt(1 - p->beta[i]) / p->nbar[i];
    if (i > 0) p->post_log[i] = dx_log(p->post_var[i]);
  }
  p->post_log[0] = p->post_log[1];
}

/* improved-diffusion's convention: the first row is beta~_2 with both choices. */
static void fill_variance(dx_process *p, dx_variance variance)
{
  for (int64_t i = 0; i < p->timesteps; i++) {
    const bool large = variance == DX_VARIANCE_LARGE && i > 0;

    p->var[i] = large ? p->beta[i] : p->post_var[i > 0 ? i : 1];
    p->log_var[i] = large ? dx_log(p->beta[i]) : p->post_log[i];
  }
}

dx_error *dx_process_create(const dx_process_config *c, const dx_schedule *s,
                            const void *schedule_config, dx_variance variance, dx_process *out)
{
  dx_process p = {0};
  dx_error *err;

  if (c->timesteps < 2)
    return DX_FAIL(CONFIG, "process.timesteps is %lld; allowed: at least 2", (long long)c->timesteps);
  DX_TRY(allocate(c->timesteps, &p));
  DX_TRY_GOTO(err, failed, s->fill(schedule_config, c->timesteps, p.beta));
  DX_TRY_GOTO(err, failed, check_betas(c, &p));
  if (c->zero_terminal) {
    rescale(c->timesteps, p.beta);
    DX_TRY_GOTO(err, failed, check_betas(c, &p));
  }
  accumulate(&p);
  fill_posterior(&p);
  fill_variance(&p, variance);
  *out = p;
  return NULL;

failed:
  dx_process_destroy(&p);
  return err;
}

/* 1 - abar_{t_i} / abar_{t_{i-1}} by positive terms alone, as in accumulate. */
dx_error *dx_process_respace(const dx_process *p, int64_t n, const int64_t *t, dx_variance variance, dx_process *out)
{
  dx_process q = {0};
  int64_t s = 0;

  assert(n >= 2 && t[n - 1] <= p->timesteps);
  DX_TRY(allocate(n, &q));
  for (int64_t i = 0; i < n; i++) {
    double left = 1, beta = 0;

    for (; s < t[i]; s++) {
      beta = fma(left, p->beta[s], beta);
      left *= 1 - p->beta[s];
    }
    q.beta[i] = beta < 1 && left > 0 ? beta : 1;
  }
  accumulate(&q);
  fill_posterior(&q);
  fill_variance(&q, variance);
  *out = q;
  return NULL;
}

void dx_process_destroy(dx_process *p)
{
  if (!p) return;
  free(p->memory);
  *p = (dx_process){0};
}

double dx_process_log_snr(const dx_process *p, int64_t t)
{
  assert(t >= 1 && t <= p->timesteps);
  return dx_log(p->abar[t - 1]) - dx_log(p->nbar[t - 1]);
}

/* log-SNR falls with t. */
int64_t dx_process_nearest(const dx_process *p, dx_level level)
{
  const double wanted = dx_log(level.abar / level.nbar);
  int64_t lo = 1, hi = p->timesteps; /* the first of them with at most the wanted one, or T */

  while (lo < hi) {
    const int64_t middle = lo + (hi - lo) / 2;

    if (dx_process_log_snr(p, middle) <= wanted) hi = middle;
    else lo = middle + 1;
  }
  if (lo > 1 && dx_process_log_snr(p, lo - 1) - wanted < wanted - dx_process_log_snr(p, lo)) lo--;
  return lo;
}

/* h + expm1(-h) is -1 + h + e^-h without its cancellation near h = 0. */
double dx_normal_kl(double m1, double l1, double m2, double l2)
{
  const double h = l2 - l1, d = m1 - m2;

  return 0.5 * (h + dx_expm1(-h) + d * d * dx_exp(-l2));
}

dx_decoder_kind dx_decoder_kind_of(const dx_process_config *c, bool bytes, bool learned)
{
  if (!strcmp(c->decoder_variance, "learned")) return DX_DECODER_LEARNED;
  if (!strcmp(c->decoder_variance, "auto") && learned) return DX_DECODER_LEARNED;
  if (!strcmp(c->decoder_variance, "clipped")) return DX_DECODER_CLIPPED;
  if (!strcmp(c->decoder_variance, "beta")) return DX_DECODER_BETA;
  if (!strcmp(c->decoder_variance, "auto") && bytes) return DX_DECODER_CLIPPED;
  return DX_DECODER_OPTIMAL;
}

double dx_decoder_variance(const dx_process *p, dx_decoder_kind kind, double x0_mse)
{
  switch (kind) {
  case DX_DECODER_CLIPPED:
  case DX_DECODER_LEARNED: return p->post_var[1];
  case DX_DECODER_BETA: return p->beta[0];
  case DX_DECODER_OPTIMAL: break;
  }
  return x0_mse;
}

double dx_process_vb(const dx_process *p, const dx_decoder *d, int64_t t, int64_t D, double x0_sq)
{
  const int64_t i = t - 1;
  const double dim = (double)D;

  assert(t >= 1 && t <= p->timesteps);
  assert(t > 1 || !d->bytes);
  if (t == 1)
    return 0.5 * dim * (log_2pi + dx_log(d->variance)) + 0.5 * x0_sq / d->variance + dim * d->log_scale;
  return dim * dx_normal_kl(0, p->post_log[i], 0, p->log_var[i]) +
         0.5 * p->c1[i] * p->c1[i] * x0_sq / p->var[i];
}

/* Both terms are linear in x0_sq. */
double dx_process_vb_expected(const dx_process *p, const dx_decoder *d, int64_t t, int64_t D, double v)
{
  return dx_process_vb(p, d, t, D, (double)D * v);
}

double dx_process_prior(const dx_process *p, int64_t D, double x0_sq_norm)
{
  const int64_t last = p->timesteps - 1;

  return (double)D * dx_normal_kl(0, dx_log1p(-p->abar[last]), 0, 0) + 0.5 * p->abar[last] * x0_sq_norm;
}
