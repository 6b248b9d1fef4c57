/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_mixture8.c - eight Gaussians on a ring; the label is the Gaussian. */
#include "data/procedural.h"

#include <math.h>

#include "base/math.h"

typedef struct { dx_procedural set; double radius, noise; } config;

enum { MODES = 8 };

static const dx_option options[] = {
  DX_PROCEDURAL_OPTIONS,
  DX_OPTION(config, radius, "2.0", 0, 1e6, "of the ring"),
  DX_OPTION(config, noise, "0.2", 1e-6, 1e6, "standard deviation of each Gaussian"),
  DX_OPTION_END
};

static void mean(const void *given, int64_t k, double *x)
{
  const config *c = given;
  double sine, cosine;

  dx_sincos_turn((double)k / MODES, &sine, &cosine);
  x[0] = c->radius * cosine;
  x[1] = c->radius * sine;
}

static int32_t draw(const void *given, const dx_draw *d, double *x)
{
  const config *c = given;
  const int mode = (int)dx_below(d->word[0], MODES);
  double z[2];

  dx_stream_normals(&d->normals, 2, z);
  mean(c, mode, x);
  for (int j = 0; j < 2; j++) x[j] += c->noise * z[j];
  return mode;
}

static dx_error *open(const void *given, const dx_comm *comm, dx_dataset_info *info, void **state)
{
  const config *c = given;
  const dx_procedural_set set = {
    .name = "mixture8", .dim = 2, .draw = draw, .classes = MODES,
    .spread = sqrt(c->radius * c->radius / 2 + c->noise * c->noise),
    .modes = MODES, .sigma = c->noise, .mean = mean};

  return dx_procedural_open(&set, c, sizeof *c, comm, info, state);
}

const dx_source dx_source_mixture8 = {
  .name = "mixture8", .help = "eight Gaussians on a ring, 2-D",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = dx_procedural_rows, .close = dx_procedural_close,
};
