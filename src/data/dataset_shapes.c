/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_shapes.c - colour images of one figure each: a disc, a turned box, or stripes. */
#include "data/procedural.h"

#include <math.h>

#include "base/math.h"

typedef struct { dx_procedural set; int64_t size; } config;

enum { DISC, BOX, STRIPES, FIGURES, CHANNELS = 3, WORDS = 12 };

static const dx_option options[] = {
  DX_PROCEDURAL_OPTIONS,
  DX_OPTION(config, size, "32", 8, 1024, "height and width in pixels"),
  DX_OPTION_END
};

/* A figure, in pixels. The colours are those behind it and of itself. */
typedef struct {
  int kind;
  double x, y, sine, cosine; /* centre, turn */
  double a, b;               /* radius; half sides; period and phase */
  double behind[CHANNELS], own[CHANNELS];
} figure;

static figure figure_of(const dx_draw *d, double size)
{
  dx_stream s = d->normals;
  uint32_t w[WORDS];
  figure f;

  s.layer = 1;
  for (uint32_t i = 0; i < WORDS / 4; i++) dx_stream_words(&s, i, w + 4 * i);
  f.kind = (int)dx_below(w[0], FIGURES);
  f.x = size * (0.3 + 0.4 * dx_uniform(w[1]));
  f.y = size * (0.3 + 0.4 * dx_uniform(w[2]));
  f.a = size * (0.14 + 0.18 * dx_uniform(w[3]));
  f.b = size * (0.14 + 0.18 * dx_uniform(w[4]));
  dx_sincos_turn(dx_uniform(w[5]), &f.sine, &f.cosine);
  for (int k = 0; k < CHANNELS; k++) {
    const double behind = 256 * dx_uniform(w[6 + k]), own = behind + 64 + 128 * dx_uniform(w[9 + k]);

    f.behind[k] = floor(behind);
    f.own[k] = floor(own < 256 ? own : own - 256); /* not near the other one */
  }
  return f;
}

/* How far a point is outside of the figure, in pixels; below 0 inside. */
static double distance(const figure *f, double x, double y)
{
  const double dx = x - f->x, dy = y - f->y;
  const double u = f->cosine * dx + f->sine * dy, v = f->cosine * dy - f->sine * dx;
  double turns, p, q;

  switch (f->kind) {
  case DISC: return sqrt(dx * dx + dy * dy) - f->a;
  case BOX:
    p = fabs(u) - f->a;
    q = fabs(v) - f->b;
    return p > q ? p : q;
  default:
    turns = u / f->a;
    return (fabs(turns - floor(turns) - 0.5) - 0.25) * f->a;
  }
}

/* Whole numbers 0..255. The edge is softened over one pixel. */
static int32_t draw(const void *given, const dx_draw *d, double *x)
{
  const config *c = given;
  const figure f = figure_of(d, (double)c->size);

  for (int64_t i = 0; i < c->size; i++)
    for (int64_t j = 0; j < c->size; j++, x += CHANNELS) {
      const double inside = 0.5 - distance(&f, (double)j + 0.5, (double)i + 0.5);
      const double share = inside < 0 ? 0 : inside > 1 ? 1 : inside;

      for (int k = 0; k < CHANNELS; k++) x[k] = floor(f.behind[k] + share * (f.own[k] - f.behind[k]) + 0.5);
    }
  return f.kind;
}

static dx_error *open(const void *given, const dx_comm *comm, dx_dataset_info *info, void **state)
{
  const config *c = given;
  const dx_procedural_set set = {.name = "shapes", .dim = c->size * c->size * CHANNELS, .draw = draw,
                                 .image = {1, c->size, c->size, CHANNELS}, .classes = FIGURES};

  return dx_procedural_open(&set, c, sizeof *c, comm, info, state);
}

const dx_source dx_source_shapes = {
  .name = "shapes", .help = "colour images of a disc, a box or stripes, 32 x 32",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = dx_procedural_rows, .close = dx_procedural_close,
};
