/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/objective.h - what the network predicts and what its error costs.

   A network's output has width numbers for each number of a sample, 1 or, with a learned variance, 2:
   the channels of a pixel are its C predictions and then its C numbers of the variance. */
#ifndef DX_DIFFUSION_OBJECTIVE_H
#define DX_DIFFUSION_OBJECTIVE_H
#include <stdbool.h>
#include "base/option.h"
#include "diffusion/loss.h"
#include "diffusion/predict.h"
#include "diffusion/process.h"
#include "diffusion/variance.h"
#include "kernel/kernel.h"

/* objective.*: common keys (those of the loss follow). */
typedef struct {
  char predict[16], variance[16], loss[16];
  int64_t variance_examples;
} dx_objective_config;
extern const dx_option dx_objective_options[];

typedef struct {
  const dx_process *process;
  const dx_kernels *kernel;
  const dx_predict *predict;
  const dx_reverse *reverse;
  const dx_loss *loss;
  const void *loss_config;
  dx_decoder decoder;      /* of training */
  int64_t dim, channels;   /* D; C, read with a learned variance alone */
  bool clip;               /* clip x0hat to [lo, hi] (normalised units) in evaluation and sampling */
  float lo, hi;
} dx_objective;

/* DX_E_CONFIG names the keys of objective and process that make no sense together; *key is the first of them.  Local */
dx_error *dx_objective_check(const dx_objective_config *c, const dx_process_config *pc,
                             const dx_process *p, const char **key) DX_MUST_CHECK;
static inline int64_t dx_objective_width(const dx_objective *o) { return o->reverse->line ? 2 : 1; }

/* Per example; all in double. */
typedef struct {
  double loss;    /* what training minimises */
  double mse;     /* mean over D of (eps - epshat)^2 */
  double x0_mse;  /* mean over D of (x0 - x0hat)^2, unclipped */
  double vb;      /* the term of the bound, nats, x0hat unclipped; 0 where the variance is estimated: not known yet */
} dx_terms;

/* Of step t in 1..T. */
dx_level dx_objective_level(const dx_objective *o, int32_t t);
/* n examples of D floats, no buffer twice: xt = sqrt(abar) x0 + sqrt(nbar) eps.  Local */
void dx_objective_noise(const dx_objective *o, int64_t n, const dx_level *level, const float *x0, const float *eps, float *xt);
/* What a network is given of one example: its time, returned, and, where the prediction is preconditioned, x (D), which
   may be xt; else x is left alone, for xt is given as it is.  Local */
float dx_objective_input(const dx_objective *o, int32_t t, dx_level level, const float *xt, float *x);
/* Terms of each example, noised to its level, whose nearest step is t (predictions that are not preconditioned know steps
   alone, and vb is always that of the step); and gout (n, width D) = weight[i] x d loss / d out; gout NULL: none wanted, else
   it may be out. room: D floats of scratch.  Local */
void dx_objective_loss(const dx_objective *o, int64_t n, const int32_t *t, const dx_level *level, const float *x0,
                       const float *eps, const float *out, const double *weight, dx_terms *terms, float *gout,
                       float *room);
/* Log variances (n, D) that the network's output has learned.  Local */
void dx_objective_log_var(const dx_objective *o, int64_t n, const int32_t *t, const float *out, float *log_var);
/* x0hat (n, D) of the network's output, clipped if o->clip; level as in dx_objective_loss, or NULL: those of the steps.
   x0hat may be out.  Local */
void dx_objective_x0(const dx_objective *o, int64_t n, const int32_t *t, const dx_level *level, const float *xt,
                     const float *out, float *x0hat);
/* The term of the bound of one example, in nats; log_var (D): the learned ones, else NULL.  Local */
double dx_objective_vb(const dx_objective *o, const dx_decoder *d, int32_t t, const float *x0, const float *x0hat,
                       const float *log_var);
/* The output (n, width D) of a network that says this: what its loss calls target, and the log variances.  Local */
void dx_objective_join(const dx_objective *o, int64_t n, const int32_t *t, const float *target, const float *log_var,
                       float *out);
#endif
