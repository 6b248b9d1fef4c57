/* SPDX-License-Identifier: Apache-2.0 */
/* train/estimate.h - variances that follow from a network's errors on the training split. */
#ifndef DX_TRAIN_ESTIMATE_H
#define DX_TRAIN_ESTIMATE_H
#include "train/sweep.h"

/* Forward passes of one example that the two estimates of an evaluation take.  Local */
int64_t dx_estimate_forwards(const dx_problem *p);

/* The decoder's variance; where it is to be optimal, from the training split at t = 1.  Collective */
dx_error *dx_estimate_decoder(dx_problem *p, const dx_predictor *predictor, const dx_patience *wait, double *out) DX_MUST_CHECK;

/* Where objective.variance is estimated: the process's variances of t >= 2 for these weights and a user who clips x0hat (if
   the data declare a range) or not; else nothing. The predictor must be made ready again.  Collective */
typedef enum { DX_X0HAT_FREE, DX_X0HAT_CLIPPED } dx_x0hat;
dx_error *dx_estimate_variance(dx_problem *p, const float *w, dx_x0hat user, const dx_patience *wait) DX_MUST_CHECK;
#endif
