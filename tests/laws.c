/* SPDX-License-Identifier: Apache-2.0 */
/* tests/laws.c - Gaussian data and the exact prediction: for every schedule, prediction and reverse variance that go
   together, each evaluated L_t is its closed form within 4 standard errors, and the variances and the expected bound are
   those of the closed form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "experiment.h"
#include "tap.h"
#include "train/evaluate.h"

enum { T = 24, D = 3, TRAIN = 4000 };
static const double sigma = 0.6;

static dx_comm *comm;
static dx_logger logger = {.level = DX_LOG_ERROR};
static dx_team team;

static int lead(void) { return dx_comm_rank(comm) == 0; }

static void must(dx_error *e)
{
  if (!e) return;
  printf("Bail out! rank %d: %s\n", dx_comm_rank(comm), dx_error_text(e));
  exit(99);
}

/* What holds on every rank is said by rank 0. */
static void say(int good, const char *what)
{
  const int all = (int)dx_comm_min_i64(comm, good);

  if (lead()) ok(all, "%s", what);
  else tap_bad += !all;
}

/* The process from its betas alone, in long double. */
typedef struct { long double post[T + 1], c1[T + 1], v[T + 1], abar[T + 1], beta[T + 1]; } law;

/* t (n rising steps, NULL: all T): of the process that goes from one of them to the next. */
static law law_of(const double *all, int n, const int *step)
{
  const long double s2 = (long double)sigma * sigma;
  long double abar[T + 1] = {1};
  law l = {.abar = {1}};

  for (int t = 1; t <= T; t++) abar[t] = abar[t - 1] * (1 - (long double)all[t - 1]);
  for (int t = 1; t <= n; t++) {
    l.beta[t] = step ? 1 - abar[step[t - 1]] / l.abar[t - 1] : (long double)all[t - 1];
    l.abar[t] = step ? abar[step[t - 1]] : l.abar[t - 1] * (1 - l.beta[t]);
    l.post[t] = l.beta[t] * (1 - l.abar[t - 1]) / (1 - l.abar[t]);
    l.c1[t] = l.beta[t] * sqrtl(l.abar[t - 1]) / (1 - l.abar[t]);
    l.v[t] = s2 * (1 - l.abar[t]) / (l.abar[t] * s2 + 1 - l.abar[t]);
  }
  return l;
}

static long double best(const law *l, int t) { return l->post[t] + l->c1[t] * l->c1[t] * l->v[t]; }

/* E L_{t-1} of one example in nats, with that reverse (t = 1: decoder) variance. */
static long double expected(const law *l, int t, long double var)
{
  const long double log_2pi = 1.837877066409345483560659472811235L;

  if (t == 1) return 0.5L * D * (log_2pi + logl(var) + l->v[1] / var);
  return 0.5L * D * (logl(var / l->post[t]) - 1 + (l->post[t] + l->c1[t] * l->c1[t] * l->v[t]) / var);
}

/* Which variance the closed form has at t >= 2. */
static long double variance(const law *l, const dx_reverse *v, const dx_evaluation *e, int t)
{
  if (!strcmp(v->name, "fixed-small")) return l->post[t];
  if (!strcmp(v->name, "fixed-large")) return l->beta[t];
  return v->line ? best(l, t) : (long double)e->variance[t - 1];
}

/* Largest distance of the evaluated variances from what they should be, in units of what is allowed. */
static double variance_error(const law *l, const dx_reverse *v, const dx_evaluation *e)
{
  double worst = 0;

  for (int t = 2; t <= (int)e->timesteps; t++) {
    const double off = fabs((double)(e->variance[t - 1] / best(l, t) - 1));
    const double share = (double)(1 - l->post[t] / best(l, t));
    /* an estimate from M examples: of 1 - E epshat^2 it is larger by E epshat^2 / (1 - E epshat^2) */
    const double magnify = strcmp(v->name, "analytic") ? 1 : (double)((1 - l->abar[t]) / (l->abar[t] * sigma * sigma));
    const double allowed = v->estimate ? 4 * share * magnify * sqrt(2.0 / (TRAIN * D)) + 1e-6 : 2e-6;

    if (v->line || v->estimate) worst = fmax(worst, off / allowed);
    else worst = fmax(worst, fabs((double)(e->variance[t - 1] / variance(l, v, e, t) - 1)) / 1e-9);
  }
  return worst;
}

