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

static void costs(const dx_objective *o, batch *b)
{
  dx_terms terms[N];
  int wrong = 0;

  dx_objective_loss(o, N, b->t, b->x0, b->eps, b->xt, b->out, 0.25f, terms, b->gout);
  for (int i = 0; i < N; i++) {
    const double abar = o->process->abar[b->t[i] - 1];
    double mse = 0, x0_mse = 0;

    for (int j = i * D; j < (i + 1) * D; j++) {
      const double e = (double)b->out[j] - b->eps[j];
      const double xt = sqrt(abar) * b->x0[j] + sqrt(1 - abar) * b->eps[j];
      const double back = (xt - sqrt(1 - abar) * b->out[j]) / sqrt(abar) - b->x0[j];

      mse += e * e / D;
      x0_mse += back * back / D;
    }
    wrong += !near(terms[i].loss, mse, 1e-14) || terms[i].mse != terms[i].loss ||
             !near(terms[i].x0_mse, x0_mse, 1e-9);
  }
  ok(!wrong, "loss, mse and x0_mse of each example");
}

/* The loss is a parabola in each output, so a central difference is exact but for rounding. */
static void gradient(const dx_objective *o, batch *b)
{
  const double weight = 0.25;
  double worst = 0;

  for (int j = 0; j < N * D; j++) {
    const float before = b->out[j], up = before + 0.01f, down = before - 0.01f;
    dx_terms hi[N], lo[N];
    double slope;

    b->out[j] = up;
    dx_objective_loss(o, N, b->t, b->x0, b->eps, b->xt, b->out, 1, hi, NULL);
    b->out[j] = down;
    dx_objective_loss(o, N, b->t, b->x0, b->eps, b->xt, b->out, 1, lo, NULL);
    b->out[j] = before;
    slope = weight * (hi[j / D].loss - lo[j / D].loss) / ((double)up - down);
    worst = fmax(worst, fabs(slope - b->gout[j]));
  }
  ok(worst < 1e-7, "the gradient is that of the loss times the weight, to %.1e", worst);
}

static void returns(dx_objective *o, batch *b)
{
  int wrong = 0, beyond = 0, kept = 0;

  dx_objective_x0(o, N, b->t, b->xt, b->eps, b->x0hat);
  for (int i = 0; i < N * D; i++)
    wrong += fabs(b->x0hat[i] - b->x0[i]) > 1e-6 / sqrt(o->process->abar[b->t[i / D] - 1]);
  ok(!wrong, "the true noise gives x_0 back");
  o->clip = true;
  o->lo = -0.5f;
  o->hi = 0.25f;
  dx_objective_x0(o, N, b->t, b->xt, b->eps, b->x0hat);
  for (int i = 0; i < N * D; i++) {
    beyond += b->x0hat[i] < -0.5f || b->x0hat[i] > 0.25f;
    kept += b->x0hat[i] > -0.5f && b->x0hat[i] < 0.25f;
  }
  ok(!beyond && kept > 3, "a declared range clips x_0");
  b->xt[3] = NAN;
  dx_objective_x0(o, N, b->t, b->xt, b->eps, b->x0hat);
  ok(isnan(b->x0hat[3]), "clipping does not hide a NaN");
  o->clip = false;
}

/* One example at a time, the last first, in place: the same bits as all at once. */
static void any_grain(const dx_objective *o, batch *b)
{
  batch one = *b;
  dx_terms all[N], single[N];
  int wrong;

  dx_objective_noise(o, N, b->t, b->x0, b->eps, b->xt);
  dx_objective_loss(o, N, b->t, b->x0, b->eps, b->xt, b->out, 0.25f, all, b->gout);
  dx_objective_x0(o, N, b->t, b->xt, b->out, b->x0hat);
  for (int i = N - 1; i >= 0; i--) {
    const int at = i * D;

    dx_objective_noise(o, 1, one.t + i, one.x0 + at, one.eps + at, one.xt + at);
    dx_objective_x0(o, 1, one.t + i, one.xt + at, one.out + at, one.x0hat + at);
    dx_objective_loss(o, 1, one.t + i, one.x0 + at, one.eps + at, one.xt + at, one.out + at, 0.25f,
                      single + i, one.out + at);
  }
  wrong = memcmp(b->xt, one.xt, sizeof one.xt) || memcmp(b->gout, one.out, sizeof one.out) ||
          memcmp(b->x0hat, one.x0hat, sizeof one.x0hat) || memcmp(all, single, sizeof all);
  ok(!wrong, "bits do not depend on the grain");
}

int main(void)
{
  static batch b;
  dx_kernels k;
  dx_process p = make();
  dx_objective o = {.process = &p, .kernel = &k, .dim = D};
  dx_objective_config c;

  dx_kernels_ref(&k);
  fill(&b);
  noises(&o, &b);
  costs(&o, &b);
  gradient(&o, &b);
  returns(&o, &b);
  any_grain(&o, &b);
  dx_option_presets(dx_objective_options, &c);
  ok(dx_objective_variance(&c) == DX_VARIANCE_LARGE, "fixed-large unless asked otherwise");
  snprintf(c.variance, sizeof c.variance, "fixed-small");
  ok(dx_objective_variance(&c) == DX_VARIANCE_SMALL, "fixed-small");
  dx_process_destroy(&p);
  return done();
}
