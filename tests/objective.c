/* SPDX-License-Identifier: Apache-2.0 */
/* tests/objective.c - noising, the loss with its gradient, and the way back to x_0. */
#include "diffusion/objective.h"
#include "base/math.h"
#include "golden/bpd.h"
#include "golden/edm.h"
#include "golden/objective.h"
#include "make_process.h"
#include "near.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

enum { N = 5, D = 7, T = 1000 };

typedef struct {
  int32_t t[N];
  float x0[N * D], eps[N * D], xt[N * D], out[N * D], gout[N * D], x0hat[N * D];
} batch;

static dx_process make(dx_variance variance)
{
  dx_process p = process_of("linear", T, variance);

  p.sigma_data = 0.5;
  return p;
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

/* Examples of whole steps. */
static void noise_steps(const dx_objective *o, int64_t n, const int32_t *t, const float *x0, const float *eps, float *xt)
{
  for (int64_t i = 0; i < n; i++) {
    const dx_level level = dx_objective_level(o, t[i]);

    dx_objective_noise(o, 1, &level, x0 + i * o->dim, eps + i * o->dim, xt + i * o->dim);
  }
}

static void loss_of_steps(const dx_objective *o, int64_t n, const int32_t *t, const float *x0, const float *eps, const float *out,
                          const double *weight, dx_terms *terms, float *gout, float *room)
{
  dx_level level[N];

  for (int64_t i = 0; i < n; i++) level[i] = dx_objective_level(o, t[i]);
  dx_objective_loss(o, n, t, level, x0, eps, out, weight, terms, gout, room);
}

static void noises(const dx_objective *o, batch *b)
{
  int wrong = 0;

  noise_steps(o, N, b->t, b->x0, b->eps, b->xt);
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
  case 'e': { /* in the scale of Karras et al. */
    const double sigma = b / a, data = o->process->sigma_data, both = sigma * sigma + data * data;
    const double skip = data * data / both, c_out = sigma * data / sqrt(both), x = x0 + sigma * eps;

    return (said){(x0 - skip * x) / c_out, skip * x + c_out * out};
  }
  default: return (said){c1 * x0 + c2 * xt, (out - c2 * xt) / c1};
  }
}

static const double quarter[N] = {.25, .25, .25, .25, .25}, whole[N] = {1, 1, 1, 1, 1};

static void costs(const dx_objective *o, batch *b)
{
  dx_terms terms[N];
  float room[D];
  int wrong = 0;

  loss_of_steps(o, N, b->t, b->x0, b->eps, b->out, quarter, terms, b->gout, room);
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
    loss_of_steps(o, N, b->t, b->x0, b->eps, b->out, whole, hi, NULL, room);
    b->out[j] = down;
    loss_of_steps(o, N, b->t, b->x0, b->eps, b->out, whole, lo, NULL, room);
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
  dx_objective_x0(o, N, b->t, NULL, b->xt, truth, b->x0hat);
  for (int i = 0; i < N * D; i++) {
    const dx_affine f = o->predict->at(o->process, b->t[i / D] - 1, dx_objective_level(o, b->t[i / D]));

    wrong += fabs(b->x0hat[i] - b->x0[i]) > 1e-6 * (1 + fabs(f.x0_xt) + fabs(f.x0_out));
    noise += fabs(f.eps_xt * b->xt[i] + f.eps_out * truth[i] - b->eps[i]) > 1e-6 * (1 + fabs(f.eps_xt) + fabs(f.eps_out));
  }
  ok(!wrong && !noise, "%s: the true target gives x_0 and the noise back", o->predict->name);
  o->clip = true;
  o->lo = -0.5f;
  o->hi = 0.25f;
  dx_objective_x0(o, N, b->t, NULL, b->xt, truth, b->x0hat);
  for (int i = 0; i < N * D; i++) {
    beyond += b->x0hat[i] < -0.5f || b->x0hat[i] > 0.25f;
    kept += b->x0hat[i] > -0.5f && b->x0hat[i] < 0.25f;
  }
  ok(!beyond && kept > 3, "a declared range clips x_0");
  truth[3] = NAN;
  dx_objective_x0(o, N, b->t, NULL, b->xt, truth, b->x0hat);
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

  noise_steps(o, N, b->t, b->x0, b->eps, b->xt);
  loss_of_steps(o, N, b->t, b->x0, b->eps, b->out, quarter, all, b->gout, room);
  dx_objective_x0(o, N, b->t, NULL, b->xt, b->out, b->x0hat);
  for (int i = N - 1; i >= 0; i--) {
    const int at = i * D;

    noise_steps(o, 1, one.t + i, one.x0 + at, one.eps + at, one.xt + at);
    dx_objective_x0(o, 1, one.t + i, NULL, one.xt + at, one.out + at, one.x0hat + at);
    loss_of_steps(o, 1, one.t + i, one.x0 + at, one.eps + at, one.out + at, quarter, single + i, one.out + at, room);
  }
  wrong = memcmp(b->xt, one.xt, sizeof one.xt) || memcmp(b->gout, one.out, sizeof one.out) ||
          memcmp(b->x0hat, one.x0hat, sizeof one.x0hat) || memcmp(all, single, sizeof all);
  ok(!wrong, "bits do not depend on the grain");
}

