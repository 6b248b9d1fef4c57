/* SPDX-License-Identifier: Apache-2.0 */
/* tests/exact.c - the Bayes-optimal predictor and its closed forms. */
#include "diffusion/exact.h"
#include "diffusion/objective.h"
#include "golden/diffusion.h"
#include "make_process.h"
#include "near.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static dx_kernels kernel;

#define COUNT(array) (sizeof(array) / sizeof *(array))

static dx_exact *must(const dx_mixture *m, double shift, double scale, const dx_process *p)
{
  dx_exact *x;
  dx_error *e = dx_exact_create(m, shift, scale, p, &x);

  if (!e) return x;
  printf("Bail out! %s\n", dx_error_text(e));
  exit(1);
}

static void predicts(const dx_process *p)
{
  static const double weight[] = {0.25, 0.625, 0.125}, mean[] = {1, -2, -1, 0, 3, 0.5},
                      sigma[] = {0.5, 0.125, 1};
  const dx_mixture m = {.count = 3, .dim = 2, .weight = weight, .mean = mean, .sigma = sigma};
  dx_exact *x = must(&m, 0.5, 2, p);
  enum { N = COUNT(golden_predict) };
  float xt[2 * N], out[2 * N], one[2 * N];
  int32_t t[N];
  int wrong = 0;

  for (int i = 0; i < N; i++) {
    t[i] = golden_predict[i].t;
    for (int j = 0; j < 2; j++) xt[2 * i + j] = (float)golden_predict[i].x[j];
  }
  dx_exact_predict(x, dx_predict_find("noise"), N, t, NULL, xt, out, NULL);
  for (int i = 0; i < 2 * N; i++) wrong += !near(out[i], golden_predict[i / 2].eps[i % 2], 1.2e-7);
  ok(!wrong, "a mixture of three in the plane, seen through shift and scale: %d predictions", (int)N);
  for (int i = N - 1; i >= 0; i--) dx_exact_predict(x, dx_predict_find("noise"), 1, t + i, NULL, xt + 2 * i, one + 2 * i, NULL);
  ok(!memcmp(out, one, sizeof out), "bits do not depend on the grain");
  ok(near(dx_exact_mixture_second_moment(dx_exact_mixture(x)), 0.54541015625, 1e-15),
     "second moment in normalised units");
  dx_exact_destroy(x);
}

/* E[eps | x_t] = b (x_t - a m) / (a^2 s^2 + b^2); far out the exponentials underflow. */
static void gaussian(const dx_process *p)
{
  static const double weight[] = {1}, mean[] = {0.3, 0.3, 0.3}, sigma[] = {0.5};
  const dx_mixture m = {.count = 1, .dim = 3, .weight = weight, .mean = mean, .sigma = sigma};
  dx_exact *x = must(&m, 0, 1, p);
  const int32_t t[] = {40};
  const double abar = p->abar[39], a = sqrt(abar), b = sqrt(1 - abar);
  const float xt[3] = {1, -300, 3e5f};
  float out[3];
  int wrong = 0;

  dx_exact_predict(x, dx_predict_find("noise"), 1, t, NULL, xt, out, NULL);
  for (int j = 0; j < 3; j++)
    wrong += !near(out[j], b * (xt[j] - a * 0.3) / (abar * 0.25 + 1 - abar), 1e-7);
  ok(!wrong, "a Gaussian is a mixture of one, far away too");
  dx_exact_destroy(x);
}

static void quadrature(const dx_process *p)
{
  static const double weight[] = {0.2, 0.5, 0.3}, mean[] = {-1.5, 0.25, 2}, sigma[] = {0.3, 0.05, 0.6},
                      half[] = {.5, .5};
  const dx_mixture m = {.count = 3, .dim = 1, .weight = weight, .mean = mean, .sigma = sigma};
  const dx_mixture twin = {
      .count = 2, .dim = 1, .weight = half, .mean = (double[]){0.4, 0.4}, .sigma = (double[]){.7, .7}};

  for (size_t i = 0; i < COUNT(golden_mixture); i++) {
    const int t = golden_mixture[i].t;
    const double found = t ? dx_exact_mixture_mse(p, t, &m) : dx_exact_mixture_entropy(&m);

    ok(near(found, golden_mixture[i].value, 1e-11), "uneven mixture: %s, t = %d, %.15g",
       t ? "error of x_0" : "entropy", t, found);
  }
  ok(near(dx_exact_mixture_mse(p, 300, &twin), dx_exact_gaussian_mse(p, 300, 0.49), 1e-13),
     "two equal modes are a Gaussian");
  ok(near(dx_exact_mixture_entropy(&twin), 0.5 * log(2 * M_PI * M_E * 0.49), 1e-13),
     "and have its entropy");
}

/* Modes +-1, s = .1, linear with 1000 steps, optimal variance. */
static void bound(dx_process *p)
{
  const dx_mixture m = {.count = 2,
                        .dim = 1,
                        .weight = (double[]){.5, .5},
                        .mean = (double[]){-1, 1},
                        .sigma = (double[]){.1, .1}};
  const dx_decoder d = {.variance = dx_exact_mixture_mse(p, 1, &m)};
  double total = dx_process_prior(p, 1, dx_exact_mixture_second_moment(&m));

  for (int64_t t = 1; t <= 1000; t++) {
    const double v = dx_exact_mixture_mse(p, t, &m);

    p->var[t - 1] = p->post_var[t - 1] + p->c1[t - 1] * p->c1[t - 1] * v;
    p->log_var[t - 1] = log(p->var[t - 1]);
    total += dx_process_vb_expected(p, &d, t, 1, v);
  }
  ok(fabs(total / log(2) + 0.27003684) < 1e-8, "two modes: bound %.10f bits/dim", total / log(2));
  ok(fabs(dx_exact_mixture_entropy(&m) / log(2) + 0.27483251) < 1e-8, "two modes: entropy");
}