/* Terms beyond 4 standard errors; the sum of the closed forms, and that of the program's expectations. */
static int terms_off(const dx_problem *p, const law *l, const dx_evaluation *e, double *bits)
{
  const dx_decoder d = dx_problem_decoder(p, e->head.decoder_variance);
  const dx_reverse *const v = p->objective.reverse;
  long double sum = 0, own = 0;
  int off = 0;

  for (int t = 1; t <= (int)e->timesteps; t++) {
    const long double var = t > 1 ? variance(l, v, e, t) : d.learned ? l->v[1] : (long double)e->head.decoder_variance;
    const double term = (double)expected(l, t, var);

    if (!(fabs(e->vb[t - 1] - term) <= 4 * e->vb_stderr[t - 1])) {
      printf("# L_%d is %.6g +- %.2g, expected %.6g\n", t - 1, e->vb[t - 1], e->vb_stderr[t - 1], term);
      off++;
    }
    if (v->line) continue;
    sum += expected(l, t, var);
    own += dx_process_vb_expected(&p->grid.process, &d, t, D, dx_exact_gaussian_mse(&p->grid.process, t, sigma * sigma));
  }
  *bits = fabs((double)(sum - own)) / (D * DX_LN2);
  return off;
}

/* The betas of a list, rising in a line. */
static void print_betas(char *to, size_t room)
{
  snprintf(to, room, ", betas: \"0.01");
  for (int i = 1; i < T; i++) snprintf(to + strlen(to), room - strlen(to), " %g", 0.01 + 0.02 * i);
  snprintf(to + strlen(to), room - strlen(to), "\"");
}

static void holds(const char *schedule, bool zero, const char *predict, const char *variance_name)
{
  const bool learned = !strncmp(variance_name, "learned", 7), edm = !strcmp(predict, "edm");
  char text[1024], what[128], betas[300] = "";
  dx_experiment *x;
  dx_problem *p = NULL;
  dx_evaluation e;
  double bits;

  if (edm && learned) return; /* refused, too */
  if (!strcmp(schedule, "list")) print_betas(betas, sizeof betas);
  snprintf(text, sizeof text,
           "{data: {kind: gaussian, dim: %d, sigma: %g, train: %d, test: 3000}, model: {kind: exact}, train: {steps: 0, t_sampling: %s}, seed: 1, "
           "process: {schedule: %s, timesteps: %d, zero_terminal: %s%s}, "
           "objective: {predict: %s, variance: %s, loss: %s, variance_examples: %d}}",
           D, sigma, TRAIN, edm ? "log-normal" : "uniform", schedule, T, zero ? "true" : "false", betas, predict, variance_name,
           edm ? "edm" : learned ? "hybrid" : "simple", TRAIN);
  snprintf(what, sizeof what, "%s%s, %s, %s", schedule, zero ? " to zero" : "", predict, variance_name);
  dx_error *err = dx_experiment_create("laws", text, strlen(text), NULL, 0, DX_DATA_READ, &x);
  if (err && (strstr(dx_error_text(err), "objective.predict is") || strstr(dx_error_text(err), "objective.variance is analytic"))) {
    dx_error_free(err);
    return; /* refused: tests/objective.c says which */
  }
  must(err);
  must(dx_problem_create(&team, dx_experiment_spec(x), &p));
  must(dx_evaluate(p, &(dx_evaluation_task){0}, &e));
  if (lead()) {
    const law l = law_of(p->process.beta, T, NULL);
    const int off = terms_off(p, &l, &e, &bits);
    const double apart = variance_error(&l, p->objective.reverse, &e);

    if (!(bits < 1e-6) || !(apart <= 1)) printf("# expectation off by %.2g bits/dim, variances at %.3g of what is allowed\n", bits, apart);
    say(off == 0 && bits < 1e-6 && apart <= 1, what);
  } else {
    say(1, what);
  }
  dx_evaluation_free(&e);
  dx_problem_destroy(p);
  dx_experiment_destroy(x);
}

