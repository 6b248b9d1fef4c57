/* SPDX-License-Identifier: Apache-2.0 */
/* data/procedural.c - what the sets that are drawn share; see procedural.h. */
#include "data/procedural.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  dx_procedural_set set;
  void *config;
  double *sample;   /* room for one */
  double *mixture;  /* weights, sigmas, means; NULL without */
} procedural;

void dx_procedural_close(void *state)
{
  procedural *p = state;

  if (!p) return;
  free(p->config);
  free(p->sample);
  free(p->mixture);
  free(p);
}

static dx_error *create(const dx_procedural_set *set, const void *config, size_t size,
                        procedural **out)
{
  procedural *p = calloc(1, sizeof *p);

  if (p) {
    p->set = *set;
    p->config = malloc(size);
    p->sample = malloc((size_t)set->dim * sizeof *p->sample);
    if (set->modes) p->mixture = malloc((size_t)(set->modes * (2 + set->dim)) * sizeof *p->mixture);
  }
  if (!p || !p->config || !p->sample || (set->modes && !p->mixture)) {
    dx_procedural_close(p);
    return DX_FAIL(INTERNAL, "out of memory");
  }
  memcpy(p->config, config, size);
  *out = p;
  return NULL;
}

static dx_mixture mixture_of(const procedural *p)
{
  const int64_t n = p->set.modes, dim = p->set.dim;
  double *weight = p->mixture, *sigma = weight + n, *mean = sigma + n;

  for (int64_t k = 0; k < n; k++) {
    weight[k] = 1 / (double)n;
    sigma[k] = p->set.sigma;
    p->set.mean(p->config, k, mean + k * dim);
  }
  return (dx_mixture){.count = n, .dim = dim, .weight = weight, .sigma = sigma, .mean = mean};
}

static void set_image(const dx_shape *image, dx_dataset_info *info)
{
  info->sample = *image;
  info->raw = DX_RAW_U8;
  info->shift = info->scale = 127.5;
  info->has_range = true;
  info->lo = 0;
  info->hi = 255;
  snprintf(info->modality, sizeof info->modality, "image");
}

static void store(const procedural *p, void *out, int64_t i)
{
  const int64_t dim = p->set.dim;

  for (int64_t j = 0; j < dim; j++)
    if (p->set.image.b) ((uint8_t *)out)[i * dim + j] = (uint8_t)p->sample[j];
    else ((float *)out)[i * dim + j] = (float)p->sample[j];
}

dx_error *dx_procedural_open(const dx_procedural_set *set, const void *config, size_t size,
                             const dx_comm *c, dx_dataset_info *info, void **state)
{
  const dx_procedural *common = config;
  procedural *p = NULL;
  dx_error *e = dx_comm_agree(c, create(set, config, size, &p));

  if (e) {
    dx_procedural_close(p);
    return e;
  }
  *info = (dx_dataset_info){.sample = {1, 1, 1, set->dim}, .raw = DX_RAW_F32, .scale = set->spread,
                            .count = {[DX_TRAIN] = common->train, [DX_TEST] = common->test},
                            .classes = set->classes, .modality = "points"};
  snprintf(info->name, sizeof info->name, "%s", set->name);
  if (set->image.b) set_image(&set->image, info);
  if (set->modes) info->mixture = mixture_of(p);
  *state = p;
  return NULL;
}

dx_error *dx_procedural_rows(void *state, dx_split split, int64_t first, int64_t n, void *out,
                             int32_t *label)
{
  const procedural *p = state;
  const dx_procedural *common = p->config;

  for (int64_t i = 0; i < n; i++) {
    dx_draw draw = {.normals = {.seed = (uint64_t)common->seed, .purpose = DX_FOR_DATA,
                                .step = split, .index = (uint64_t)(first + i)}};
    dx_stream uniform = draw.normals;
    int32_t k;

    uniform.layer = 1;
    dx_stream_words(&uniform, 0, draw.word);
    k = p->set.draw(p->config, &draw, p->sample);
    store(p, out, i);
    if (label) label[i] = k;
  }
  return NULL;
}
