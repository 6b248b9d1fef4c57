/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_swiss_roll.c - the Swiss roll seen from its end: a spiral with noise. */
#include "data/procedural.h"

#include <math.h>

#include "base/math.h"

typedef struct { dx_procedural set; double noise; } config;

static const dx_option options[] = {
  DX_PROCEDURAL_OPTIONS,
  DX_OPTION(config, noise, "0.02", 1e-6, 1e6, "standard deviation of the normal noise on each number"),
  DX_OPTION_END
};

/* (a cos a, a sin a) / 10, a uniform from 3/2 pi to 9/2 pi, less its mean (2, 2 / (3 pi)) / 10. */
static int32_t draw(const void *given, const dx_draw *d, double *x)
{
  const config *c = given;
  const double a = 1.5 * DX_PI * (1 + 2 * dx_uniform(d->word[0]));
  double z[2], s, k;

  dx_stream_normals(&d->normals, 2, z);
  dx_sincos(a, &s, &k);
  x[0] = (a * k - 2) / 10 + c->noise * z[0];
  x[1] = (a * s - 2 / (3 * DX_PI)) / 10 + c->noise * z[1];
  return 0;
}

/* Mean of a^2: 39/4 pi^2; sum: of both variances, times 100. */
static dx_error *open(const void *given, const dx_comm *comm, dx_dataset_info *info, void **state)
{
  const config *c = given;
  const double sum = 9.75 * DX_PI * DX_PI - 4 - 4 / (9 * DX_PI * DX_PI);
  const dx_procedural_set set = {.name = "swiss-roll", .dim = 2, .draw = draw,
                                 .spread = sqrt(sum / 200 + c->noise * c->noise)};

  return dx_procedural_open(&set, c, sizeof *c, comm, info, state);
}

const dx_source dx_source_swiss_roll = {
  .name = "swiss-roll", .help = "a spiral: the Swiss roll seen from its end, 2-D",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = dx_procedural_rows, .close = dx_procedural_close,
};