/* A subset of 400 timesteps: strata cut by a pilot are unbiased and have a smaller error for the same forwards. */
static void budget(void)
{
  enum { LONG = 400 };
  double total[2], error[2], gain = 0, gap[2] = {0}, closed = 0;

  for (int i = 0; i < 2; i++) {
    char text[512];
    dx_experiment *x;
    dx_problem *p = NULL;
    dx_evaluation e;

    snprintf(text, sizeof text,
             "{data: {kind: gaussian, dim: %d, sigma: %g, train: %d, test: 3000}, model: {kind: exact}, train: {steps: 0}, seed: 1, "
             "process: {schedule: linear, timesteps: %d}, objective: {variance: fixed-small}, "
             "evaluate: {timesteps: 8, strata: %s, train_examples: 3000}}", D, sigma, TRAIN, LONG, i ? "neyman" : "squares");
    must(dx_experiment_create("laws", text, strlen(text), NULL, 0, DX_DATA_READ, &x));
    must(dx_problem_create(&team, dx_experiment_spec(x), &p));
    must(dx_evaluate(p, &(dx_evaluation_task){0}, &e));
    const dx_decoder d = dx_problem_decoder(p, e.head.decoder_variance);
    closed = dx_process_prior(&p->process, D, D * sigma * sigma);
    for (int64_t t = 1; t <= LONG; t++)
      closed += dx_process_vb_expected(&p->process, &d, t, D, dx_exact_gaussian_mse(&p->process, t, sigma * sigma));
    total[i] = e.head.total;
    error[i] = e.head.total_stderr;
    gain = e.head.strata_gain;
    gap[0] = e.head.gap;
    gap[1] = e.head.gap_stderr;
    if (lead() && fabs(total[i] - closed) > 4 * error[i]) printf("# %s: %.5g +- %.2g, expected %.5g\n", i ? "neyman" : "squares", total[i], error[i], closed);
    say(fabs(total[i] - closed) < 4 * error[i], i ? "8 strata by a pilot: the bound is unbiased" : "8 strata at squares: the bound is unbiased");
    dx_evaluation_free(&e);
    dx_problem_destroy(p);
    dx_experiment_destroy(x);
  }
  if (lead()) printf("# the variance of 8 strata at squares is %.3f of those by a pilot, which foresaw %.3f\n", error[0] * error[0] / (error[1] * error[1]), gain);
  say(error[0] > 1.05 * error[1] && gain > 1, "and its standard error smaller, as the pilot foresaw");
  say(fabs(gap[0]) < 4 * gap[1] && gap[1] > 0, "the splits are alike to the exact predictor: no gap");
}

/* The bound of fewer steps: the closed forms of the betas from one to the next, with each variance. */
static void respaced(const char *variance_name)
{
  static const int sections[] = {1, 7, 12, 13, 24}, trailing[] = {5, 10, 14, 19, 24};
  static const struct { const char *counts, *spacing; const int *step; } grid[] = {{"3, 2", "sections", sections}, {"5", "trailing", trailing}};
  const bool learned = !strncmp(variance_name, "learned", 7);

  for (int i = 0; i < 2; i++) {
    enum { N = 5 };
    char text[1024], what[128];
    dx_experiment *x;
    dx_problem *p = NULL;
    dx_evaluation e;
    double bits;
    int good = 1;

    snprintf(text, sizeof text,
             "{data: {kind: gaussian, dim: %d, sigma: %g, train: %d, test: 3000}, model: {kind: exact}, train: {steps: 0}, seed: 1, "
             "process: {schedule: cosine, timesteps: %d}, evaluate: {respace: \"%s\", spacing: %s}, "
             "objective: {predict: v, variance: %s, loss: %s, variance_examples: %d}}", D, sigma, TRAIN, T, grid[i].counts, grid[i].spacing,
             variance_name, learned ? "hybrid" : "simple", TRAIN);
    must(dx_experiment_create("laws", text, strlen(text), NULL, 0, DX_DATA_READ, &x));
    must(dx_problem_create(&team, dx_experiment_spec(x), &p));
    must(dx_evaluate(p, &(dx_evaluation_task){0}, &e));
    if (lead()) {
      const law l = law_of(p->process.beta, N, grid[i].step);

      good = e.timesteps == N;
      for (int k = 0; k < N && good; k++)
        good = p->grid.t[k] == grid[i].step[k] && fabs(p->grid.process.beta[k] / (double)l.beta[k + 1] - 1) < 1e-12;
      /* a number between the logarithms of the two variances: best for one step, not for several, so terms are not known */
      if (!learned) good = good && terms_off(p, &l, &e, &bits) == 0 && bits < 1e-6 && variance_error(&l, p->objective.reverse, &e) <= 1;
      for (int k = 1; k < N && learned; k++)
        good = good && e.variance[k] >= (double)l.post[k + 1] * (1 - 1e-6) && e.variance[k] <= (double)l.beta[k + 1] * (1 + 1e-6);
    }
    snprintf(what, sizeof what, "respaced to %s by %s, %s", grid[i].counts, grid[i].spacing, variance_name);
    say(good, what);
    dx_evaluation_free(&e);
    dx_problem_destroy(p);
    dx_experiment_destroy(x);
  }
}

