/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/times.c - the list of ways to draw t: a function and a row each. u is a uniform number of the
   example's place, B the batch.

     uniform     t = 1 + floor(u T)
     stratified  t = 1 + floor((place + u) T / B): one example in each of B equal parts
     antithetic  t = 1 + floor(T ((u_0 + place / B) mod 1)): one u_0 for the batch (Kingma et al. 2021, appendix I.1)
     importance  P(t) = 0.999 w_t / sum w + 0.001 / T, w_t = sqrt(mean of the last 10 squared losses of t), or 1 for all until
                 every t has 10; weight 1 / (T P(t)) (Nichol & Dhariwal 2021, eq. 18, and their LossSecondMomentResampler)
     log-normal  ln sigma ~ N(sigma_mean, sigma_std^2), any real sigma (Karras et al. 2022, table 1) */
#include "diffusion/times.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/random.h"

dx_error *dx_history_create(int64_t T, dx_history *out)
{
  dx_history h = {.timesteps = T};

  h.count = calloc((size_t)T, sizeof *h.count);
  h.loss = calloc((size_t)(T * DX_HISTORY), sizeof *h.loss);
  h.chance = calloc((size_t)T, sizeof *h.chance);
  h.below = calloc((size_t)T, sizeof *h.below);
  if (!h.count || !h.loss || !h.chance || !h.below) {
    dx_history_destroy(&h);
    return DX_FAIL(INTERNAL, "no memory for the losses of %lld timesteps", (long long)T);
  }
  dx_history_weigh(&h);
  *out = h;
  return NULL;
}

void dx_history_destroy(dx_history *h)
{
  free(h->count);
  free(h->loss);
  free(h->chance);
  free(h->below);
  *h = (dx_history){0};
}

void dx_history_add(dx_history *h, int64_t t, double loss)
{
  double *const own = h->loss + (t - 1) * DX_HISTORY;
  int64_t *const n = &h->count[t - 1];

  if (*n == DX_HISTORY) memmove(own, own + 1, (DX_HISTORY - 1) * sizeof *own);
  else ++*n;
  own[*n - 1] = loss;
}

static bool all_full(const dx_history *h)
{
  for (int64_t i = 0; i < h->timesteps; i++)
    if (h->count[i] < DX_HISTORY) return false;
  return true;
}

void dx_history_weigh(dx_history *h)
{
  const double T = (double)h->timesteps, even = 0.001;
  const bool full = all_full(h);
  double sum = 0, below = 0;

  for (int64_t i = 0; i < h->timesteps; i++) {
    const double *const own = h->loss + i * DX_HISTORY;
    double square = 0;

    for (int k = 0; k < DX_HISTORY; k++) square += own[k] * own[k];
    h->chance[i] = full ? sqrt(square / DX_HISTORY) : 1;
    sum += h->chance[i];
  }
  for (int64_t i = 0; i < h->timesteps; i++) {
    /* all losses 0: then no t is worth more than another */
    h->chance[i] = full && sum > 0 ? (1 - even) * (h->chance[i] / sum) + even / T : 1 / T;
    h->below[i] = below;
    below += h->chance[i];
  }
}

static dx_stream stream_of(const dx_lot *l, int64_t place)
{
  return (dx_stream){.seed = l->seed, .purpose = DX_FOR_TIME, .step = (uint64_t)l->step, .index = (uint64_t)place};
}

static uint32_t word_of(const dx_lot *l, int64_t place)
{
  const dx_stream s = stream_of(l, place);
  uint32_t word[4];

  dx_stream_words(&s, 0, word);
  return word[0];
}

/* u in [0, 1] to t; rounding may reach 1. */
static int32_t t_of(const dx_lot *l, double u)
{
  const int64_t i = (int64_t)(u * (double)l->timesteps);

  return (int32_t)(1 + (i < l->timesteps ? i : l->timesteps - 1));
}

static int32_t uniform(const dx_lot *l, int64_t place, double *weight)
{
  *weight = 1;
  return 1 + (int32_t)dx_below(word_of(l, place), (uint32_t)l->timesteps);
}

static int32_t stratified(const dx_lot *l, int64_t place, double *weight)
{
  *weight = 1;
  return t_of(l, ((double)place + dx_uniform(word_of(l, place))) / (double)l->batch);
}

static int32_t antithetic(const dx_lot *l, int64_t place, double *weight)
{
  const double u = dx_uniform(word_of(l, 0)) + (double)place / (double)l->batch;

  *weight = 1;
  return t_of(l, u < 1 ? u : u - 1);
}

/* The last t with at most u below it. */
static int32_t importance(const dx_lot *l, int64_t place, double *weight)
{
  const dx_history *const h = l->history;
  const double u = dx_uniform(word_of(l, place));
  int64_t lo = 0, hi = h->timesteps; /* below[lo] <= u */

  while (hi - lo > 1) {
    const int64_t middle = lo + (hi - lo) / 2;

    if (h->below[middle] <= u) lo = middle;
    else hi = middle;
  }
  *weight = 1 / ((double)h->timesteps * h->chance[lo]);
  return (int32_t)(1 + lo);
}

static double log_normal(const dx_lot *l, int64_t place)
{
  const dx_stream s = stream_of(l, place);
  double z;

  dx_stream_normals(&s, 1, &z);
  return dx_exp(l->sigma_mean + l->sigma_std * z);
}

static const dx_times all[] = {
  {"uniform", "every t alike, each example by itself (Ho et al. 2020)", false, uniform, NULL},
  {"stratified", "one example in each of as many equal parts as the batch has examples", false, stratified, NULL},
  {"antithetic", "evenly spaced over the batch from one random start (Kingma et al. 2021)", false, antithetic, NULL},
  {"importance", "by the last losses of each t, with weights (Nichol and Dhariwal 2021)", true, importance, NULL},
  {"log-normal", "any sigma, ln sigma normal, with objective.loss edm (Karras et al. 2022)", false, NULL, log_normal},
};
enum { COUNT = sizeof all / sizeof *all };

const dx_times *dx_times_find(const char *name)
{
  for (int i = 0; i < COUNT; i++)
    if (!strcmp(all[i].name, name)) return &all[i];
  return NULL;
}

const dx_times *dx_times_at(int i) { return i >= 0 && i < COUNT ? &all[i] : NULL; }
