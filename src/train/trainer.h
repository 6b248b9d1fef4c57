/* SPDX-License-Identifier: Apache-2.0 */
/* train/trainer.h - the optimizer step over all ranks and threads.

   A step: fetch rows, noise them, predict, loss, gradients, one grain after the other on
   each thread; sum along the fixed tree; clip; Adam on this rank's slice; gather the
   weights. What it has come to is in dx_state, whole, so that a checkpoint is
   the state and nothing else. */
#ifndef DX_TRAIN_TRAINER_H
#define DX_TRAIN_TRAINER_H
#include "diffusion/times.h"
#include "train/problem.h"

/* Sums over the examples since the last rows of the record; on rank 0 only. */
typedef struct {
  double loss;
  int64_t examples;            /* in loss */
  int64_t *count;              /* (T) since the last row of train_by_t */
  double *mse, *x0_mse, *vb;   /* (T) sums; vb: terms of the bound, nats, x0hat unclipped, with the
                                  decoder of dx_problem.objective */
} dx_window;

/* What training has come to. */
typedef struct {
  int64_t step;                /* steps done */
  int64_t floats;              /* length of the parameter vector */
  int64_t at, n;               /* this rank owns floats [at, at + n) */
  float *w;                    /* (floats) weights, whole on every rank; ranks of a node may share them, so they are set from
                                  outside by dx_trainer_set_weights alone */
  float *moment1, *moment2;    /* (n) */
  int averages;                /* of train.ema */
  float *ema[DX_REALS_MAX];    /* (n) each, in its order */
  dx_window window;
  dx_history history;          /* alike on every rank; empty unless train.t_sampling learns */
} dx_state;

typedef struct dx_trainer dx_trainer;

/* Weights as they start (train.init_from is the caller's).  Collective */
dx_error *dx_trainer_create(dx_problem *p, dx_trainer **out) DX_MUST_CHECK;
void dx_trainer_destroy(dx_trainer *t); /* Collective; NULL is fine */
dx_state *dx_trainer_state(dx_trainer *t);
/* Give back what only a step takes, but for the examples, until dx_trainer_reload.  Collective */
void dx_trainer_rest(dx_trainer *t);
/* The state's weights or step were changed from outside (resume, evaluation).  Collective */
dx_error *dx_trainer_reload(dx_trainer *t) DX_MUST_CHECK;

typedef struct {
  double grad_norm, rate;
  bool stop;                   /* some rank wants to stop */
  double compute, exchange;    /* seconds on this rank */
} dx_step_info;

/* One step. stop: this rank's wish, which travels with the sums.  DX_E_NUMERIC where a loss or
   the gradient is not finite, naming step, example and timestep; the weights are
   then those of before.  Collective */
dx_error *dx_trainer_step(dx_trainer *t, bool stop, dx_step_info *info) DX_MUST_CHECK;
/* Bring what the ranks have noted since the last call into rank 0's window.  Collective */
void dx_trainer_collect(dx_trainer *t);
/* The whole averaged weights of that place in train.ema, from 1 (0: the raw ones), into out (floats).  Collective */
void dx_trainer_weights(dx_trainer *t, int place, float *out);
/* Raw weights (floats), alike on all ranks, from outside; dx_trainer_reload makes them count.  Collective */
void dx_trainer_set_weights(dx_trainer *t, const float *w);
/* The weights were set from outside: averages begin there.  Local */
void dx_trainer_restart_averages(dx_trainer *t);

/* What a run would take on so many ranks, each with this rank's threads: for --dry-run.  Local */
typedef struct {
  int64_t grains, most_grains, least_grains; /* of a step; of one worker */
  int crews;                                 /* that rank 0's threads form */
  int pieces;                                /* subtree sums that a rank sends, at most */
  /* Bytes of the largest rank: all, at the worst time; weights, a copy for evaluations, moments and averages; sums of
     gradients, where no other rank is on its node; packed weights; activations and scratch of one crew; data and samples;
     what a checkpoint takes while packed weights and workspaces are given back */
  int64_t bytes, state, gradients, packed, workspace, examples, checkpoint;
  int64_t node; /* bytes of a node that has all ranks: weights and packed weights count once where its ranks share them */
} dx_trainer_plan;
dx_trainer_plan dx_trainer_plan_of(const dx_problem *p, int ranks);
#endif
