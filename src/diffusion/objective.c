/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/objective.c - noising, the loss of a prediction, and the way back to x0; Ho et al. 2020, eq. 4, 14.

     xt     = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps
     target = of_x0 x0 + of_eps eps,  x0hat = x0_xt xt + x0_out out,  so x0hat - x0 = x0_out (out - target)   (predict.c)
     loss   = square / D sum (target - out)^2 + bound T L_t / (D ln 2)                                        (loss.c)

   L_t is a sum over numbers with x0hat - x0 = d and log variance l (of the process, or learned: variance.c):

     t >= 2   1/2 (l - log beta~ - 1 + beta~ e^-l + c1^2 d^2 e^-l)
              by d: c1^2 d e^-l,  by l: 1/2 (1 - beta~ e^-l - c1^2 d^2 e^-l)
     t  = 1   the decoder's (decoder.c)

   Examples are computed one by one, so that bits depend on nothing but the example. */
#include "diffusion/objective.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/math.h"

const dx_option dx_objective_options[] = {
  DX_OPTION(dx_objective_config, predict, "noise", 0, 0,
            "what the network predicts: the noise, the data (x0), sqrt(abar) eps - sqrt(1 - abar) x_0 (v), or the "
            "mean of q(x_{t-1} given x_t, x_0) (mean), or what EDM's preconditioned denoiser adds to its input (edm)",
            .choices = "noise|x0|v|mean|edm", .elsewhere = "epsilon=noise|eps=noise|sample=x0|v_prediction=v|v-prediction=v",
            .alias = "prediction_type|predict_xstart|parameterization"),
  DX_OPTION(dx_objective_config, variance, "fixed-large", 0, 0,
            "variance of the reverse steps: beta~_t (fixed-small), beta_t (fixed-large), the network's (learned, or "
            "learned-range between those two), or estimated from its errors on the training split (optimal, analytic)",
            .choices = "fixed-small|fixed-large|learned|learned-range|optimal|analytic",
            .elsewhere = "fixed_small_log=fixed-small|fixed_large_log=fixed-large", .alias = "learn_sigma|variance_type"),
  DX_OPTION(dx_objective_config, variance_examples, "256", 1, 1e9,
            "examples of the training split that estimate the variance at each t (optimal, analytic)", .role = DX_FREE),
  DX_OPTION(dx_objective_config, loss, "simple", 0, 0, "what training minimises (diffx list)",
            .choices = "simple|vlb|hybrid|min-snr|p2|edm", .elsewhere = "mse=simple|l2=simple|min_snr=min-snr"),
  DX_OPTION_END
};

static dx_error *check_terminal(const dx_objective_config *c, const dx_process_config *pc, const dx_process *p)
{
  const int64_t T = p->timesteps;
  char predict[48];
  const bool x0 = dx_predict_find(c->predict)->from_nothing, analytic = !strcmp(c->variance, "analytic");

  if (p->abar[T - 1] >= dx_abar_least || (x0 && !analytic)) return NULL;
  snprintf(predict, sizeof predict, "objective.predict is %s", c->predict);
  return DX_FAIL(CONFIG,
                 "%s, but process.schedule %s%s with process.timesteps %lld has beta_%lld = %g and "
                 "abar_%lld = %.3g, which leaves nothing of x_0 to follow from it; allowed: %s, or "
                 "abar_T of at least %g",
                 x0 ? "objective.variance is analytic" : predict,
                 pc->schedule, pc->zero_terminal ? " (process.zero_terminal)" : "", (long long)T, (long long)T,
                 p->beta[T - 1], (long long)T, p->abar[T - 1],
                 x0 ? "objective.variance optimal" : "objective.predict x0 or v", dx_abar_least);
}

dx_error *dx_objective_check(const dx_objective_config *c, const dx_process_config *pc, const dx_process *p,
                             const char **key)
{
  const dx_reverse *const reverse = dx_reverse_find(c->variance);
  const dx_loss *const loss = dx_loss_find(c->loss);

  *key = dx_predict_find(c->predict)->from_nothing ? "objective.variance" : "objective.predict";
  DX_TRY(check_terminal(c, pc, p));
  *key = "objective.loss";
  if (dx_predict_find(c->predict)->preconditioned != !strcmp(c->loss, "edm"))
    return DX_FAIL(CONFIG, "objective.loss is %s, but objective.predict is %s; allowed: edm for both (with train.t_sampling: "
                   "log-normal), or for neither", c->loss, c->predict);
  if (reverse->line && dx_predict_find(c->predict)->preconditioned) {
    *key = "objective.variance";
    return DX_FAIL(CONFIG, "objective.variance is %s, but objective.loss edm teaches no variance; allowed: fixed-small, fixed-large, "
                   "optimal, analytic", c->variance);
  }
  if (reverse->line && !loss->bound)
    return DX_FAIL(CONFIG, "objective.loss is %s, which teaches the variance nothing, but objective.variance is %s; allowed: "
                   "hybrid, vlb", c->loss, c->variance);
  if (!reverse->line && loss->bound && !loss->moves_mean)
    return DX_FAIL(CONFIG, "objective.loss is %s, but objective.variance %s learns nothing from it; allowed: learned, "
                   "learned-range", c->loss, c->variance);
  if (reverse->estimate && loss->bound)
    return DX_FAIL(CONFIG, "objective.loss is %s, but objective.variance %s is not known before an evaluation; allowed: "
                   "simple, min-snr, p2", c->loss, c->variance);
  *key = "process.decoder_variance";
  if (!reverse->line && !strcmp(pc->decoder_variance, "learned"))
    return DX_FAIL(CONFIG, "process.decoder_variance is learned, but objective.variance is %s; allowed: learned, learned-range",
                   c->variance);
  return NULL;
}

