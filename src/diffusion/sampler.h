/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/sampler.h - from noise to data, step by step. */
#ifndef DX_DIFFUSION_SAMPLER_H
#define DX_DIFFUSION_SAMPLER_H
#include <stdbool.h>
#include "base/error.h"
#include "base/option.h"
#include "diffusion/process.h"

/* One per file sampler_NAME.c and line of samplers.def. */
typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  bool uses_variance; /* step multiplies z with sqrt(p->var[t - 1]) */
  /* The steps to visit, falling from T, into t (room for T); returns how many, at least 1.  Local */
  int64_t (*plan)(const void *config, const dx_process *p, int64_t *t);
  /* xs from x_t: s is the next step of the plan, 0 at the end. n floats, all of one t;
     z: standard normals (unread where s is 0), which the caller has multiplied with the ratio of a learned
     deviation to sqrt(p->var[t - 1]) where uses_variance. xs may be xt.  Local */
  void (*step)(const void *config, const dx_process *p, const dx_kernels *k, int64_t t, int64_t s,
               int64_t n, const float *xt, const float *x0hat, const float *z, float *xs);
} dx_sampler;

const dx_sampler *dx_sampler_find(const char *name); /* NULL: no such sampler */
const dx_sampler *dx_sampler_at(int i);              /* in list order; NULL after the last */
#endif
