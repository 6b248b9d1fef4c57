/* SPDX-License-Identifier: Apache-2.0 */
/* tests/objective.c - noising, the loss with its gradient, and the way back to x_0. */
#include "diffusion/objective.h"
#include "near.h"
#include "tap.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5, D = 7, T = 1000 };

typedef union {
  max_align_t align;
  char bytes[256];
} settings;
typedef struct {
  int32_t t[N];
  float x0[N * D], eps[N * D], xt[N * D], out[N * D], gout[N * D], x0hat[N * D];
} batch;

static dx_process make(void)
{
  const dx_schedule *s = dx_schedule_find("linear");
  const dx_process_config c = {.schedule = "linear", .timesteps = T};
  dx_process p;
  settings options;
  dx_error *e;

  dx_option_presets(s->options, &options);
  e = dx_process_create(&c, s, &options, DX_VARIANCE_LARGE, &p);
  if (!e) return p;
  printf("Bail out! %s\n", dx_error_text(e));
  exit(1);
}

static void fill(batch *b)
{
  static const int32_t t[N] = {1, 1000, 500, 2, 999};

  memcpy(b->t, t, sizeof t);
  for (int i = 0; i < N * D; i++) {
    b->x0[i] = (float)sin(1.7 * i);
    b->eps[i] = (float)(1.5 * cos(2.3 * i + 1));
    b->out[i] = (float)(1.4 * cos(2.3 * i + 1.1));
  }
}

static void noises(const dx_objective *o, batch *b)
{
  int wrong = 0;

  dx_objective_noise(o, N, b->t, b->x0, b->eps, b->xt);
  for (int i = 0; i < N * D; i++) {
    const int r = b->t[i / D] - 1;
    const double expected =
        sqrt(o->process->abar[r]) * b->x0[i] + sqrt(1 - o->process->abar[r]) * b->eps[i];

    wrong += fabs(b->xt[i] - expected) > 3e-7;
  }
  ok(!wrong, "x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps");
}

/* The papers' formulas, one number at a time. */
typedef struct { double target, x0; } said;

static said what(const dx_objective *o, int32_t t, double x0, double eps, double out)
{
  const double beta = o->process->beta[t - 1], abar = o->process->abar[t - 1], before = abar / (1 - beta);
  const double a = sqrt(abar), b = sqrt(1 - abar), xt = a * x0 + b * eps;
  const double c1 = t > 1 ? sqrt(before) * beta / (1 - abar) : 1;
  const double c2 = t > 1 ? sqrt(1 - beta) * (1 - before) / (1 - abar) : 0;

  switch (o->predict->name[0]) {
  case 'n': return (said){eps, (xt - b * out) / a};
  case 'x': return (said){x0, out};
  case 'v': return (said){a * eps - b * x0, a * xt - b * out};
  default: return (said){c1 * x0 + c2 * xt, (out - c2 * xt) / c1};
  }
}

static void costs(const dx_objective *o, batch *b)
{
  dx_terms terms[N];
  float room[D];
  int wrong = 0;

  dx_objective_loss(o, N, b->t, b->x0, b->eps, b->out, 0.25f, terms, b->gout, room);
  for (int i = 0; i < N; i++) {
    const double abar = o->process->abar[b->t[i] - 1];
    double loss = 0, mse = 0, x0_mse = 0;

    for (int j = i * D; j < (i + 1) * D; j++) {
      const said x = what(o, b->t[i], b->x0[j], b->eps[j], b->out[j]);
      const double e = x.target - b->out[j], noise = sqrt(abar / (1 - abar)) * (x.x0 - b->x0[j]);

      loss += e * e / D;
      mse += noise * noise / D;
      x0_mse += (x.x0 - b->x0[j]) * (x.x0 - b->x0[j]) / D;
    }
    wrong += !near(terms[i].loss, loss, 1e-6) || !near(terms[i].mse, mse, 1e-6) || !near(terms[i].x0_mse, x0_mse, 1e-6);
  }
  ok(!wrong, "%s: loss, mse and x0_mse of each example", o->predict->name);
}

/* The loss is a parabola in each output, so a central difference is exact but for rounding. */
static void gradient(const dx_objective *o, batch *b)
{
  const double weight = 0.25;
  double worst = 0;

  for (int j = 0; j < N * D; j++) {
    const float before = b->out[j], up = before + 0.01f, down = before - 0.01f;
    dx_terms hi[N], lo[N];
    float room[D];
    double slope;

    b->out[j] = up;
    dx_objective_loss(o, N, b->t, b->x0, b->eps, b->out, 1, hi, NULL, room);
    b->out[j] = down;
    dx_objective_loss(o, N, b->t, b->x0, b->eps, b->out, 1, lo, NULL, room);
    b->out[j] = before;
    slope = weight * (hi[j / D].loss - lo[j / D].loss) / ((double)up - down);
    worst = fmax(worst, fabs(slope - b->gout[j]));
  }
  ok(worst < 1e-7, "%s: the gradient is that of the loss times the weight, to %.1e", o->predict->name, worst);
}

