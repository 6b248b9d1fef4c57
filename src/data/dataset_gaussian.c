/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_gaussian.c - independent normal numbers: the set whose bound is known in closed form. */
#include "data/procedural.h"

typedef struct { dx_procedural set; int64_t dim; double mean, sigma; } config;

static const dx_option options[] = {
  DX_PROCEDURAL_OPTIONS,
  DX_OPTION(config, dim, "2", 1, 65536, "numbers in a sample"),
  DX_OPTION(config, mean, "0.0", -1e6, 1e6, "mean of every number"),
  DX_OPTION(config, sigma, "1.0", 1e-6, 1e6, "standard deviation of every number"),
  DX_OPTION_END
};

static int32_t draw(const void *given, const dx_draw *d, double *x)
{
  const config *c = given;

  dx_stream_normals(&d->normals, c->dim, x);
  for (int64_t j = 0; j < c->dim; j++) x[j] = c->mean + c->sigma * x[j];
  return 0;
}

static void mean(const void *given, int64_t k, double *x)
{
  const config *c = given;

  (void)k;
  for (int64_t j = 0; j < c->dim; j++) x[j] = c->mean;
}

/* Scale 1 whatever sigma is: the closed forms of verify are in the data's own units. */
static dx_error *open(const void *given, const dx_comm *comm, dx_dataset_info *info, void **state)
{
  const config *c = given;
  const dx_procedural_set set = {.name = "gaussian", .dim = c->dim, .draw = draw, .spread = 1,
                                 .modes = 1, .sigma = c->sigma, .mean = mean};

  return dx_procedural_open(&set, c, sizeof *c, comm, info, state);
}

const dx_source dx_source_gaussian = {
  .name = "gaussian", .help = "independent normal numbers; the bound is known in closed form",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = dx_procedural_rows, .close = dx_procedural_close,
};
