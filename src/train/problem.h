/* SPDX-License-Identifier: Apache-2.0 */
/* train/problem.h - dataset, process, objective and predictor joined: what an
   experiment is about, before anything is trained. */
#ifndef DX_TRAIN_PROBLEM_H
#define DX_TRAIN_PROBLEM_H
#include "diffusion/exact.h"
#include "diffusion/grid.h"
#include "train/net.h"
#include "train/spec.h"

typedef struct {
  const dx_spec *spec;
  const dx_team *team;
  dx_dataset *data;
  const dx_dataset_info *info;
  int64_t dim;                /* D */
  dx_process process;         /* an estimated variance is that of the last sampling */
  dx_grid grid;               /* of evaluations (evaluate.respace), with their own process; an estimated variance is that of the last */
  dx_objective objective;     /* as in training: no clipping; where the decoder's variance is to be optimal,
                                 which evaluations alone know, the clipped one */
  dx_net *net;                /* NULL with the exact predictor */
  dx_exact *exact;            /* NULL with a network */
  float *room;                /* (threads) of two numbers for each of room_rows examples: the exact prediction and its variance,
                                 or what a preconditioned network is given */
  int64_t room_rows;
} dx_problem;

/* Opens the data, builds the process and the network; checks that they fit together.  Collective */
dx_error *dx_problem_create(const dx_team *team, const dx_spec *spec, dx_problem **out) DX_MUST_CHECK;
void dx_problem_destroy(dx_problem *p); /* Collective; NULL is fine */

/* What nats of an example are multiplied with to be bits per dimension. */
double dx_problem_bits(const dx_problem *p);
/* How far the time of a network goes: T, or 1 where it is no index but any real number. */
int64_t dx_problem_timesteps(const dx_spec *s);
/* That many examples of the training split, or all if it has fewer. */
int64_t dx_problem_train_examples(const dx_problem *p, int64_t wanted);
/* What the data ask of the model. */
dx_model_spec dx_problem_model(const dx_problem *p);
/* The network's parameters; NULL with the exact predictor. */
const dx_params *dx_problem_params(const dx_problem *p);
/* Floats of the parameter vector; 0 with the exact predictor. */
int64_t dx_problem_floats(const dx_problem *p);
/* Of that many weights, as checkpoints have it; by it files say whose they are.  Local */
uint64_t dx_problem_weights_hash(const dx_problem *p, const float *w);
/* Make the predictor ready for passes of B examples with these weights, of which this rank has `items` to do at a time.  Collective */
dx_error *dx_problem_predictor(dx_problem *p, const float *w, int64_t B, int64_t items, dx_predictor *out) DX_MUST_CHECK;
/* The objective with x0hat clipped where the data declare a range: for evaluation and sampling. */
dx_objective dx_problem_clipped(const dx_problem *p);
/* Which decoder variance process.decoder_variance means for these data. */
dx_decoder_kind dx_problem_decoder_kind(const dx_problem *p);
/* The decoder of these data with that variance (normalised units). */
dx_decoder dx_problem_decoder(const dx_problem *p, double variance);
#endif
