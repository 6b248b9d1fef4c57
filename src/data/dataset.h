/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset.h - samples sharded over the ranks.

   Rank r owns the contiguous share r of each split (dx_share_first) and holds
   it as raw bytes, as they stand in the file. Rows travel to the rank that
   computes with them by an all-to-all exchange. Procedural sets make their
   share at the start, files are read once (or in blocks, where a share is
   larger than data.memory). */
#ifndef DX_DATA_DATASET_H
#define DX_DATA_DATASET_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/error.h"
#include "base/mixture.h"
#include "base/option.h"
#include "base/shape.h"
#include "comm/comm.h"

typedef enum { DX_TRAIN, DX_TEST, DX_SPLITS } dx_split;
extern const char *const dx_split_name[DX_SPLITS]; /* "train", "test" */

typedef enum { DX_RAW_U8, DX_RAW_F32 } dx_raw;

/* What everybody may know of a dataset. */
typedef struct {
  dx_shape sample;             /* b = 1 */
  dx_raw raw;
  int64_t count[DX_SPLITS];
  double shift, scale;         /* network sees (x - shift) / scale; of 8-bit data 127.5 both */
  bool has_range;              /* declared: clip predictions to [lo, hi], data units */
  double lo, hi;
  int64_t classes;             /* labels are 0 .. classes - 1; 0: no labels */
  uint64_t hash;               /* of all content; equal on any number of ranks */
  char modality[16];           /* "points", "sequence", "image" */
  char name[64];               /* kind, or file name without folder; not in the hash */
  dx_mixture mixture;          /* data units, arrays owned by the source; count 0 where the
                                  density has no such form */
} dx_dataset_info;

/* data.*: common keys. */
typedef struct {
  char kind[32];               /* a procedural kind, or "file" */
  bool flip;                   /* images: half of the training examples are mirrored */
  double memory;               /* bytes of one rank's shares that may be held, 0: no limit */
} dx_data_config;
extern const dx_option dx_data_options[];

/* A way to come by rows: one per file dataset_KIND.c and line of datasets.def. */
typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  /* Collective: look at the source, fill info (not hash). *state is owned by the source. */
  dx_error *(*open)(const void *config, const dx_comm *c, dx_dataset_info *info, void **state);
  /* Local (independent): rows [first, first + n) of a split, raw, into out; labels into
     label where it is not NULL and the set has them. */
  dx_error *(*rows)(void *state, dx_split split, int64_t first, int64_t n, void *out, int32_t *label);
  void (*close)(void *state);  /* Collective */
  /* Local: the names of the classes, a line each (malloc'd), or NULL where the data tell none. NULL: never. */
  dx_error *(*class_names)(void *state, char **text);
} dx_source;
const dx_source *dx_source_find(const char *name); /* NULL: no such kind */
const dx_source *dx_source_at(int i);              /* in the order of the list; NULL after the last */

typedef struct dx_dataset dx_dataset;

/* Open, load this rank's shares, check for NaN and infinities (the error names split and
   row), compute the hash.  Collective */
dx_error *dx_dataset_open(const dx_data_config *common, const void *kind_config, const dx_comm *c,
                          dx_dataset **out) DX_MUST_CHECK;
void dx_dataset_close(dx_dataset *d); /* Collective; NULL is fine */
/* The names of the classes, a line each (malloc'd), or NULL where the data tell none.  Local */
dx_error *dx_dataset_class_names(const dx_dataset *d, char **text) DX_MUST_CHECK;
const dx_dataset_info *dx_dataset_info_of(const dx_dataset *d);
int64_t dx_dataset_bytes_held(const dx_dataset *d);      /* on this rank */

/* A stream of batches of rows of one split. Each rank asks for its own rows; every rank
   gives the rows of all ranks, so that owners know what to send without asking:
   index (total) holds the rows of rank 0, then of rank 1, ...; first[r] .. first[r+1] are
   rank r's (first has size + 1 entries). start sends in the background, finish gives
   this rank's rows in order: raw rows and labels (NULL without labels), owned by the fetch
   and good until its next finish, so the next start may go before they are used. Both
   Collective. index and first may change after start. A failure of one rank (reading a
   block) is returned by finish on all ranks; the fetch can be used again after it. */
typedef struct dx_fetch dx_fetch;
dx_error *dx_fetch_create(dx_dataset *d, dx_split split, int64_t max_rows_total,
                          dx_fetch **out) DX_MUST_CHECK; /* Collective */
void dx_fetch_start(dx_fetch *f, const int64_t *index, const int64_t *first);
dx_error *dx_fetch_finish(dx_fetch *f, const void **rows, const int32_t **labels) DX_MUST_CHECK;
void dx_fetch_destroy(dx_fetch *f); /* Collective; NULL is fine */

/* Raw rows to what a network sees: (x - shift) / scale, float32, into out (n, h, w, c).  Local */
void dx_dataset_normalise(const dx_dataset_info *info, int64_t n, const void *raw, float *out);
/* And back to data units, in place, in double precision at heart.  Local */
void dx_dataset_restore(const dx_dataset_info *info, int64_t n, float *x);

/* n numbers in data units to 0..255, to be seen: the declared range, else two and a half scales to both sides of the
   shift; what is beyond is black or white.  Local */
void dx_dataset_shade(const dx_dataset_info *info, int64_t n, const float *x, uint8_t *y);

/* Mirror one image (h, w, c), left to right, in place.  Local */
void dx_dataset_flip(const dx_dataset_info *info, float *x);

/* Write a whole dataset as an HDF5 file of diffx's layout (`diffx data make`): read back, it
   gives the same rows and the same hash. c is one rank alone.  Local */
dx_error *dx_dataset_write(const char *path, const dx_source *source, const void *kind_config,
                           const dx_comm *c) DX_MUST_CHECK;
/* What a dataset file holds, for people (`diffx data show`): splits, shapes, types, range,
   shift and scale, statistics, classes, attributes, hash, size on disk.  Local */
dx_error *dx_dataset_show(const char *path, FILE *to) DX_MUST_CHECK;
#endif