static void returns(dx_objective *o, batch *b)
{
  int wrong = 0, noise = 0, beyond = 0, kept = 0;
  float truth[N * D];

  for (int i = 0; i < N * D; i++) truth[i] = (float)what(o, b->t[i / D], b->x0[i], b->eps[i], 0).target;
  dx_objective_x0(o, N, b->t, b->xt, truth, b->x0hat);
  for (int i = 0; i < N * D; i++) {
    const dx_affine f = o->predict->at(o->process, b->t[i / D] - 1);

    wrong += fabs(b->x0hat[i] - b->x0[i]) > 1e-6 * (1 + fabs(f.x0_xt) + fabs(f.x0_out));
    noise += fabs(f.eps_xt * b->xt[i] + f.eps_out * truth[i] - b->eps[i]) > 1e-6 * (1 + fabs(f.eps_xt) + fabs(f.eps_out));
  }
  ok(!wrong && !noise, "%s: the true target gives x_0 and the noise back", o->predict->name);
  o->clip = true;
  o->lo = -0.5f;
  o->hi = 0.25f;
  dx_objective_x0(o, N, b->t, b->xt, truth, b->x0hat);
  for (int i = 0; i < N * D; i++) {
    beyond += b->x0hat[i] < -0.5f || b->x0hat[i] > 0.25f;
    kept += b->x0hat[i] > -0.5f && b->x0hat[i] < 0.25f;
  }
  ok(!beyond && kept > 3, "a declared range clips x_0");
  truth[3] = NAN;
  dx_objective_x0(o, N, b->t, b->xt, truth, b->x0hat);
  ok(isnan(b->x0hat[3]), "clipping does not hide a NaN");
  o->clip = false;
}

/* One example at a time, the last first, in place: the same bits as all at once. */
static void any_grain(const dx_objective *o, batch *b)
{
  batch one = *b;
  dx_terms all[N], single[N];
  float room[D];
  int wrong;

  dx_objective_noise(o, N, b->t, b->x0, b->eps, b->xt);
  dx_objective_loss(o, N, b->t, b->x0, b->eps, b->out, 0.25f, all, b->gout, room);
  dx_objective_x0(o, N, b->t, b->xt, b->out, b->x0hat);
  for (int i = N - 1; i >= 0; i--) {
    const int at = i * D;

    dx_objective_noise(o, 1, one.t + i, one.x0 + at, one.eps + at, one.xt + at);
    dx_objective_x0(o, 1, one.t + i, one.xt + at, one.out + at, one.x0hat + at);
    dx_objective_loss(o, 1, one.t + i, one.x0 + at, one.eps + at, one.out + at, 0.25f, single + i, one.out + at, room);
  }
  wrong = memcmp(b->xt, one.xt, sizeof one.xt) || memcmp(b->gout, one.out, sizeof one.out) ||
          memcmp(b->x0hat, one.x0hat, sizeof one.x0hat) || memcmp(all, single, sizeof all);
  ok(!wrong, "bits do not depend on the grain");
}

/* abar_T = 0: x0 and v still find x_0, the others are refused by key. */
static void from_nothing(const dx_objective_config *preset)
{
  const dx_schedule *s = dx_schedule_find("linear");
  const dx_process_config pc = {.schedule = "linear", .timesteps = T, .zero_terminal = true};
  dx_objective_config c = *preset;
  settings options;
  dx_process p;
  dx_error *e;

  dx_option_presets(s->options, &options);
  e = dx_process_create(&pc, s, &options, DX_VARIANCE_LARGE, &p);
  ok(!e && p.abar[T - 1] == 0 && p.beta[T - 1] == 1, "zero_terminal: beta_T is 1");
  for (int i = 0; !e && dx_predict_at(i); i++) {
    const dx_predict *what = dx_predict_at(i);
    const bool may = what->from_nothing;

    snprintf(c.predict, sizeof c.predict, "%s", what->name);
    dx_error *no = dx_objective_check(&c, &pc, &p);
    ok(may ? !no : no && strstr(dx_error_text(no), "objective.predict is"), "%s with beta_T = 1: %s", what->name,
       no ? dx_error_text(no) : "allowed");
    if (may) ok(isfinite(what->at(&p, T - 1).x0_out) && isfinite(what->at(&p, T - 1).x0_xt), "and finds x_0");
    dx_error_free(no);
  }
  if (!e) dx_process_destroy(&p);
}

int main(void)
{
  static batch b;
  dx_kernels k;
  dx_process p = make();
  dx_objective o = {.process = &p, .kernel = &k, .predict = dx_predict_find("noise"), .dim = D};
  dx_objective_config c;

  dx_kernels_ref(&k);
  fill(&b);
  dx_option_presets(dx_objective_options, &c);
  noises(&o, &b);
  for (int i = 0; dx_predict_at(i); i++) {
    o.predict = dx_predict_at(i);
    ok(dx_predict_find(o.predict->name) == o.predict && strstr(dx_option_find(dx_objective_options, "predict")->choices, o.predict->name),
       "%s is a choice of objective.predict", o.predict->name);
    fill(&b);
    noises(&o, &b);
    costs(&o, &b);
    gradient(&o, &b);
    returns(&o, &b);
    any_grain(&o, &b);
  }
  from_nothing(&c);
  ok(dx_objective_variance(&c) == DX_VARIANCE_LARGE, "fixed-large unless asked otherwise");
  snprintf(c.variance, sizeof c.variance, "fixed-small");
  ok(dx_objective_variance(&c) == DX_VARIANCE_SMALL, "fixed-small");
  dx_process_destroy(&p);
  return done();
}