/* With R draws per example: the part of the errors that they make, by the law of a term given x0. Of one number x0 - x0hat is
   (1 - k a) x0 - k b eps, k = a s^2 / (a^2 s^2 + b^2), so that its square has variance 2 (k b)^4 + 4 (1 - k a)^2 x0^2 (k b)^2. */
static void several_draws(void)
{
  enum { R = 4, N = 3000 };
  char text[512];
  dx_experiment *x;
  dx_problem *p = NULL;
  dx_evaluation e;
  double worst = 0, sum = 0;
  int off = 0;

  snprintf(text, sizeof text,
           "{data: {kind: gaussian, dim: %d, sigma: %g, train: %d, test: %d}, model: {kind: exact}, train: {steps: 0}, seed: 1, "
           "process: {schedule: cosine, timesteps: %d}, evaluate: {draws: %d}}", D, sigma, TRAIN, N, T, R);
  must(dx_experiment_create("laws", text, strlen(text), NULL, 0, DX_DATA_READ, &x));
  must(dx_problem_create(&team, dx_experiment_spec(x), &p));
  must(dx_evaluate(p, &(dx_evaluation_task){0}, &e));
  if (lead()) {
    const law l = law_of(p->process.beta, T, NULL);

    for (int t = 1; t <= T; t++) {
      const double a2 = (double)l.abar[t], b2 = 1 - a2, s2 = sigma * sigma, var = t > 1 ? (double)l.beta[t] : e.head.decoder_variance;
      const double k = s2 / (a2 * s2 + b2), kb2 = k * k * a2 * b2, rest = 1 - k * a2;
      const double factor = (t > 1 ? (double)(l.c1[t] * l.c1[t]) : 1) / (2 * var);
      const double within = D * factor * factor * (2 * kb2 * kb2 + 4 * rest * rest * s2 * kb2);

      sum += within / (R * N);
      worst = fmax(worst, fabs(e.vb_draw_stderr[t - 1] * e.vb_draw_stderr[t - 1] * (R * N) / within - 1));
      off += !(fabs(e.vb[t - 1] - (double)expected(&l, t, var)) <= 4 * e.vb_stderr[t - 1]) || !(e.vb_draw_stderr[t - 1] < e.vb_stderr[t - 1]);
    }
    worst = fmax(worst, fabs(e.head.total_draw_stderr * e.head.total_draw_stderr / sum - 1));
    printf("# the variances of draws are those of the law to %.3f\n", worst);
  }
  say(off == 0, "four draws: each L_t is its closed form");
  say(worst < 0.15, "and what the draws make of the errors is, too");
  say(dx_evaluation_forwards(p) == (int64_t)R * N * T + N, "forward passes are counted");
  dx_evaluation_free(&e);
  dx_problem_destroy(p);
  dx_experiment_destroy(x);
}

int main(int argc, char **argv)
{
  dx_run_config run;

  must(dx_comm_start(&argc, &argv, &comm));
  dx_option_presets(dx_run_options, &run);
  must(dx_team_form(comm, &logger, &run, &team));
  for (int i = 0; dx_schedule_at(i); i++)
    for (int j = 0; dx_predict_at(j); j++)
      for (int k = 0; dx_reverse_at(k); k++) {
        holds(dx_schedule_at(i)->name, false, dx_predict_at(j)->name, dx_reverse_at(k)->name);
        if (i == 0) holds(dx_schedule_at(i)->name, true, dx_predict_at(j)->name, dx_reverse_at(k)->name);
      }
  budget();
  for (int k = 0; dx_reverse_at(k); k++)
    if (strcmp(dx_reverse_at(k)->name, "learned")) respaced(dx_reverse_at(k)->name); /* a variance of one step is none of several */
  several_draws();
  const int bad = lead() ? done() : tap_bad != 0;
  dx_team_part(&team);
  dx_comm_stop(comm);
  return bad;
}
