/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_checkerboard.c - the eight dark squares of a 4 x 4 board, edges softened by noise. */
#include "data/procedural.h"

#include <math.h>

typedef struct { dx_procedural set; double noise; } config;

static const dx_option options[] = {
  DX_PROCEDURAL_OPTIONS,
  DX_OPTION(config, noise, "0.02", 1e-6, 1e6, "standard deviation of the normal noise on each number"),
  DX_OPTION_END
};

/* Squares of side 1 over [-2, 2]^2: column 0 .. 3 and one of two rows, shifted in odd columns. */
static int32_t draw(const void *given, const dx_draw *d, double *x)
{
  const config *c = given;
  const int square = (int)(d->word[2] >> 29), column = square / 2, row = 2 * (square % 2) + column % 2;
  double z[2];

  dx_stream_normals(&d->normals, 2, z);
  x[0] = column - 2 + dx_uniform(d->word[0]) + c->noise * z[0];
  x[1] = row - 2 + dx_uniform(d->word[1]) + c->noise * z[1];
  return 0;
}

/* Each number alone is uniform over [-2, 2]: variance 4/3. */
static dx_error *open(const void *given, const dx_comm *comm, dx_dataset_info *info, void **state)
{
  const config *c = given;
  const dx_procedural_set set = {.name = "checkerboard", .dim = 2, .draw = draw,
                                 .spread = sqrt(4. / 3 + c->noise * c->noise)};

  return dx_procedural_open(&set, c, sizeof *c, comm, info, state);
}

const dx_source dx_source_checkerboard = {
  .name = "checkerboard", .help = "the dark squares of a 4 x 4 board, 2-D",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = dx_procedural_rows, .close = dx_procedural_close,
};
