/* SPDX-License-Identifier: Apache-2.0 */
/* train/estimate.h - variances that follow from a network's errors on the training split. */
#ifndef DX_TRAIN_ESTIMATE_H
#define DX_TRAIN_ESTIMATE_H
#include "train/sweep.h"

/* Forward passes of one example that the two estimates of an evaluation take.  Local */
int64_t dx_estimate_forwards(const dx_problem *p);

/* The decoder's variance; where it is to be optimal, from the training split at t = 1.  Collective */
dx_error *dx_estimate_decoder(dx_problem *p, const dx_predictor *predictor, const dx_patience *wait, double *out) DX_MUST_CHECK;

/* Where objective.variance is estimated: the variances of t >= 2 for these weights and their user; else nothing. Samplers have
   p->process, and clip x0hat to the range that the data declare; evaluations have p->grid, and clip as evaluate.clip says. The
   predictor must be made ready again.  Collective */
typedef enum { DX_USER_SAMPLER, DX_USER_EVALUATION } dx_variance_user;
dx_error *dx_estimate_variance(dx_problem *p, const float *w, dx_variance_user user, const dx_patience *wait) DX_MUST_CHECK;
#endif
