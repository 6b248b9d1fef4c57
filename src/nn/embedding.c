/* SPDX-License-Identifier: Apache-2.0 */
/* nn/embedding.c - see embedding.h.

     s = (sin(f_j k t), cos(f_j k t)), j = 0 .. h - 1,  f_j = 10000^(-j / (h - shift))   (Ho et al. 2020, appendix B)
     e = W_2 silu(W_1 s + b_1) + b_2 + C_label,   y = silu(e)

   Frequencies and angles are rounded to float where PyTorch rounds them: at t = 999 that is a
   change of 6e-5 in the sine. */
#include "nn/embedding.h"

#include <assert.h>
#include <string.h>

#include "base/math.h"

dx_error *dx_embedding_init(dx_embedding *l, dx_params *p, int64_t *packed, const dx_embedding_config *is)
{
  const dx_param_entry classes = {.name = "class_embedding.w", .dims = 2, .dim = {is->classes, is->out}, .deviation = 1};

  if (is->sines / 2 <= is->shift)
    return DX_FAIL(CONFIG, "%lld channels are too few for the time's sines", (long long)is->sines);
  *l = (dx_embedding){.is = *is};
  DX_TRY(dx_linear_init(&l->linear1, p, packed, "time_embedding.linear_1", is->sines, is->out, DX_PLAIN));
  DX_TRY(dx_linear_init(&l->linear2, p, packed, "time_embedding.linear_2", is->out, is->out, DX_PLAIN));
  return is->classes ? dx_params_add(p, &classes, &l->classes) : NULL;
}

void dx_embedding_pack(const dx_embedding *l, const dx_kernels *k, const float *w, float *packed)
{
  dx_linear_pack(&l->linear1, k, w, packed);
  dx_linear_pack(&l->linear2, k, w, packed);
}

void dx_embedding_place(const dx_embedding *l, int64_t B, dx_arena *a, dx_embedding_acts *acts)
{
  acts->s = dx_arena_floats(a, B * l->is.sines);
  acts->z = dx_arena_floats(a, B * l->is.out);
  acts->a = dx_arena_floats(a, B * l->is.out);
  acts->e = dx_arena_floats(a, B * l->is.out);
}

void dx_embedding_work(const dx_embedding *l, int64_t B, dx_arena *a)
{
  const size_t mark = dx_arena_mark(a);

  dx_arena_floats(a, B * l->is.out);
  dx_linear_work(&l->linear1, a);
  dx_linear_work(&l->linear2, a);
  dx_arena_release(a, mark);
}

static void sines(const dx_embedding_config *is, float time, float *s)
{
  const int64_t half = is->sines / 2;
  float *const sine = is->cosine_first ? s + half : s, *const cosine = is->cosine_first ? s : s + half;

  for (int64_t j = 0; j < half; j++) {
    const float power = -9.210340371976184f * (float)j / (float)(half - is->shift); /* ln 10000 */
    const float angle = (float)is->factor * time * (float)dx_exp((double)power);
    double sn, cs;

    dx_sincos((double)angle, &sn, &cs);
    sine[j] = (float)sn;
    cosine[j] = (float)cs;
  }
  if (is->sines % 2) s[is->sines - 1] = 0;
}

void dx_embedding_forward(const dx_embedding *l, const dx_pass *p, int64_t B, const float *time,
                          const int32_t *label, const dx_embedding_acts *acts, float *y)
{
  const int64_t E = l->is.out;

  for (int64_t b = 0; b < B; b++) sines(&l->is, time[b], acts->s + b * l->is.sines);
  dx_linear_forward(&l->linear1, p, B, acts->s, acts->z);
  p->kernel->silu(B * E, acts->z, acts->a);
  dx_linear_forward(&l->linear2, p, B, acts->a, acts->e);
  for (int64_t b = 0; b < B && l->is.classes; b++) {
    assert(label && label[b] >= 0 && label[b] < l->is.classes);
    p->kernel->add(E, acts->e + b * E, p->w + l->classes.at + label[b] * E, acts->e + b * E);
  }
  p->kernel->silu(B * E, acts->e, y);
}

void dx_embedding_backward(const dx_embedding *l, const dx_pass *p, int64_t B, const int32_t *label,
                           const dx_embedding_acts *acts, float *gy)
{
  const int64_t E = l->is.out;
  const size_t mark = dx_arena_mark(p->work);
  float *const ga = dx_arena_floats(p->work, B * E);

  p->kernel->silu_backward(B * E, acts->e, gy, gy);
  for (int64_t b = 0; b < B && l->is.classes; b++) {
    float *const g = p->gw + l->classes.at + label[b] * E;

    p->kernel->add(E, g, gy + b * E, g);
  }
  dx_linear_backward(&l->linear2, p, B, acts->a, acts->e, gy, ga);
  p->kernel->silu_backward(B * E, acts->z, ga, ga);
  dx_linear_backward(&l->linear1, p, B, acts->s, acts->z, ga, NULL);
  dx_arena_release(p->work, mark);
}
