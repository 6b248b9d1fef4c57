/* SPDX-License-Identifier: Apache-2.0 */
/* train/strata.h - how the timesteps of an evaluation are cut into strata, and how t is drawn in each. */
#ifndef DX_TRAIN_STRATA_H
#define DX_TRAIN_STRATA_H
#include "train/sweep.h"

typedef struct {
  int64_t count;
  int64_t *first;   /* (count + 1): stratum k holds t = first[k] .. first[k+1] - 1 */
  double *size;     /* (steps of the grid) t is drawn in proportion; NULL: alike */
  double gain;      /* variance with as many strata cut at squares / with these, by the pilot; NaN without one */
  double gain_low, gain_high; /* 95 % of it */
} dx_strata;

/* How many strata the settings, maybe by a budget, ask for; below 2 where dx_strata_check refuses it.  Local */
int64_t dx_strata_count(const dx_problem *p);
/* DX_E_CONFIG where evaluate.budget is too small for two strata, with the least that is not.  Local */
dx_error *dx_strata_check(const dx_problem *p) DX_MUST_CHECK;
/* Forward passes of one example that the pilot takes, and that one stratum does, for all examples and draws.  Local */
int64_t dx_strata_pilot_forwards(const dx_problem *p);
int64_t dx_strata_forwards_of_one(const dx_problem *p);

/* Strata at squares, or by the terms of a pilot on the training split. out must be freed after an error, too.  Collective */
dx_error *dx_strata_find(dx_problem *p, const dx_predictor *predictor, double decoder_variance, const dx_patience *wait,
                         dx_strata *out) DX_MUST_CHECK;
/* From the terms vb (n, T) of a pilot of n examples: strata of s->count, their sizes and the gain; first and size have their
   room. The interval judges each example by the strata that the others choose.  Local */
dx_error *dx_strata_by_pilot(int64_t n, int64_t T, const double *vb, dx_strata *s) DX_MUST_CHECK;
void dx_strata_free(dx_strata *s);
#endif