enum { PIXELS = 2, C = 3, PD = PIXELS * C };

static dx_process small, large;

/* One objective of two pixels with three channels; the loss has its presets. */
static dx_objective of(const dx_objective *o, const char *predict, const char *variance, const char *loss, bool bytes,
                       settings *options)
{
  dx_objective p = *o;

  p.predict = dx_predict_find(predict);
  p.reverse = dx_reverse_find(variance);
  p.loss = dx_loss_find(loss);
  dx_option_presets(p.loss->options, options);
  p.loss_config = options;
  p.process = p.reverse->fixed == DX_VARIANCE_SMALL ? &small : &large;
  p.dim = PD;
  p.channels = C;
  p.decoder = (dx_decoder){.variance = p.process->post_var[1], .log_scale = bytes ? 0 : log(golden_scale), .bytes = bytes,
                           .learned = p.reverse->line != NULL};
  return p;
}

/* Number j of the predictions, or of the variance, in an output of that width. */
static int at(int j, int width, bool variance) { return width == 1 ? j : j + j / C * C + (variance ? C : 0); }

/* Losses, terms of the bound and gradients of PyTorch's autograd. */
static void against_torch(const dx_objective *o)
{
  const int rows = sizeof golden_objective / sizeof *golden_objective;
  int wrong = 0;

  for (int i = 0; i < rows; i++) {
    settings options;
    const dx_objective p = of(o, golden_objective[i].predict, golden_objective[i].variance, golden_objective[i].loss,
                              golden_objective[i].bytes, &options);
    const int width = (int)dx_objective_width(&p);
    const int32_t t = golden_objective[i].t;
    float out[2 * PD], gout[2 * PD], room[PD];
    double worst = 0, largest = 0;
    dx_terms found;

    for (int j = 0; j < width * PD; j++) out[at(j % PD, width, j >= PD)] = (float)golden_objective[i].out[j];
    loss_of_steps(&p, 1, &t, golden_objective[i].bytes ? golden_bytes : golden_x0, golden_eps, out, whole, &found, gout, room);
    for (int j = 0; j < width * PD; j++) {
      largest = fmax(largest, fabs(golden_objective[i].grad[j]));
      worst = fmax(worst, fabs(gout[at(j % PD, width, j >= PD)] - golden_objective[i].grad[j]));
    }
    const bool good = near(found.loss, golden_objective[i].loss_value, 1e-4) && near(found.vb, golden_objective[i].vb, 1e-4) &&
                      worst < 1e-4 * largest;
    if (!good)
      printf("# %s %s %s t = %d, bytes %d: loss %.9g, not %.9g; vb %.9g, not %.9g; gradient off %.2g of %.2g\n",
             golden_objective[i].predict, golden_objective[i].variance, golden_objective[i].loss, t, golden_objective[i].bytes,
             found.loss, golden_objective[i].loss_value, found.vb, golden_objective[i].vb, worst, largest);
    wrong += !good;
  }
  ok(!wrong && rows == 192, "%d rows of PyTorch: loss, term of the bound and gradient", rows);
}

