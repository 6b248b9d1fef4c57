/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/exact.c - what a perfect network would say about a Gaussian mixture.

   With x_t = a x_0 + b eps, a^2 = abar_t, b^2 = 1 - abar_t, component k becomes
   N(a mu_k, v_k I), v_k = a^2 s_k^2 + b^2, and with its weight r_k given x_t (a log-sum-exp)

     E[eps | x_t] = sum_k r_k b (x_t - a mu_k) / v_k
     E[x_0 | x_t] = sum_k r_k m_k,  m_k = mu_k + a s_k^2 / v_k (x_t - a mu_k)
     Var[x_0 | x_t] = sum_k r_k (s_k^2 b^2 / v_k + (m_k - E[x_0 | x_t])^2)   (of each dimension)

   and what else a network may predict is a sum of these two expectations. */
#include "diffusion/exact.h"

#include "base/math.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

struct dx_exact {
  dx_mixture m; /* normalised units; its arrays stand in memory */
  const dx_process *process;
  double *log_weight;
  double memory[];
};

static dx_error *check(const dx_mixture *m)
{
  if (m->count < 1 || m->dim < 1)
    return DX_FAIL(CONFIG, "model.kind is exact, but the density of this dataset is no Gaussian mixture");
  if (m->count > DX_EXACT_COMPONENTS_MAX)
    return DX_FAIL(CONFIG, "a mixture of %lld components; allowed for model.kind exact: at most %d",
                   (long long)m->count, DX_EXACT_COMPONENTS_MAX);
  for (int64_t k = 0; k < m->count; k++)
    if (!(m->sigma[k] > 0 && m->weight[k] > 0))
      return DX_FAIL(CONFIG, "component %lld of the mixture has weight %g and sigma %g; allowed: above 0",
                     (long long)(k + 1), m->weight[k], m->sigma[k]);
  return NULL;
}

dx_error *dx_exact_create(const dx_mixture *m, double shift, double scale, const dx_process *p,
                          dx_exact **out)
{
  double *weight, *mean, *sigma;
  dx_exact *e;

  DX_TRY(check(m));
  e = malloc(sizeof *e + (size_t)(m->count * (m->dim + 3)) * sizeof(double));
  if (!e) return DX_FAIL(INTERNAL, "no memory for a mixture of %lld components", (long long)m->count);
  weight = e->memory;
  sigma = weight + m->count;
  e->log_weight = sigma + m->count;
  mean = e->log_weight + m->count;
  for (int64_t k = 0; k < m->count; k++) {
    weight[k] = m->weight[k];
    sigma[k] = m->sigma[k] / fabs(scale);
    e->log_weight[k] = dx_log(m->weight[k]);
  }
  for (int64_t i = 0; i < m->count * m->dim; i++) mean[i] = (m->mean[i] - shift) / scale;
  e->m = (dx_mixture){.count = m->count, .dim = m->dim, .weight = weight, .mean = mean, .sigma = sigma};
  e->process = p;
  *out = e;
  return NULL;
}

void dx_exact_destroy(dx_exact *e) { free(e); }

const dx_mixture *dx_exact_mixture(const dx_exact *e) { return &e->m; }

/* Logarithms of unnormalised weights to weights that sum to 1; returns the log of the sum. */
static double normalise(int64_t count, double *r)
{
  double largest = r[0], sum = 0;

  for (int64_t k = 1; k < count; k++)
    if (r[k] > largest) largest = r[k];
  for (int64_t k = 0; k < count; k++) sum += r[k] = dx_exp(r[k] - largest);
  for (int64_t k = 0; k < count; k++) r[k] /= sum;
  return largest + dx_log(sum);
}

/* Weights r of the components given x_t. */
static void weigh(const dx_exact *e, double abar, double nbar, const float *xt, double *r)
{
  const dx_mixture *m = &e->m;
  const double a = sqrt(abar);

  for (int64_t k = 0; k < m->count; k++) {
    const double v = abar * m->sigma[k] * m->sigma[k] + nbar;
    double distance = 0;

    for (int64_t j = 0; j < m->dim; j++) {
      const double d = xt[j] - a * m->mean[k * m->dim + j];

      distance += d * d;
    }
    r[k] = e->log_weight[k] - 0.5 * ((double)m->dim * dx_log(v) + distance / v);
  }
  normalise(m->count, r);
}

/* E[x_0 | x_t] - mu_k of component k alone, where x_t = x in dimension j: a s^2 / v (x_t - a mu). */
static double shift_of(const dx_mixture *m, double abar, double nbar, int64_t k, int64_t j, double x)
{
  const double a = sqrt(abar), s2 = m->sigma[k] * m->sigma[k];

  return a * s2 / (abar * s2 + nbar) * (x - a * m->mean[k * m->dim + j]);
}

static void predict_one(const dx_exact *e, const dx_predict *what, int64_t row, dx_level level, const float *xt, float *out,
                        float *var)
{
  const dx_mixture *m = &e->m;
  const double abar = level.abar, nbar = level.nbar, a = sqrt(abar), b = sqrt(nbar);
  const dx_affine f = what->at(e->process, row, level);
  double r[DX_EXACT_COMPONENTS_MAX];

  weigh(e, abar, nbar, xt, r);
  for (int64_t j = 0; j < m->dim; j++) {
    double eps = 0, x0 = 0, square = 0;

    for (int64_t k = 0; k < m->count; k++) {
      eps += r[k] * (b / (abar * m->sigma[k] * m->sigma[k] + nbar)) * (xt[j] - a * m->mean[k * m->dim + j]);
      x0 += r[k] * (m->mean[k * m->dim + j] + shift_of(m, abar, nbar, k, j, xt[j]));
    }
    out[j] = (float)(f.of_x0 * x0 + f.of_eps * eps);
    for (int64_t k = 0; var && k < m->count; k++) {
      const double s2 = m->sigma[k] * m->sigma[k], v = abar * s2 + nbar;
      const double d = m->mean[k * m->dim + j] + shift_of(m, abar, nbar, k, j, xt[j]) - x0;

      square += r[k] * (s2 * nbar / v + d * d);
    }
    if (var) var[j] = (float)square;
  }
}

