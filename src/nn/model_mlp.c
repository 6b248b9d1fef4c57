/* SPDX-License-Identifier: Apache-2.0 */
/* nn/model_mlp.c - linear layers with ReLU between, fed with the sample and its time:

     h_0 = (x, t/T),  h_i = dropout(max(0, W_i h_{i-1} + b_i)),  y = W_n h_{n-1} + b_n

   Dropout of a ReLU's output needs no mask of its own on the way back: where it dropped, the kept
   output is 0, and so is the ReLU's gradient; elsewhere the gradient is scaled by the same call.
   The sample is taken as a flat vector: made for points, not for images. */
#include "nn/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/linear.h"

typedef struct { dx_ints hidden; double dropout; } config;

static const dx_option options[] = {
  DX_OPTION(config, hidden, "[128, 128]", 1, 65536, "widths of the hidden layers"),
  DX_OPTION(config, dropout, "0", 0, 0.9, "chance that training drops a hidden feature, in steps of 1/65536"),
  DX_OPTION_END
};

enum { LAYERS = DX_INTS_MAX + 1 };

typedef struct {
  int64_t in, timesteps;
  int layers;
  double dropout;
  dx_linear layer[LAYERS];
  int64_t packed;
} mlp;

/* h[i] is the input of layer i; the last layer's output belongs to the caller. g: two buffers
   for the gradients that pass between layers. Inference needs two h in turn, not all. */
typedef struct { float *h[LAYERS], *g[2]; } acts;

static dx_error *create(const void *config_, const dx_model_spec *spec, dx_params *params, void **out)
{
  const config *const c = config_;
  mlp *const m = calloc(1, sizeof *m);
  dx_error *err = NULL;
  int64_t in;

  if (!m) return DX_FAIL(INTERNAL, "no memory for a model");
  m->in = dx_shape_dim(spec->sample);
  m->timesteps = spec->timesteps;
  m->layers = (int)c->hidden.n + 1;
  m->dropout = c->dropout;
  in = m->in + 1;
  for (int i = 0; i < m->layers; i++) {
    const int last = i == m->layers - 1;
    const int64_t width = last ? spec->sample.h * spec->sample.w * spec->out_channels : c->hidden.v[i];
    char name[24];

    snprintf(name, sizeof name, "layer%d", i);
    DX_TRY_GOTO(err, out, dx_linear_init(&m->layer[i], params, &m->packed, name, in, width,
                                         last ? DX_PLAIN : DX_RELU));
    in = width;
  }
out:
  if (err) free(m);
  else *out = m;
  return err;
}

static int64_t packed(const void *model) { return ((const mlp *)model)->packed; }

static void pack(const void *model, const dx_kernels *k, dx_pass_kind kind, const float *w, float *packed_, int part, int parts)
{
  const mlp *const m = model;

  (void)kind;
  for (int i = part; i < m->layers; i += parts) dx_linear_pack(&m->layer[i], k, w, packed_);
}

static void place(const void *model, int64_t B, dx_pass_kind kind, dx_arena *a, void *acts_)
{
  const mlp *const m = model;
  acts *const s = acts_;
  int64_t widest = 0;

  for (int i = 0; i < m->layers; i++)
    if (m->layer[i].in > widest) widest = m->layer[i].in;
  for (int i = 0; i < m->layers; i++)
    s->h[i] = kind == DX_PASS_INFER && i >= 2 ? s->h[i - 2]
              : dx_arena_floats(a, B * (kind == DX_PASS_INFER ? widest : m->layer[i].in));
  if (kind == DX_PASS_INFER) return;
  for (int i = 0; i < 2; i++) s->g[i] = dx_arena_floats(a, B * widest);
  const size_t mark = dx_arena_mark(a);
  for (int i = 0; i < m->layers; i++) {
    dx_linear_work(&m->layer[i], a); /* measured here, taken in backward */
    dx_arena_release(a, mark);
  }
}

static void forward(const void *model, const dx_pass *p, int64_t B, const float *x,
                    const dx_condition *c, void *acts_, float *y)
{
  const mlp *const m = model;
  acts *const s = acts_;

  for (int64_t i = 0; i < B; i++) {
    memcpy(s->h[0] + i * (m->in + 1), x + i * m->in, (size_t)m->in * sizeof *x);
    s->h[0][i * (m->in + 1) + m->in] = (c->time[i] + 1) / (float)m->timesteps;
  }
  for (int i = 0; i < m->layers - 1; i++) {
    dx_linear_forward(&m->layer[i], p, B, s->h[i], s->h[i + 1]);
    dx_dropout(p, (uint32_t)i, m->dropout, B, m->layer[i].out, s->h[i + 1]);
  }
  dx_linear_forward(&m->layer[m->layers - 1], p, B, s->h[m->layers - 1], y);
}

static void backward(const void *model, const dx_pass *p, int64_t B, void *acts_, float *gy, float *gx)
{
  const mlp *const m = model;
  acts *const s = acts_;
  float *g = gy;

  for (int i = m->layers - 1; i >= 0; i--) {
    float *const gin = i > 0 || gx ? s->g[i % 2] : NULL;

    if (i < m->layers - 1) dx_dropout(p, (uint32_t)i, m->dropout, B, m->layer[i].out, g);
    dx_linear_backward(&m->layer[i], p, B, s->h[i], i == m->layers - 1 ? NULL : s->h[i + 1], g, gin);
    g = gin;
  }
  for (int64_t i = 0; i < B && gx; i++)
    memcpy(gx + i * m->in, g + i * (m->in + 1), (size_t)m->in * sizeof *gx);
}

const dx_model dx_model_mlp = {
  .name = "mlp", .help = "linear layers with ReLU between, on (x, t/T): for points",
  .options = options, .config_size = sizeof(config), .create = create, .destroy = free,
  .packed = packed, .pack = pack, .acts_size = sizeof(acts), .place = place,
  .forward = forward, .backward = backward,
};