/* The largest difference between a gradient and central differences, as a share of the largest slope. */
static double slope_error(const dx_objective *p, int32_t t, const float *x0)
{
  const int width = (int)dx_objective_width(p);
  float out[2 * PD], gout[2 * PD], room[PD];
  const dx_affine f = p->predict->at(p->process, t - 1, dx_objective_level(p, t));
  double worst = 0, largest = 0;
  dx_terms found, hi, lo;

  for (int j = 0; j < PD; j++) {
    const double target = f.of_x0 * x0[j] + f.of_eps * golden_eps[j];

    /* an error of x0 of 0.02, so that no cell's probability counts as none */
    out[at(j, width, false)] = (float)(target + 0.02 * sin(2.0 * j + 1) / (t == 1 ? fabs(f.x0_out) : 1));
    if (width == 2) out[at(j, width, true)] = (float)((p->process->post_log[t - 1] * (p->reverse->line(p->process, t - 1).slope == 1)) + 0.3 * cos(j));
  }
  loss_of_steps(p, 1, &t, x0, golden_eps, out, whole, &found, gout, room);
  for (int j = 0; j < width * PD; j++) {
    const bool variance = width == 2 && j % (2 * C) >= C;
    const float before = out[j], step = variance || t > 1 ? 2e-3f : (float)(1e-4 / fabs(f.x0_out));
    const float up = before + step, down = before - step;

    if (p->loss->bound && !p->loss->moves_mean && !variance) continue; /* its gradient is stopped there on purpose */
    out[j] = up;
    loss_of_steps(p, 1, &t, x0, golden_eps, out, whole, &hi, NULL, room);
    out[j] = down;
    loss_of_steps(p, 1, &t, x0, golden_eps, out, whole, &lo, NULL, room);
    out[j] = before;
    worst = fmax(worst, fabs((hi.loss - lo.loss) / ((double)up - down) - gout[j]));
    largest = fmax(largest, fabs(gout[j]));
  }
  return worst / largest;
}

/* Every loss with everything that it goes with. */
static void slopes(const dx_objective *o)
{
  static const int32_t t[] = {1, 2, 700};
  double worst = 0;
  int checked = 0;

  for (int a = 0; dx_predict_at(a); a++)
    for (int b = 0; dx_reverse_at(b); b++)
      for (int c = 0; dx_loss_at(c); c++)
        for (int d = 0; d < 6; d++) {
          const dx_reverse *const v = dx_reverse_at(b);
          const dx_loss *const l = dx_loss_at(c);
          settings options;

          if ((v->line && !l->bound) || (!v->line && l->bound && !l->moves_mean) || (v->estimate && l->bound)) continue;
          const dx_objective p = of(o, dx_predict_at(a)->name, v->name, l->name, d > 2, &options);
          const double error = slope_error(&p, t[d % 3], d > 2 ? golden_bytes : golden_x0);
          if (!(error < 2e-3)) printf("# %s %s %s t = %d: %.2g\n", p.predict->name, v->name, l->name, t[d % 3], error);
          worst = error > worst || isnan(error) ? error : worst;
          checked++;
        }
  ok(worst < 2e-3 && checked > 300, "%d gradients against finite differences, to %.1e of the largest slope", checked, worst);
}

/* Of data N(0, s^2) the exact score's errors are known: both estimates are then beta~_t + c1_t^2 v_t, which at
   s = 1 is beta_t. */
static void estimates(void)
{
  static const double s2[] = {0.25, 1, 4};
  const dx_reverse *const optimal = dx_reverse_find("optimal"), *const analytic = dx_reverse_find("analytic");
  int wrong = 0;

  for (int i = 0; i < 3; i++)
    for (int r = 1; r < T; r++) {
      const double abar = large.abar[r], before = large.abar[r - 1], v = abar * s2[i] + 1 - abar;
      const double c1 = large.beta[r] * sqrt(before) / (1 - abar), tilde = large.beta[r] * (1 - before) / (1 - abar);
      const double want = tilde + c1 * c1 * s2[i] * (1 - abar) / v, x0_mse = s2[i] * (1 - abar) / v, eps_sq = (1 - abar) / v;

      wrong += !near(optimal->estimate(&large, r, x0_mse, NAN), want, 1e-9) || !near(analytic->estimate(&large, r, NAN, eps_sq), want, 1e-9) ||
               (s2[i] == 1 && !near(want, large.beta[r], 1e-9));
    }
  ok(!wrong, "optimal and analytic give the closed form for Gaussian data");
  ok(analytic->estimate(&large, 9, 0, 1.5) == large.post_var[9] && near(analytic->estimate(&large, 9, 0, 0), large.post_var[9] +
     large.beta[9] * large.beta[9] / ((1 - large.beta[9]) * large.nbar[9]), 1e-12), "analytic keeps to its bounds");
}

