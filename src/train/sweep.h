/* SPDX-License-Identifier: Apache-2.0 */
/* train/sweep.h - what a predictor says of many examples at many timesteps, computed by all ranks and threads.

   The work is a list of items, block by block of examples and in a block stratum by stratum;
   an item is one grain: a block at one stratum. Items are dealt out in chunks, each
   rank taking a contiguous part; rank 0 folds the answers in the order of the list. */
#ifndef DX_TRAIN_SWEEP_H
#define DX_TRAIN_SWEEP_H
#include "base/random.h"
#include "train/partial.h"
#include "train/problem.h"

/* The answer for one example of an item: means over draws of noise. */
typedef struct {
  double x0_sq, norm_sq;
  double vb;       /* the term of the bound, nats */
  double spread;   /* sum over draws of the squared deviation of their terms from vb */
  double variance; /* of the reverse step, mean over numbers */
  double eps_sq;   /* sum of epshat^2, unclipped; of estimates alone */
  double weight;   /* of vb in the total: 1 / chance of t in its stratum */
  int64_t t;       /* step of the grid, from 1 */
  int32_t label;  /* -1: none */
} dx_answer;

/* One sweep over examples x strata. */
typedef struct {
  dx_problem *problem;
  dx_objective objective;   /* of the network, at each t */
  dx_objective bound;       /* of the steps that are evaluated: its process is the grid's */
  const int64_t *time;      /* (steps) t that the network is given at each of them; NULL: the same */
  dx_predictor predictor;
  dx_decoder decoder;       /* set after create */
  bool estimating;          /* answers hold eps_sq, no terms */
  dx_split split;
  dx_purpose purpose;
  uint32_t layer;           /* of the random numbers: examples of the two splits share none */
  int64_t examples, grain, blocks, strata, items;
  int64_t draws;            /* of noise, per example and t; 1, until the caller says otherwise */
  int64_t *first;           /* (strata + 1): stratum k holds steps first[k] .. first[k+1] - 1 */
  const double *size;       /* (steps) they are drawn in proportion; NULL: alike */
  dx_permutation order;
  dx_fetch *fetch;
  int64_t *index, *first_row; /* of one chunk */
  int64_t room_rows;
  float *x0;                /* this rank's rows of the chunk */
  const int32_t *label;     /* theirs, the fetch's; NULL without labels */
  float **buffer;           /* (threads) of eps, xt, and a network's output twice */
  dx_answer *mine, *all;
  int64_t *counts, *offsets;
} dx_sweep;

/* Who may end a sweep before its time, and where it is kept then: asked on every rank between chunks of work; true on one gives DX_E_STOPPED on all. */
typedef struct {
  bool (*stopping)(void *ctx); /* NULL: nobody */
  void *ctx;
  dx_partial *partial;         /* rank 0; NULL: nowhere */
} dx_patience;

/* What a sweep's answers are given to, in order: example e, stratum k. */
typedef struct {
  void (*add)(void *ctx, int64_t e, int64_t k, const dx_answer *a);
  void *ctx;
  dx_sums sums;  /* all that add changes */
} dx_fold;

/* The order in which examples of a split are taken: those that a keyed permutation puts first.  Local */
void dx_sweep_order(const dx_problem *p, dx_split split, dx_permutation *out);

/* Examples of a split in that order, at steps of p->grid; stratum k is step k + 1 alone, until the caller puts other
   cuts into first.  Collective */
dx_error *dx_sweep_create(dx_sweep *s, dx_problem *p, const dx_predictor *predictor, dx_split split, dx_purpose purpose,
                          int64_t examples, int64_t strata) DX_MUST_CHECK;
void dx_sweep_destroy(dx_sweep *s);
/* As a sampler goes: at every t of p->process instead, x0hat clipped if the data declare a range. */
void dx_sweep_every_step(dx_sweep *s);
/* All items that the sums do not hold yet; rank 0 folds. DX_E_STOPPED after a request to stop.  Collective */
dx_error *dx_sweep_run(dx_sweep *s, const dx_patience *wait, const dx_fold *fold) DX_MUST_CHECK;
#endif