void dx_exact_predict(const dx_exact *e, const dx_predict *what, int64_t n, const int32_t *t, const dx_level *level,
                      const float *xt, float *out, float *var)
{
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = i * e->m.dim;

    assert(t[i] >= 1 && t[i] <= e->process->timesteps);
    predict_one(e, what, t[i] - 1, level ? level[i] : dx_process_level(e->process, t[i]), xt + at, out + at, var ? var + at : NULL);
  }
}

double dx_exact_gaussian_mse(const dx_process *p, int64_t t, double s2)
{
  assert(t >= 1 && t <= p->timesteps);
  return s2 * p->nbar[t - 1] / (p->abar[t - 1] * s2 + p->nbar[t - 1]);
}

/* A 1-D mixture seen through x = a x_0 + b eps; what integrands take. */
typedef struct {
  const dx_mixture *m;
  double abar, nbar;
} view;

static double view_variance(const view *w, int64_t k)
{ return w->abar * w->m->sigma[k] * w->m->sigma[k] + w->nbar; }

/* log p(x); r becomes the weights of the components given x. */
static double log_density(const view *w, double x, double *r)
{
  const double a = sqrt(w->abar), log_2pi = 1.8378770664093455;

  for (int64_t k = 0; k < w->m->count; k++) {
    const double v = view_variance(w, k), d = x - a * w->m->mean[k];

    r[k] = dx_log(w->m->weight[k]) - 0.5 * (log_2pi + dx_log(v) + d * d / v);
  }
  return normalise(w->m->count, r);
}

static double density_times_variance(const view *w, double x)
{
  const double a = sqrt(w->abar);
  double r[DX_EXACT_COMPONENTS_MAX], mean = 0, square = 0, within = 0;
  const double p = dx_exp(log_density(w, x, r));

  for (int64_t k = 0; k < w->m->count; k++) {
    const double s2 = w->m->sigma[k] * w->m->sigma[k], v = view_variance(w, k);

    within += r[k] * (s2 * w->nbar / v);
    mean += r[k] * (w->m->mean[k] + a * s2 / v * (x - a * w->m->mean[k]));
  }
  for (int64_t k = 0; k < w->m->count; k++) {
    const double s2 = w->m->sigma[k] * w->m->sigma[k], v = view_variance(w, k);
    const double d = w->m->mean[k] + a * s2 / v * (x - a * w->m->mean[k]) - mean;

    square += r[k] * d * d;
  }
  return p * (within + square);
}

static double minus_density_log_density(const view *w, double x)
{
  double r[DX_EXACT_COMPONENTS_MAX];
  const double l = log_density(w, x, r);

  return -l * dx_exp(l);
}

static double smaller(double x, double y) { return x < y ? x : y; }

/* The trapezoid rule on the whole line, which converges exponentially for functions without
   poles near it. Integrands have poles where components weigh alike, v / (distance of the
   modes) away from the line; beyond 20 widths of distance the density there is below e^-50. */
static double integrate(const view *w, double (*f)(const view *, double))
{
  const double a = sqrt(w->abar);
  double lowest = INFINITY, highest = -INFINITY, first = INFINITY, last = -INFINITY, width = INFINITY;
  double step, sum = 0;
  int64_t points;

  assert(w->m->dim == 1 && w->m->count >= 1 && w->m->count <= DX_EXACT_COMPONENTS_MAX);
  for (int64_t k = 0; k < w->m->count; k++) {
    const double s = sqrt(view_variance(w, k)), mean = a * w->m->mean[k];

    lowest = smaller(lowest, mean);
    highest = -smaller(-highest, -mean);
    first = smaller(first, mean - 12 * s);
    last = -smaller(-last, -mean - 12 * s);
    width = smaller(width, s);
  }
  step = 0.5 * width / (1 + smaller((highest - lowest) / width, 20));
  points = (int64_t)((last - first) / step) + 1;
  for (int64_t i = 0; i <= points; i++) sum += f(w, first + (double)i * step);
  return sum * step;
}

double dx_exact_mixture_mse(const dx_process *p, int64_t t, const dx_mixture *m)
{
  assert(t >= 1 && t <= p->timesteps);
  return integrate(&(view){m, p->abar[t - 1], p->nbar[t - 1]}, density_times_variance);
}

double dx_exact_mixture_entropy(const dx_mixture *m)
{
  return integrate(&(view){m, 1, 0}, minus_density_log_density);
}

double dx_exact_mixture_second_moment(const dx_mixture *m)
{
  double sum = 0;

  for (int64_t k = 0; k < m->count; k++) {
    double square = 0;

    for (int64_t j = 0; j < m->dim; j++) square += m->mean[k * m->dim + j] * m->mean[k * m->dim + j];
    sum += m->weight[k] * (square / (double)m->dim + m->sigma[k] * m->sigma[k]);
  }
  return sum;
}
