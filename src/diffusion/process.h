/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/process.h - the Gaussian process of DDPM: coefficients and KL terms.

   t = 1..T as in the papers; arrays by t have T rows, row t - 1 belongs to t.
   All in double; cast at use. Ho et al. 2020, eq. 4-7. */
#ifndef DX_DIFFUSION_PROCESS_H
#define DX_DIFFUSION_PROCESS_H
#include <stdbool.h>
#include "base/error.h"
#include "base/option.h"
#include "diffusion/schedule.h"
#include "kernel/kernel.h"

/* process.*: common keys (those of the schedule follow). */
typedef struct {
  char schedule[32];
  int64_t timesteps;
  bool zero_terminal;         /* shift the schedule so that x_T keeps nothing of x_0 */
  char decoder_variance[16];  /* "auto" | "clipped" | "beta" | "optimal" | "learned" */
} dx_process_config;
extern const dx_option dx_process_options[];

typedef enum { DX_VARIANCE_SMALL, DX_VARIANCE_LARGE } dx_variance;

typedef struct {
  int64_t timesteps;
  double *beta, *abar, *abar_prev;  /* abar_prev[0] = 1 */
  double *nbar, *nbar_prev;         /* 1 - abar, 1 - abar_prev, summed so that small ones are exact */
  double *post_var;                 /* beta~_t, 0 at t = 1 */
  double *post_log;                 /* log beta~_t, clipped: row 0 takes row 1's */
  double *c1, *c2;                  /* mu~ = c1 x0 + c2 x_t */
  double *var, *log_var;            /* of p(x_{t-1} | x_t), the objective's choice; row 0: beta~_2 */
  double sigma_data;                /* deviation that EDM's preconditioning expects of x_0, the objective's choice; 0: none */
  double *memory;                   /* owns all of the above */
} dx_process;

/* Below this, 1 / sqrt(abar_t) and its square no longer fit float32 comfortably, and x_t is
   noise alone to every digit that we carry. Allowed for t = T alone, and not with every prediction. */
extern const double dx_abar_least;

/* variance: which reverse variance fills var. DX_E_CONFIG names the keys where T is below 2, a
   beta is out of bounds, or an x_t before x_T keeps nothing of x_0.  Local */
dx_error *dx_process_create(const dx_process_config *c, const dx_schedule *s,
                            const void *schedule_config, dx_variance variance,
                            dx_process *out) DX_MUST_CHECK;
/* The process of n >= 2 rising steps t of p (row i belongs to t[i]); of all steps it is p again, to the bit.  Local */
dx_error *dx_process_respace(const dx_process *p, int64_t n, const int64_t *t, dx_variance variance, dx_process *out) DX_MUST_CHECK;
void dx_process_destroy(dx_process *p);

/* log-SNR of step t: log(abar_t / (1 - abar_t)). */
double dx_process_log_snr(const dx_process *p, int64_t t);

/* Any amount of noise, of a step or between steps: x = sqrt(abar) x_0 + sqrt(nbar) eps, nbar = 1 - abar. */
typedef struct { double abar, nbar; } dx_level;
static inline dx_level dx_process_level(const dx_process *p, int64_t t) { return (dx_level){p->abar[t - 1], p->nbar[t - 1]}; }
/* Where sqrt(nbar / abar) is sigma, EDM's measure of noise. */
static inline dx_level dx_level_of_sigma(double sigma)
{
  return (dx_level){1 / (1 + sigma * sigma), sigma * sigma / (1 + sigma * sigma)};
}
/* The step whose log-SNR is nearest. */
int64_t dx_process_nearest(const dx_process *p, dx_level level);

/* KL(N(m1, e^l1) || N(m2, e^l2)) of one dimension, in nats. */
double dx_normal_kl(double m1, double l1, double m2, double l2);

/* How x_1 becomes x_0: a Gaussian of that variance around x0hat, in normalised units. Of
   real-valued data its density, with log_scale = log |scale| per dimension, so that nats refer to
   the data as they stand in the file; of 8-bit data its share of the value's cell. */
typedef struct { double variance, log_scale; bool bytes, learned; /* the network's variance, not this one */ } dx_decoder;
typedef enum { DX_DECODER_CLIPPED, DX_DECODER_BETA, DX_DECODER_OPTIMAL, DX_DECODER_LEARNED } dx_decoder_kind;
/* "auto" is the learned variance where there is one, else optimal for real-valued data, clipped for
   8-bit data (bytes). */
dx_decoder_kind dx_decoder_kind_of(const dx_process_config *c, bool bytes, bool learned);
/* The variance of kind; optimal: of the given mean squared error of x0 at t = 1; learned: beta~_2 stands in. */
double dx_decoder_variance(const dx_process *p, dx_decoder_kind kind, double x0_mse);

/* One term of the bound for one example, in nats, all dimensions summed, given
   x0_sq = sum of (x0 - x0hat)^2:
     t >= 2: KL(q(x_{t-1}|x_t,x0) || p) = D/2 (-1 + log_var - log beta~ + beta~/var) + c1^2 x0_sq / (2 var)
     t  = 1: -log N(x0; x0hat, decoder.variance) + D log_scale; not with d->bytes, see below */
double dx_process_vb(const dx_process *p, const dx_decoder *d, int64_t t, int64_t D, double x0_sq);
/* L_0 of one example of 8-bit data, in nats: -sum over its D numbers of log P(cell of x0), where
   x0 = v / 127.5 - 1 and the cell reaches 1/255 to both sides, at v = 0 and 255 to infinity. The
   Gaussian's distribution function is the tanh approximation of improved-diffusion, and
   probabilities below 1e-12 count as that. */
double dx_decoder_bytes(const dx_decoder *d, int64_t D, const float *x0, const float *x0hat);
/* The same of one number, whatever the data, with the derivatives by x0hat and by the log variance; where a
   probability counts as 1e-12 they are 0. */
double dx_decoder_number(const dx_decoder *d, double log_var, double x0, double x0hat, double *by_x0, double *by_log);
/* Its expectation when E (x0 - x0hat)^2 = v per dimension: for oracles. */
double dx_process_vb_expected(const dx_process *p, const dx_decoder *d, int64_t t, int64_t D, double v);
/* L_T = KL(q(x_T|x0) || N(0, I)) for one example with sum of squares x0_sq_norm (nats). */
double dx_process_prior(const dx_process *p, int64_t D, double x0_sq_norm);
#endif
