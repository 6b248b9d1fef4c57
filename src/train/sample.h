/* SPDX-License-Identifier: Apache-2.0 */
/* train/sample.h - samples drawn by all ranks and threads, grain by grain. */
#ifndef DX_TRAIN_SAMPLE_H
#define DX_TRAIN_SAMPLE_H
#include "train/problem.h"

/* Draw sample.count samples with these weights (whole; ignored by the exact predictor) and
   write them to path (doc/formats.md). ema tells which weights, as in dx_evaluation_head. Sample i depends on seed,
   weights and i alone.
   stopping(ctx): asked on every rank between rounds of steps; true on one gives DX_E_STOPPED on all, with
   nothing written; NULL: never. *seconds: the drawing, on rank 0.  Collective */
dx_error *dx_sample(dx_problem *p, const float *w, int64_t step, int ema, const char *path,
                    bool (*stopping)(void *ctx), void *ctx, double *seconds) DX_MUST_CHECK;
#endif