/* The row of step t. */
static int64_t row(const dx_objective *o, int32_t t)
{
  assert(t >= 1 && t <= o->process->timesteps);
  (void)o; /* without asserts */
  return t - 1;
}

/* Where the prediction of number j stands in an output; that of its variance is channels later. */
static int64_t place(const dx_objective *o, int64_t j)
{
  return o->reverse->line ? j + j / o->channels * o->channels : j;
}

dx_level dx_objective_level(const dx_objective *o, int32_t t) { return dx_process_level(o->process, row(o, t) + 1); }

void dx_objective_noise(const dx_objective *o, int64_t n, const dx_level *level, const float *x0, const float *eps, float *xt)
{
  for (int64_t i = 0; i < n; i++)
    o->kernel->mix(o->dim, (float)sqrt(level[i].abar), x0 + i * o->dim, (float)sqrt(level[i].nbar), eps + i * o->dim,
                   xt + i * o->dim);
}

float dx_objective_input(const dx_objective *o, int32_t t, dx_level level, const float *xt, float *x)
{
  if (!o->predict->preconditioned) return (float)(t - 1);
  o->kernel->mix(o->dim, (float)dx_edm_scale(o->process->sigma_data, level), xt, 0, xt, x);
  return (float)dx_edm_time(level);
}

/* L_t of one number and its derivatives by x0hat and by the log variance. */
typedef struct { double value, by_x0, by_log; } term;

static term term_of(const dx_process *p, const dx_decoder *d, int64_t r, double log_var, double x0, double x0hat)
{
  const double off = x0hat - x0, c1 = p->c1[r];
  term y;

  if (r == 0) {
    y.value = dx_decoder_number(d, d->learned ? log_var : dx_log(d->variance), x0, x0hat, &y.by_x0, &y.by_log);
    if (!d->learned) y.by_log = 0;
    return y;
  }
  const double by = dx_exp(-log_var), square = c1 * c1 * off * off * by, ratio = p->post_var[r] * by;
  y.value = dx_normal_kl(0, p->post_log[r], 0, log_var) + 0.5 * square;
  y.by_x0 = c1 * c1 * off * by;
  y.by_log = 0.5 * (1 - ratio - square);
  return y;
}

/* One example with a part of the bound in its loss, or a learned variance, number by number. */
static void cost_by_number(const dx_objective *o, int64_t r, const float *x0, const float *target, const float *out,
                           double x0_out, double weight, const dx_cost *c, dx_terms *terms, float *gout)
{
  const dx_line line = o->reverse->line ? o->reverse->line(o->process, r) : (dx_line){0};
  const double bits = c->bound * (double)o->process->timesteps / ((double)o->dim * DX_LN2);
  const double slope = 2 * c->square / (double)o->dim;

  terms->vb = 0;
  for (int64_t j = 0; j < o->dim; j++) {
    const int64_t at = place(o, j);
    const double off = (double)out[at] - target[j];
    const double log_var = o->reverse->line ? line.base + line.slope * out[at + o->channels] : o->process->log_var[r];
    const term y = term_of(o->process, &o->decoder, r, log_var, x0[j], x0[j] + x0_out * off);

    terms->vb += y.value;
    if (!gout) continue;
    gout[at] = (float)(weight * (slope * off + (o->loss->moves_mean ? bits * y.by_x0 * x0_out : 0)));
    if (o->reverse->line) gout[at + o->channels] = (float)(weight * (bits * y.by_log * line.slope));
  }
  terms->loss += bits * terms->vb;
}

/* The term of one example with the process's variance, from its error alone where that tells it. */
static double fixed_vb(const dx_objective *o, int64_t r, const float *x0, const float *target, const float *out,
                       double x0_out, double x0_sq)
{
  double sum = 0, by_x0, by_log;

  if (r > 0 && o->reverse->estimate) return 0;
  if (r > 0 || !o->decoder.bytes) return dx_process_vb(o->process, &o->decoder, r + 1, o->dim, x0_sq);
  for (int64_t j = 0; j < o->dim; j++)
    sum += dx_decoder_number(&o->decoder, dx_log(o->decoder.variance), x0[j],
                             x0[j] + x0_out * ((double)out[j] - target[j]), &by_x0, &by_log);
  return sum;
}

