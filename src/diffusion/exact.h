/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/exact.h - the Bayes-optimal prediction where the density is a Gaussian mixture,
   and the closed forms that go with it. A Gaussian is a mixture of one component. */
#ifndef DX_DIFFUSION_EXACT_H
#define DX_DIFFUSION_EXACT_H
#include "base/error.h"
#include "base/mixture.h"
#include "diffusion/predict.h"
#include "diffusion/process.h"

enum { DX_EXACT_COMPONENTS_MAX = 1024 };

typedef struct dx_exact dx_exact;

/* mixture in data units (copied), the process sees (x - shift) / scale; p must live as long.
   DX_E_CONFIG for no component or more than DX_EXACT_COMPONENTS_MAX, or a sigma that is
   not above 0.  Local */
dx_error *dx_exact_create(const dx_mixture *m, double shift, double scale, const dx_process *p,
                          dx_exact **out) DX_MUST_CHECK;
void dx_exact_destroy(dx_exact *e); /* NULL is fine */
/* out (n, D) = E[target | x_t] in normalised units, t[i] in 1..T: what a network that predicts `what`
   would say; level (n), or NULL: those of the steps; var (n, D), or NULL: Var[x_0 | x_t] of each number. Any thread, no
   state, equal bits in any grain.  Local */
void dx_exact_predict(const dx_exact *e, const dx_predict *what, int64_t n, const int32_t *t, const dx_level *level,
                      const float *xt, float *out, float *var);
/* The mixture in normalised units; owned by e. */
const dx_mixture *dx_exact_mixture(const dx_exact *e);

/* E (x0 - E[x0|x_t])^2 per dimension for Gaussian data N(m, s^2 I):
   s^2 (1 - abar) / (abar s^2 + 1 - abar). */
double dx_exact_gaussian_mse(const dx_process *p, int64_t t, double s2);
/* The same for a 1-D mixture in normalised units, by quadrature. */
double dx_exact_mixture_mse(const dx_process *p, int64_t t, const dx_mixture *m);
/* Differential entropy of a mixture of 1 dimension by quadrature, in nats. */
double dx_exact_mixture_entropy(const dx_mixture *m);
/* E x^2 per dimension, for the prior term. */
double dx_exact_mixture_second_moment(const dx_mixture *m);
#endif