/* Two modes in one dimension, by their own formulas: density of x_t, and mean and variance of x_0 given x_t. */
static double posterior(double abar, double x, double *mean, double *var)
{
  const double a = sqrt(abar), nbar = 1 - abar, s2 = 0.01, v = abar * s2 + nbar;
  double p[2], m[2];

  for (int k = 0; k < 2; k++) {
    const double mu = k ? 1 : -1;

    p[k] = 0.5 * exp(-(x - a * mu) * (x - a * mu) / (2 * v)) / sqrt(2 * M_PI * v);
    m[k] = mu + a * s2 / v * (x - a * mu);
  }
  *mean = (p[0] * m[0] + p[1] * m[1]) / (p[0] + p[1]);
  *var = s2 * nbar / v + (p[0] * (m[0] - *mean) * (m[0] - *mean) + p[1] * (m[1] - *mean) * (m[1] - *mean)) / (p[0] + p[1]);
  return p[0] + p[1];
}

/* E L_{t-1} by quadrature over x_t: as the program computes it from the exact predictor's output, x_0 at its mean
   and one deviation to each side, since the term is a parabola in x_0; and from the formulas. */
static void expectations(const dx_process *p, const dx_predict *predict, const dx_reverse *reverse)
{
  static const int32_t steps[] = {3, 30, 300, 700};
  const dx_mixture m = {.count = 2, .dim = 1, .weight = (double[]){.5, .5}, .mean = (double[]){-1, 1}, .sigma = (double[]){.1, .1}};
  const dx_objective o = {.process = p, .kernel = &kernel, .predict = predict, .reverse = reverse, .dim = 1, .channels = 1};
  const dx_decoder none = {.variance = 1};
  dx_exact *x = must(&m, 0, 1, p);
  double worst = 0;

  for (size_t i = 0; i < COUNT(steps); i++) {
    const int32_t t = steps[i];
    const double abar = p->abar[t - 1], step = 0x1p-10, last = 1.5 + 8 * sqrt(1 - abar);
    const double best = dx_reverse_best(p, t - 1, dx_exact_mixture_mse(p, t, &m));
    double found = 0, expected = 0;

    for (double at = -last - fmod(last, step); at < last; at += step) {
      const float xt = (float)at;
      float out[2], target, var, x0hat, log_var;
      double mean, spread;
      const double density = posterior(abar, at, &mean, &spread);
      const double sigma2 = reverse->line ? dx_reverse_best(p, t - 1, spread) : p->var[t - 1];

      if (density < 1e-30) continue;
      dx_exact_predict(x, predict, 1, &t, NULL, &xt, &target, &var);
      out[0] = target;
      log_var = (float)log(dx_reverse_best(p, t - 1, var));
      if (reverse->line) {
        dx_objective_join(&o, 1, &t, &target, &log_var, out);
        dx_objective_log_var(&o, 1, &t, out, &log_var);
      }
      dx_objective_x0(&o, 1, &t, NULL, &xt, out, &x0hat);
      for (int side = -1; side <= 1; side += 2) {
        const float x0 = (float)(mean + side * sqrt(spread));

        found += 0.5 * step * density * dx_objective_vb(&o, &none, t, &x0, &x0hat, reverse->line ? &log_var : NULL);
      }
      expected += step * density * 0.5 * (log(sigma2 / p->post_var[t - 1]) - 1 + (p->post_var[t - 1] + p->c1[t - 1] * p->c1[t - 1] * spread) / sigma2);
    }
    worst = fmax(worst, fabs(found - expected) / log(2));
    /* the mean over x_t of the formula is the one with v_t, which mpmath's quadrature has confirmed */
    if (!reverse->line)
      worst = fmax(worst, fabs(expected - dx_process_vb_expected(p, &none, t, 1, dx_exact_mixture_mse(p, t, &m))) / log(2));
    else if (!(expected <= 0.5 * log(best / p->post_var[t - 1]) + 1e-12)) worst = 1; /* one variance for all is no better */
  }
  ok(worst < 1e-6, "two modes, %s, %s: expected terms to %.1e bits", predict->name, reverse->name, worst);
  dx_exact_destroy(x);
}

static void refused(dx_mixture m, const dx_process *p, const char *words)
{
  dx_exact *x = NULL;
  dx_error *e = dx_exact_create(&m, 0, 1, p, &x);

  ok(e && !x && dx_error_code(e) == DX_E_CONFIG && strstr(dx_error_text(e), words), "refused: %s",
     words);
  dx_error_free(e);
}

int main(void)
{
  static const double one[] = {1}, zero[] = {0};
  dx_process p = process_of("linear", 1000, DX_VARIANCE_LARGE);

  p.sigma_data = 0.5;
  predicts(&p);
  gaussian(&p);
  quadrature(&p);
  refused((dx_mixture){0}, &p, "no Gaussian mixture");
  refused((dx_mixture){.count = 1, .dim = 1, .weight = one, .mean = one, .sigma = zero}, &p, "sigma 0");
  refused((dx_mixture){.count = DX_EXACT_COMPONENTS_MAX + 1, .dim = 1}, &p, "1025 components");
  dx_kernels_ref(&kernel);
  for (int i = 0; dx_predict_at(i); i++)
    for (int j = 0; dx_reverse_at(j); j++)
      if (dx_reverse_at(j)->fixed == DX_VARIANCE_LARGE && !dx_reverse_at(j)->estimate)
        expectations(&p, dx_predict_at(i), dx_reverse_at(j));
  bound(&p);
  dx_exact_destroy(NULL);
  dx_process_destroy(&p);
  return done();
}