/* Mean of (target - out)^2 of one example. */
static double square_of(const dx_objective *o, const float *target, const float *out)
{
  double sum = 0;

  if (!o->reverse->line) return o->kernel->sum_squared_diff(o->dim, target, out) / (double)o->dim;
  for (int64_t j = 0; j < o->dim; j++) {
    const double d = (double)target[j] - out[place(o, j)];

    sum += d * d;
  }
  return sum / (double)o->dim;
}

void dx_objective_loss(const dx_objective *o, int64_t n, const int32_t *t, const dx_level *level, const float *x0,
                       const float *eps, const float *out, const double *weight, dx_terms *terms, float *gout,
                       float *room)
{
  const int64_t D = o->dim, width = dx_objective_width(o);

  for (int64_t i = 0; i < n; i++) {
    const int64_t r = row(o, t[i]), at = i * D;
    const float *const own = out + at * width;
    float *const gown = gout ? gout + at * width : NULL;
    const dx_affine f = o->predict->at(o->process, r, level[i]);
    const dx_cost c = o->loss->at(o->loss_config, o->process, &f, r);

    o->kernel->mix(D, (float)f.of_x0, x0 + at, (float)f.of_eps, eps + at, room);
    const double square = square_of(o, room, own), x0_mse = square * (f.x0_out * f.x0_out);
    terms[i] = (dx_terms){.loss = c.square * square, .mse = square * (f.eps_out * f.eps_out), .x0_mse = x0_mse};
    if (o->reverse->line || o->loss->bound) {
      cost_by_number(o, r, x0 + at, room, own, f.x0_out, weight[i], &c, &terms[i], gown);
      continue;
    }
    terms[i].vb = fixed_vb(o, r, x0 + at, room, own, f.x0_out, x0_mse * (double)D);
    const float slope = (float)(2 * c.square * weight[i] / (double)D);
    if (gown) o->kernel->mix(D, slope, own, -slope, room, gown);
  }
}

void dx_objective_log_var(const dx_objective *o, int64_t n, const int32_t *t, const float *out, float *log_var)
{
  for (int64_t i = 0; i < n; i++) {
    const dx_line line = o->reverse->line(o->process, row(o, t[i]));
    const float *const own = out + 2 * i * o->dim;

    for (int64_t j = 0; j < o->dim; j++)
      log_var[i * o->dim + j] = (float)(line.base + line.slope * own[place(o, j) + o->channels]);
  }
}

static void clip(int64_t n, float lo, float hi, float *x)
{
  for (int64_t i = 0; i < n; i++) x[i] = x[i] < lo ? lo : x[i] > hi ? hi : x[i]; /* NaN stays NaN */
}

void dx_objective_x0(const dx_objective *o, int64_t n, const int32_t *t, const dx_level *level, const float *xt,
                     const float *out, float *x0hat)
{
  for (int64_t i = 0; i < n; i++) {
    const int64_t r = row(o, t[i]), at = i * o->dim;
    const dx_affine f = o->predict->at(o->process, r, level ? level[i] : dx_objective_level(o, t[i]));
    const float *predicted = out + at;

    if (o->reverse->line) { /* read at or behind where it writes: x0hat may be out */
      for (int64_t j = 0; j < o->dim; j++) x0hat[at + j] = out[2 * at + place(o, j)];
      predicted = x0hat + at;
    }
    o->kernel->mix(o->dim, (float)f.x0_xt, xt + at, (float)f.x0_out, predicted, x0hat + at);
    if (o->clip) clip(o->dim, o->lo, o->hi, x0hat + at);
  }
}

double dx_objective_vb(const dx_objective *o, const dx_decoder *d, int32_t t, const float *x0, const float *x0hat,
                       const float *log_var)
{
  const int64_t r = row(o, t);
  double sum = 0;

  if (r == 0 && d->bytes && !d->learned) return dx_decoder_bytes(d, o->dim, x0, x0hat);
  if (!log_var || (r == 0 && !d->learned))
    return dx_process_vb(o->process, d, t, o->dim, o->kernel->sum_squared_diff(o->dim, x0, x0hat));
  for (int64_t j = 0; j < o->dim; j++) sum += term_of(o->process, d, r, log_var[j], x0[j], x0hat[j]).value;
  return sum;
}

void dx_objective_join(const dx_objective *o, int64_t n, const int32_t *t, const float *target, const float *log_var,
                       float *out)
{
  for (int64_t i = 0; i < n; i++) {
    const dx_line line = o->reverse->line(o->process, row(o, t[i]));

    for (int64_t j = 0; j < o->dim; j++) {
      const int64_t from = i * o->dim + j, at = 2 * i * o->dim + place(o, j);

      out[at] = target[from];
      out[at + o->channels] = line.slope != 0 ? (float)((log_var[from] - line.base) / line.slope) : 0;
    }
  }
}
