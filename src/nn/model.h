/* SPDX-License-Identifier: Apache-2.0 */
/* nn/model.h - a network as the trainer sees it.

   One per file model_NAME.c and line of models.def. A model is created once and never
   changes; what differs between passes is in dx_pass and the activations. */
#ifndef DX_NN_MODEL_H
#define DX_NN_MODEL_H
#include <stdbool.h>
#include "base/option.h"
#include "base/shape.h"
#include "nn/params.h"

/* What the data ask of a model. */
typedef struct {
  dx_shape sample;      /* b = 1 */
  int64_t out_channels; /* c of the prediction; h and w are the sample's */
  int64_t timesteps;    /* T */
  int64_t classes;      /* labels are below it; 0: the data have none */
} dx_model_spec;

/* What a prediction is conditioned on, per example of the pass. */
typedef struct {
  const float *time;    /* (B) t - 1 in [0, T - 1], real-valued */
  const int32_t *label; /* (B), or NULL: a model without classes does not read it */
} dx_condition;

typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  /* Registers the parameters; *model is owned by the caller (destroy).  Local */
  dx_error *(*create)(const void *config, const dx_model_spec *spec, dx_params *params, void **model);
  void (*destroy)(void *model);
  /* Floats of the packed weights, and their making from w for passes of a kind: part of parts, for threads.  Local */
  int64_t (*packed)(const void *model);
  void (*pack)(const void *model, const dx_kernels *k, dx_pass_kind kind, const float *w, float *packed, int part, int parts);
  bool shares; /* its passes hand out jobs to p->crew */
  /* Activations of a pass of B examples: acts_size bytes of pointers, set from the arena
     (which only measures when it has no memory), with scratch for its members.  Local */
  size_t acts_size;
  void (*place)(const void *model, int64_t B, dx_pass_kind kind, dx_arena *a, void *acts);
  /* x (B, h, w, c) -> y (B, h, w, out_channels).  Local */
  void (*forward)(const void *model, const dx_pass *p, int64_t B, const float *x,
                  const dx_condition *c, void *acts, float *y);
  /* After forward with the same arguments. gy is overwritten; adds to p->gw; gx (B, h, w, c) is
     overwritten, or NULL where it is not wanted.  Local */
  void (*backward)(const void *model, const dx_pass *p, int64_t B, void *acts, float *gy, float *gx);
} dx_model;

const dx_model *dx_model_find(const char *name); /* NULL: no such model */
/* Classes that its predictions are conditioned on; 0: none. */
int64_t dx_model_classes(const dx_model *m, const void *config);
const dx_model *dx_model_at(int i);              /* in list order; NULL after the last */
#endif
