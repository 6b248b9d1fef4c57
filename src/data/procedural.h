/* SPDX-License-Identifier: Apache-2.0 */
/* data/procedural.h - sets that are drawn, not read: what their files share. Local where nothing is said.

   Row i of a split is a pure function of (data.seed, split, i): streams of DX_FOR_DATA with
   the split as step, layer 0 for normals and layer 1 for uniform words. */
#ifndef DX_DATA_PROCEDURAL_H
#define DX_DATA_PROCEDURAL_H
#include "base/random.h"
#include "data/dataset.h"

/* The first member of every procedural config, and its rows of the option table. */
typedef struct { int64_t train, test, seed; } dx_procedural;
#define DX_PROCEDURAL_OPTIONS                                                            \
  DX_OPTION(dx_procedural, train, "10000", 1, 1e12, "samples of the train split"),       \
  DX_OPTION(dx_procedural, test, "2000", 0, 1e12, "samples of the test split"),          \
  DX_OPTION(dx_procedural, seed, "0", 0, 9e15, "which samples are drawn")

/* Where one sample comes from. */
typedef struct {
  dx_stream normals; /* for dx_stream_normals */
  uint32_t word[4];  /* uniform */
} dx_draw;
/* One sample: x (dim numbers, of images whole ones 0..255), data units; returns its label (0 in a
   set without labels). */
typedef int32_t (*dx_draw_fn)(const void *config, const dx_draw *draw, double *x);

/* What a set says of itself. */
typedef struct {
  const char *name;
  int64_t dim;       /* of its points; of images h w c */
  dx_shape image;    /* 8-bit images of that shape; b = 0: points */
  dx_draw_fn draw;
  double spread;     /* points: the scale, root of the mean of the numbers' variances; their mean is 0 */
  int64_t classes;
  /* Where the density is a mixture of equal Gaussians: how many, their sigma, and the function
     that gives the mean of number k. */
  int64_t modes;
  double sigma;
  void (*mean)(const void *config, int64_t k, double *mean);
} dx_procedural_set;
/* Fills info but for the hash. config (size bytes, beginning with dx_procedural) is copied.
   Collective */
dx_error *dx_procedural_open(const dx_procedural_set *set, const void *config, size_t size,
                             const dx_comm *c, dx_dataset_info *info, void **state) DX_MUST_CHECK;
/* rows and close of the source. */
dx_error *dx_procedural_rows(void *state, dx_split split, int64_t first, int64_t n, void *out,
                             int32_t *label) DX_MUST_CHECK;
void dx_procedural_close(void *state);
#endif
