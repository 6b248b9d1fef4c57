/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler.h - from noise to data, step by step. */
#ifndef DX_DIFFUSION_SAMPLER_H
#define DX_DIFFUSION_SAMPLER_H
#include <stdbool.h>
#include "base/error.h"
#include "base/option.h"
#include "diffusion/process.h"

/* A place on the way where x0hat is asked for. */
typedef struct {
  int64_t t;      /* the step of level, or the nearest one */
  dx_level level; /* between steps only where p->sigma_data says that x0hat is known there */
  int stage;      /* 0, 1, ...: which question of a step that asks several */
  bool last;      /* after it there is the sample */
  int64_t draw;   /* the number of its normals, not T + 1, which are the start's; 0: it reads none */
} dx_visit;

/* One per file sampler_NAME.c and line of samplers.def. */
typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  bool uses_variance; /* step multiplies z with sqrt(p->var[t - 1]) */
  bool remembers;     /* step is given memory */
  /* DX_E_CONFIG: "is X, but ..." of options that make no sense together, *key the first of them; NULL: all do.  Local */
  dx_error *(*check)(const void *config, const char **key);
  /* All visits into v, in their order; v NULL: none. Returns how many, at least 1.  Local */
  int64_t (*plan)(const void *config, const dx_process *p, dx_visit *v);
  /* x, which stands at the level of v, becomes that of the next visit, or the sample. v lies in its plan: v[1] is the next
     one. n floats; z: standard normals, which the caller has multiplied with the ratio of a learned deviation to
     sqrt(p->var[t - 1]) where uses_variance; memory: n floats that stay until the next visit.  Local */
  void (*step)(const void *config, const dx_process *p, const dx_kernels *k, const dx_visit *v, int64_t n,
               const float *x0hat, const float *z, float *memory, float *x);
} dx_sampler;

const dx_sampler *dx_sampler_find(const char *name); /* NULL: no such sampler */
const dx_sampler *dx_sampler_at(int i);              /* in list order; NULL after the last */
static inline dx_visit dx_visit_of(const dx_process *p, int64_t t, int64_t draw)
{
  return (dx_visit){.t = t, .level = dx_process_level(p, t), .draw = draw};
}
#endif
