/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_moons.c - two interleaved half circles with noise; the label is the moon. */
#include "data/procedural.h"

#include <math.h>

#include "base/math.h"

typedef struct { dx_procedural set; double noise; } config;

static const dx_option options[] = {
  DX_PROCEDURAL_OPTIONS,
  DX_OPTION(config, noise, "0.05", 1e-6, 1e6, "standard deviation of the normal noise on each number"),
  DX_OPTION_END
};

/* The half circle (cos a, sin a), a from 0 to pi, and its image under a turn by pi about the
   mean of both, (1/2, 1/4), which is taken as the origin. */
static int32_t draw(const void *given, const dx_draw *d, double *x)
{
  const config *c = given;
  const int moon = (int)(d->word[1] >> 31);
  const double sign = moon ? -1 : 1;
  double z[2], s, k;

  dx_stream_normals(&d->normals, 2, z);
  dx_sincos_turn(dx_uniform(d->word[0]) / 2, &s, &k);
  x[0] = sign * (k - 0.5) + c->noise * z[0];
  x[1] = sign * (s - 0.25) + c->noise * z[1];
  return moon;
}

/* Mean square of cos a - 1/2: 3/4, of sin a - 1/4: 9/16 - 1/pi. */
static dx_error *open(const void *given, const dx_comm *comm, dx_dataset_info *info, void **state)
{
  const config *c = given;
  const dx_procedural_set set = {
    .name = "moons", .dim = 2, .draw = draw, .classes = 2,
    .spread = sqrt((21. / 16 - 1 / DX_PI) / 2 + c->noise * c->noise)};

  return dx_procedural_open(&set, c, sizeof *c, comm, info, state);
}

const dx_source dx_source_moons = {
  .name = "moons", .help = "two interleaved half circles, 2-D",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = dx_procedural_rows, .close = dx_procedural_close,
};
