/* SPDX-License-Identifier: Apache-2.0 */
/* train/net.h - a model with its memory: one workspace per crew of threads. Local but for what says otherwise. */
#ifndef DX_TRAIN_NET_H
#define DX_TRAIN_NET_H
#include "nn/model.h"
#include "train/spec.h"

/* Anything that predicts: a network or the exact predictor. n samples with t[i] in 1..T, their levels (NULL: those of the
   steps) and label[i] (label NULL: the data have none) -> out (n, D); called by the leaders of several crews at once, each with
   the number of its own. */
typedef struct {
  void (*predict)(void *ctx, int crew, int64_t n, const int32_t *t, const dx_level *level, const int32_t *label,
                  const float *xt, float *out);
  void *ctx;
  int crews; /* that may call it at once */
} dx_predictor;

typedef struct dx_net dx_net;

dx_error *dx_net_create(const dx_team *team, const dx_model *model, const void *config,
                        const dx_model_spec *spec, dx_net **out) DX_MUST_CHECK;
void dx_net_destroy(dx_net *n); /* NULL is fine */
const dx_params *dx_net_params(const dx_net *n);

/* Room for passes of B examples in the workspaces of so many crews of the team's threads (what stood there is gone), and
   dx_net_load.  Collective */
dx_error *dx_net_ready(dx_net *n, dx_pass_kind kind, int64_t B, int crews, const float *w) DX_MUST_CHECK;
/* Whether the members of a crew share its passes. */
bool dx_net_shares(const dx_net *n);
/* Give back workspaces and packed weights until the next dx_net_ready; where one rank does it, all do. */
void dx_net_rest(dx_net *n);
/* Bytes of a workspace for such passes, by measuring; 0 where there is no memory to do so. */
size_t dx_net_bytes(const dx_net *n, dx_pass_kind kind, int64_t B, int crews);
/* Floats of the packed weights, and whether the ranks of a node have them in common, where the system can. */
int64_t dx_net_packed(const dx_net *n);
bool dx_net_packs_together(const dx_net *n);
/* From now on passes use these weights (not copied), alike on all ranks; packs them with all threads of the node. After
   dx_net_ready.  Collective */
void dx_net_load(dx_net *n, const float *w);

/* A forward pass, and the backward pass that may follow with the same draw while time, label and x stand: B as reserved.
   draw NULL: nothing is random; time (B): the index t - 1, or any real number between; label NULL: the data have none. */
void dx_net_forward(dx_net *n, int crew, int64_t B, const dx_draw *draw, const float *time, const int32_t *label,
                    const float *x, float *y);
void dx_net_backward(dx_net *n, int crew, int64_t B, const dx_draw *draw, float *gy, float *gw, float *gx);

/* From now on every pass is measured, layer by layer; the sum over threads so far, the net's, or NULL. */
dx_error *dx_net_watch(dx_net *n) DX_MUST_CHECK;
const dx_profile *dx_net_profile(dx_net *n);
#endif