static void refusal(const dx_objective_config *preset, const char *variance, const char *loss, const char *decoder, const char *key,
                    const char *words)
{
  dx_process_config pc = {.schedule = "linear", .timesteps = T};
  dx_objective_config c = *preset;
  const char *named = "";

  snprintf(c.variance, sizeof c.variance, "%s", variance);
  snprintf(c.loss, sizeof c.loss, "%s", loss);
  snprintf(pc.decoder_variance, sizeof pc.decoder_variance, "%s", decoder);
  dx_error *e = dx_objective_check(&c, &pc, &large, &named);
  ok(words ? e && !strcmp(named, key) && strstr(dx_error_text(e), words) : !e, "%s with %s: %s", variance, loss,
     e ? dx_error_text(e) : "allowed");
  dx_error_free(e);
}

static void refusals(const dx_objective_config *c)
{
  refusal(c, "fixed-large", "vlb", "auto", "", NULL);
  refusal(c, "learned", "hybrid", "learned", "", NULL);
  refusal(c, "analytic", "p2", "optimal", "", NULL);
  refusal(c, "learned", "simple", "auto", "objective.loss", "allowed: hybrid, vlb");
  refusal(c, "fixed-small", "hybrid", "auto", "objective.loss", "allowed: learned, learned-range");
  refusal(c, "optimal", "vlb", "auto", "objective.loss", "allowed: simple, min-snr, p2");
  refusal(c, "fixed-large", "edm", "auto", "objective.loss", "allowed: edm for both");
  refusal(c, "fixed-small", "simple", "learned", "process.decoder_variance", "allowed: learned, learned-range");
  for (int i = 0; dx_loss_at(i); i++)
    ok(dx_loss_find(dx_loss_at(i)->name) == dx_loss_at(i) && strstr(dx_option_find(dx_objective_options, "loss")->choices, dx_loss_at(i)->name),
       "%s is a choice of objective.loss", dx_loss_at(i)->name);
  for (int i = 0; dx_reverse_at(i); i++)
    ok(dx_reverse_find(dx_reverse_at(i)->name) == dx_reverse_at(i) &&
           strstr(dx_option_find(dx_objective_options, "variance")->choices, dx_reverse_at(i)->name),
       "%s is a choice of objective.variance", dx_reverse_at(i)->name);
}

static float remainder_of(int t, int n, int d, int seed, double size)
{
  return (float)(((t * 31 + n * 17 + d * 7919 + seed * 101) % 997 / 498.5 - 1) * size);
}

/* x_t and the output of a "network" at step t, for all images. */
static void make_step(const dx_objective *o, const float *x0, int32_t t, float *eps, float *xt, float *out)
{
  const int width = (int)dx_objective_width(o);
  const bool noise = !strcmp(o->predict->name, "noise");
  const int32_t ts[BPD_N] = {t, t};

  for (int i = 0; i < BPD_N * BPD_D; i++) {
    const int n = i / BPD_D, d = i % BPD_D, s = t - 1;
    const double off = remainder_of(s, n, d, 2, noise ? 0.25 : 0.4), v = remainder_of(s, n, d, 3, 1);

    eps[i] = remainder_of(s, n, d, 1, 2);
    out[n * width * BPD_D + at(d, width, false)] = (float)((noise ? eps[i] : x0[i]) + off);
    if (width == 2)
      out[n * width * BPD_D + at(d, width, true)] = (float)(strcmp(o->reverse->name, "learned") ? v : v + o->process->post_log[s]);
  }
  noise_steps(o, BPD_N, ts, x0, eps, xt);
}

