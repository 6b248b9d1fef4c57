/* SPDX-License-Identifier: Apache-2.0 */
/* nn/embedding.h - the time, and optionally a class, as E features per example, as in diffusers'
   UNet2DModel: sines, two linear layers, and the class's own vector added. */
#ifndef DX_NN_EMBEDDING_H
#define DX_NN_EMBEDDING_H
#include <stdbool.h>
#include "nn/linear.h"

typedef struct {
  int64_t sines, out; /* number of sines and cosines; E */
  int64_t classes;    /* 0: none */
  double factor;      /* the time is multiplied with it first */
  int64_t shift;      /* frequency j of h is 10000^(-j / (h - shift)), h = sines / 2 */
  bool cosine_first;
} dx_embedding_config;

/* Never changes after init. */
typedef struct {
  dx_embedding_config is;
  dx_linear linear1, linear2;
  dx_param classes; /* (classes,E) */
} dx_embedding;

/* s (B,sines); z, a (B,E) before and behind the SiLU; e (B,E) the embedding. */
typedef struct { float *s, *z, *a, *e; } dx_embedding_acts;

dx_error *dx_embedding_init(dx_embedding *l, dx_params *p, int64_t *packed, const dx_embedding_config *is) DX_MUST_CHECK;
void dx_embedding_pack(const dx_embedding *l, const dx_kernels *k, const float *w, float *packed);
void dx_embedding_place(const dx_embedding *l, int64_t B, dx_arena *a, dx_embedding_acts *acts);
/* Measures the scratch of backward. */
void dx_embedding_work(const dx_embedding *l, int64_t B, dx_arena *a);

/* time (B); label (B) below classes, unused without classes. y (B,E) = SiLU of the embedding. */
void dx_embedding_forward(const dx_embedding *l, const dx_pass *p, int64_t B, const float *time,
                          const int32_t *label, const dx_embedding_acts *acts, float *y);
/* After forward. gy (B,E) is overwritten; adds to the parameters' gradients. */
void dx_embedding_backward(const dx_embedding *l, const dx_pass *p, int64_t B, const int32_t *label,
                           const dx_embedding_acts *acts, float *gy);
#endif
