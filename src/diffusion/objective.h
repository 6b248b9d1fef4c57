/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/objective.h - what the network predicts and what its error costs. */
#ifndef DX_DIFFUSION_OBJECTIVE_H
#define DX_DIFFUSION_OBJECTIVE_H
#include <stdbool.h>
#include "base/option.h"
#include "diffusion/predict.h"
#include "diffusion/process.h"
#include "kernel/kernel.h"

/* objective.* */
typedef struct {
  char predict[16];
  char variance[16];  /* "fixed-small" | "fixed-large" */
  char loss[16];      /* "simple" */
} dx_objective_config;
extern const dx_option dx_objective_options[];

typedef struct {
  const dx_process *process;
  const dx_kernels *kernel;
  const dx_predict *predict;
  int64_t dim;             /* D */
  bool clip;               /* clip x0hat to [lo, hi] (normalised units) in evaluation and sampling */
  float lo, hi;
} dx_objective;

dx_variance dx_objective_variance(const dx_objective_config *c);
/* DX_E_CONFIG names the keys of objective and process that make no sense together.  Local */
dx_error *dx_objective_check(const dx_objective_config *c, const dx_process_config *pc,
                             const dx_process *p) DX_MUST_CHECK;

/* Per example; all in double. */
typedef struct {
  double loss;    /* what training minimises: simple: mean over D of (target - out)^2 */
  double mse;     /* mean over D of (eps - epshat)^2 */
  double x0_mse;  /* mean over D of (x0 - x0hat)^2, unclipped */
} dx_terms;

/* n examples of D floats, t[i] in 1..T, no buffer twice:
   xt = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps.  Local */
void dx_objective_noise(const dx_objective *o, int64_t n, const int32_t *t, const float *x0,
                        const float *eps, float *xt);
/* Terms of each example, and gout (n, D) = weight x d loss / d out: weight is 1 / batch; gout NULL:
   none wanted, else it may be out. room: D floats of scratch.  Local */
void dx_objective_loss(const dx_objective *o, int64_t n, const int32_t *t, const float *x0,
                       const float *eps, const float *out, float weight, dx_terms *terms, float *gout,
                       float *room);
/* x0hat (n, D) of the network's output, clipped if o->clip. x0hat may be out.  Local */
void dx_objective_x0(const dx_objective *o, int64_t n, const int32_t *t, const float *xt,
                     const float *out, float *x0hat);
#endif