/* improved-diffusion's calc_bpd_loop: clip and variance kinds. */
static void bits_per_dimension(const dx_objective *base)
{
  const dx_schedule *s = dx_schedule_find("linear");
  const dx_process_config pc = {.schedule = "linear", .timesteps = BPD_T};
  float x0[BPD_N * BPD_D], eps[BPD_N * BPD_D], xt[BPD_N * BPD_D], out[2 * BPD_N * BPD_D], log_var[BPD_N * BPD_D], x0hat[BPD_N * BPD_D];
  const double bit = 1 / (BPD_D * DX_LN2);
  const int rows = sizeof golden_bpd / sizeof *golden_bpd;
  int wrong = 0;

  for (int i = 0; i < BPD_N * BPD_D; i++) x0[i] = (float)((i / BPD_D * 97 + i % BPD_D * 53) % 256 / 127.5 - 1);
  for (int i = 0; i < rows; i++) {
    settings options;
    dx_process p;
    dx_objective o = *base;
    double prior = 0, total = 0, worst = 0;

    o.predict = dx_predict_find(golden_bpd[i].predict);
    o.reverse = dx_reverse_find(golden_bpd[i].variance);
    dx_option_presets(s->options, &options);
    if (dx_process_create(&pc, s, &options, o.reverse->fixed, &p)) exit(1);
    o.process = &p;
    o.dim = BPD_D;
    o.channels = C;
    o.clip = golden_bpd[i].clip;
    o.lo = -1;
    o.hi = 1;
    const dx_decoder d = {.variance = p.post_var[1], .bytes = true, .learned = o.reverse->line != NULL};
    for (int n = 0; n < BPD_N; n++) prior += bit / BPD_N * dx_process_prior(&p, BPD_D, o.kernel->sum_squares(BPD_D, x0 + n * BPD_D));
    for (int32_t t = 1; t <= BPD_T; t++) {
      const int32_t ts[BPD_N] = {t, t};
      double vb = 0, x0_mse = 0;

      make_step(&o, x0, t, eps, xt, out);
      if (o.reverse->line) dx_objective_log_var(&o, BPD_N, ts, out, log_var);
      dx_objective_x0(&o, BPD_N, ts, NULL, xt, out, x0hat);
      for (int n = 0; n < BPD_N; n++) {
        const int a = n * BPD_D;

        vb += bit / BPD_N * dx_objective_vb(&o, &d, t, x0 + a, x0hat + a, o.reverse->line ? log_var + a : NULL);
        x0_mse += o.kernel->sum_squared_diff(BPD_D, x0 + a, x0hat + a) / BPD_D / BPD_N;
      }
      total += vb;
      worst = fmax(worst, fabs(vb / golden_bpd[i].vb[t - 1] - 1));
      worst = fmax(worst, fabs(x0_mse / golden_bpd[i].x0_mse[t - 1] - 1));
      worst = fmax(worst, fabs(x0_mse * p.abar[t - 1] / p.nbar[t - 1] / golden_bpd[i].mse[t - 1] - 1));
    }
    const bool good = worst < 1e-5 && near(prior, golden_bpd[i].prior, 1e-5) && near(total + prior, golden_bpd[i].total, 1e-5);
    if (!good)
      printf("# %s %s clip %d: rows off by %.2g, total %.9g, not %.9g\n", golden_bpd[i].predict, golden_bpd[i].variance,
             golden_bpd[i].clip, worst, total + prior, golden_bpd[i].total);
    wrong += !good;
    dx_process_destroy(&p);
  }
  ok(!wrong && rows == 16, "calc_bpd_loop of %d networks: vb, xstart_mse, mse of every step, prior and total to 1e-5", rows);
}

/* The denoiser at any sigma: what it is given, what it says, its loss and gradient, against PyTorch. */
static void any_sigma(const dx_objective *base)
{
  const int rows = sizeof golden_edm / sizeof *golden_edm;
  const double one = 1;
  int wrong = 0;

  for (int i = 0; i < rows; i++) {
    dx_process p = *base->process;
    dx_objective o = *base;
    const dx_level level = dx_level_of_sigma(golden_edm[i].sigma);
    const int32_t t = (int32_t)dx_process_nearest(&p, level);
    float xt[EDM_D], x[EDM_D], out[EDM_D], gout[EDM_D], room[EDM_D];
    dx_terms found;

    p.sigma_data = golden_edm[i].sigma_data;
    o.process = &p;
    o.predict = dx_predict_find("edm");
    o.loss = dx_loss_find("edm");
    o.dim = EDM_D;
    dx_objective_noise(&o, 1, &level, edm_x0, edm_noise, xt);
    wrong += !near(dx_objective_input(&o, t, level, xt, x), golden_edm[i].c_noise, 1e-6);
    for (int j = 0; j < EDM_D; j++) out[j] = (float)golden_edm[i].out[j];
    dx_objective_loss(&o, 1, &t, &level, edm_x0, edm_noise, out, &one, &found, gout, room);
    wrong += !near(found.loss, golden_edm[i].loss, 2e-6);
    double square = 0;
    for (int j = 0; j < EDM_D; j++) {
      const dx_affine f = o.predict->at(&p, t - 1, level);
      const double off = golden_edm[i].denoised[j] - edm_x0[j];

      wrong += fabs(x[j] - golden_edm[i].c_in * (edm_x0[j] + golden_edm[i].sigma * edm_noise[j])) > 1e-6;
      wrong += fabs(f.x0_xt * xt[j] + f.x0_out * out[j] - golden_edm[i].denoised[j]) > 1e-6;
      wrong += fabs(gout[j] - golden_edm[i].grad[j]) > 2e-6;
      square += off * off / EDM_D;
    }
    wrong += !near(found.x0_mse, square, 1e-5) || !near(found.mse, square / (golden_edm[i].sigma * golden_edm[i].sigma), 1e-5);
  }
  ok(!wrong && rows == 18, "edm: %d rows of PyTorch: input, denoised, loss and gradient", rows);
}

/* Published: at sigma 1 and sigma_data 0.5, Karras et al. 2022, table 1. */
static void at_one(const dx_process *p)
{
  const dx_level level = dx_level_of_sigma(1);
  const dx_affine f = dx_predict_find("edm")->at(p, dx_process_nearest(p, level) - 1, level);
  const double a = sqrt(level.abar), skip = f.x0_xt * a, in = dx_edm_scale(p->sigma_data, level) * a;

  ok(near(skip, 0.2, 1e-9) && near(f.x0_out, 0.4472135955, 1e-9) && near(in, 0.894427191, 1e-9) && fabs(dx_edm_time(level)) < 1e-15 &&
         near(1 / (f.x0_out * f.x0_out), 5, 1e-9),
     "edm at sigma 1: c_skip %.10g, c_out %.10g, c_in %.10g", skip, f.x0_out, in);
}

/* The step whose log-SNR is nearest, by looking at all. */
static void nearest(const dx_process *p)
{
  int wrong = 0;

  for (double log_sigma = -9; log_sigma < 9; log_sigma += 0.01) {
    const int64_t found = dx_process_nearest(p, dx_level_of_sigma(exp(log_sigma)));
    int64_t best = 1;

    for (int64_t t = 2; t <= p->timesteps; t++)
      if (fabs(dx_process_log_snr(p, t) + 2 * log_sigma) < fabs(dx_process_log_snr(p, best) + 2 * log_sigma)) best = t;
    wrong += found != best;
  }
  ok(!wrong, "the nearest step of any sigma");
}

/* abar_T = 0: x0 and v still find x_0, the others are refused by key. */
static void from_nothing(const dx_objective_config *preset)
{
  const dx_process_config pc = {.schedule = "linear", .timesteps = T, .zero_terminal = true};
  dx_objective_config c = *preset;
  dx_process p;
  dx_error *e = try_process(&pc, DX_VARIANCE_LARGE, &p);

  ok(!e && p.abar[T - 1] == 0 && p.beta[T - 1] == 1, "zero_terminal: beta_T is 1");
  for (int i = 0; !e && dx_predict_at(i); i++) {
    const dx_predict *what = dx_predict_at(i);
    const bool may = what->from_nothing;

    snprintf(c.predict, sizeof c.predict, "%s", what->name);
    const char *key;
    dx_error *no = dx_objective_check(&c, &pc, &p, &key);
    ok(may ? !no : no && strstr(dx_error_text(no), "objective.predict is") && !strcmp(key, "objective.predict"), "%s with beta_T = 1: %s", what->name,
       no ? dx_error_text(no) : "allowed");
    const dx_affine last = what->at(&p, T - 1, dx_process_level(&p, T));
    if (may) ok(isfinite(last.x0_out) && isfinite(last.x0_xt), "and finds x_0");
    dx_error_free(no);
  }
  if (!e) dx_process_destroy(&p);
}

int main(void)
{
  static batch b;
  dx_kernels k;
  dx_process p = make(DX_VARIANCE_LARGE);
  dx_objective o = {.process = &p, .kernel = &k, .predict = dx_predict_find("noise"), .dim = D, .channels = 1,
                    .reverse = dx_reverse_find("fixed-large"), .loss = dx_loss_find("simple"), .decoder = {.variance = 1}};
  dx_objective_config c;

  dx_kernels_ref(&k);
  small = make(DX_VARIANCE_SMALL);
  large = make(DX_VARIANCE_LARGE);
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
  any_sigma(&o);
  at_one(&p);
  nearest(&p);
  from_nothing(&c);
  against_torch(&o);
  slopes(&o);
  bits_per_dimension(&o);
  estimates();
  refusals(&c);
  dx_process_destroy(&small);
  dx_process_destroy(&large);
  dx_process_destroy(&p);
  return done();
}
