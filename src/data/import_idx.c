/* SPDX-License-Identifier: Apache-2.0 */
/* data/import_idx.c - IDX files, as of MNIST and Fashion-MNIST: numbers of 8 bits behind their dimensions. */
#include "data/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 1000, LARGEST = 1 << 14 };

typedef struct { int64_t test; } config;
static const dx_option options[] = {
  DX_OPTION(config, test, "0", 0, 1e9, "of a single file of images: its last rows that become the test split"),
  DX_OPTION_END
};

/* Images with their labels: one pair of files. */
typedef struct {
  char images[4096], labels[4096];
  dx_unpack *u;
  int64_t n, h, w, c;
  uint8_t *label;
} pair;

static dx_error *read_header(dx_unpack *u, const char *path, int least, int most, int64_t dim[4])
{
  unsigned char h[4], d[4];

  DX_TRY(dx_unpack_read(u, h, 4));
  if (h[0] || h[1] || h[2] != 8 || h[3] < least || h[3] > most)
    return DX_FAIL(DATA, "%s begins with %02x %02x %02x %02x; an IDX file of 8-bit numbers with %d dimensions begins "
                   "with 00 00 08 %02x", path, h[0], h[1], h[2], h[3], least, least);
  for (int i = 0; i < 4; i++) dim[i] = 1;
  for (int i = 0; i < h[3]; i++) {
    DX_TRY(dx_unpack_read(u, d, 4));
    dim[i] = (int64_t)d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3];
    if (dim[i] < 1 || (i > 0 && dim[i] > LARGEST))
      return DX_FAIL(DATA, "%s: dimension %d is %lld at byte %d of its content", path, i, (long long)dim[i], 4 + 4 * i);
  }
  return NULL;
}

static dx_error *read_labels(dx_import *m, pair *p)
{
  int64_t dim[4];
  dx_unpack *u;
  dx_error *err;

  DX_TRY(dx_unpack_open(p->labels, &u));
  DX_TRY_GOTO(err, out, read_header(u, p->labels, 1, 1, dim));
  if (dim[0] != p->n) {
    err = DX_FAIL(DATA, "%s has %lld labels, %s has %lld images", p->labels, (long long)dim[0], p->images, (long long)p->n);
    goto out;
  }
  if (!(p->label = malloc((size_t)p->n))) {
    err = DX_FAIL(INTERNAL, "no memory for %lld labels", (long long)p->n);
    goto out;
  }
  DX_TRY_GOTO(err, out, dx_unpack_read(u, p->label, (size_t)p->n));
  err = dx_import_end_of(m, u, p->labels);
out:
  dx_unpack_close(u);
  return err;
}

static dx_error *open_pair(dx_import *m, pair *p)
{
  int64_t dim[4];

  DX_TRY(dx_unpack_open(p->images, &p->u));
  DX_TRY(read_header(p->u, p->images, 3, 4, dim));
  p->n = dim[0];
  p->h = dim[1];
  p->w = dim[2];
  p->c = dim[3];
  return p->labels[0] ? read_labels(m, p) : NULL;
}

static void close_pair(pair *p)
{
  dx_unpack_close(p->u);
  free(p->label);
}

/* Rows of p into a split, from its beginning. */
static dx_error *copy_rows(dx_import *m, pair *p, int64_t from, int64_t n, dx_split split)
{
  const size_t size = (size_t)(p->h * p->w * p->c);
  uint8_t *const rows = malloc(PIECE * size);
  int32_t label[PIECE];
  dx_error *err = rows ? NULL : DX_FAIL(INTERNAL, "no memory for an import");

  for (int64_t i = 0; i < n && !err; i += PIECE) {
    const int64_t k = n - i < PIECE ? n - i : PIECE;

    err = dx_unpack_read(p->u, rows, (size_t)k * size);
    for (int64_t j = 0; j < k && p->label; j++) label[j] = p->label[from + i + j];
    if (!err) err = dx_import_rows(m, split, i, k, rows, label);
    dx_import_progress(m, dx_unpack_part(p->u));
  }
  free(rows);
  return err;
}

static int64_t classes_of(const pair *p)
{
  int64_t most = 0;

  for (int64_t i = 0; i < p->n && p->label; i++)
    if (p->label[i] >= most) most = p->label[i] + 1;
  return most;
}

/* The labels' file beside a file of images: "images" and "idx3" become "labels" and "idx1". */
static void find_labels(pair *p)
{
  char *at;
  const char *slash;

  snprintf(p->labels, sizeof p->labels, "%s", p->images);
  slash = strrchr(p->labels, '/');
  if (!(at = strstr(slash ? slash : p->labels, "images"))) {
    p->labels[0] = '\0';
    return;
  }
  memcpy(at, "labels", 6);
  if ((at = strstr(at, "idx3"))) at[3] = '1';
  char *const end = p->labels + strlen(p->labels);
  for (const char *const *e = (const char *const[]){".gz", ".xz", ".zst", NULL}; *e; e++) {
    char *const cut = end - strlen(*e);

    if (cut > p->labels && !strcmp(cut, *e)) {
      *cut = '\0';
      break;
    }
  }
  char folder[4096], name[4096];
  at = strrchr(p->labels, '/');
  snprintf(name, sizeof name, "%s", at ? at + 1 : p->labels);
  snprintf(folder, sizeof folder, "%.*s", at ? (int)(at - p->labels) : 1, at ? p->labels : ".");
  if (!dx_import_find(folder, name, p->labels)) p->labels[0] = '\0';
}

static dx_error *run_file(const config *c, dx_import *m, pair *p)
{
  dx_dataset_info info = {.raw = DX_RAW_U8, .modality = "image"};

  find_labels(p);
  DX_TRY(open_pair(m, p));
  info.sample = (dx_shape){1, p->h, p->w, p->c};
  info.classes = classes_of(p);
  info.count[DX_TRAIN] = p->n - c->test;
  info.count[DX_TEST] = c->test;
  DX_TRY(dx_import_begin(m, &info, NULL));
  DX_TRY(copy_rows(m, p, 0, info.count[DX_TRAIN], DX_TRAIN));
  DX_TRY(copy_rows(m, p, info.count[DX_TRAIN], c->test, DX_TEST));
  return dx_import_end_of(m, p->u, p->images);
}

static dx_error *find_pair(const char *folder, const char *set, pair *p)
{
  static const char *const forms[] = {"%s-%s-idx%d-ubyte", "%s-%s.idx%d-ubyte"};
  char name[64];

  for (int labels = 0; labels < 2; labels++) {
    bool there = false;

    for (int i = 0; i < 2 && !there; i++) {
      snprintf(name, sizeof name, forms[i], set, labels ? "labels" : "images", labels ? 1 : 3);
      there = dx_import_find(folder, name, labels ? p->labels : p->images);
    }
    if (!there)
      return DX_FAIL(IO, "%s has no %s-%s-idx%d-ubyte (nor the same with .gz, .xz or .zst); a single file of images can be "
                     "named instead of the folder", folder, set, labels ? "labels" : "images", labels ? 1 : 3);
  }
  return NULL;
}

static dx_error *run_folder(const char *folder, dx_import *m, pair p[DX_SPLITS])
{
  dx_dataset_info info = {.raw = DX_RAW_U8, .modality = "image"};
  static const char *const set[DX_SPLITS] = {"train", "t10k"};

  for (int s = 0; s < DX_SPLITS; s++) DX_TRY(find_pair(folder, set[s], &p[s]));
  for (int s = 0; s < DX_SPLITS; s++) {
    DX_TRY(open_pair(m, &p[s]));
    if (classes_of(&p[s]) > info.classes) info.classes = classes_of(&p[s]);
    info.count[s] = p[s].n;
  }
  if (p[0].h != p[1].h || p[0].w != p[1].w || p[0].c != p[1].c)
    return DX_FAIL(DATA, "%s has images of %lld x %lld, %s of %lld x %lld", p[0].images, (long long)p[0].h,
                   (long long)p[0].w, p[1].images, (long long)p[1].h, (long long)p[1].w);
  info.sample = (dx_shape){1, p[0].h, p[0].w, p[0].c};
  DX_TRY(dx_import_begin(m, &info, NULL));
  for (int s = 0; s < DX_SPLITS; s++) {
    DX_TRY(copy_rows(m, &p[s], 0, p[s].n, (dx_split)s));
    DX_TRY(dx_import_end_of(m, p[s].u, p[s].images));
  }
  return NULL;
}

static dx_error *run(const void *given, const char *source, dx_import *m)
{
  pair *const p = calloc(DX_SPLITS, sizeof *p);
  struct stat s;
  dx_error *err;

  if (!p) return DX_FAIL(INTERNAL, "no memory for an import");
  if (!stat(source, &s) && S_ISDIR(s.st_mode)) err = run_folder(source, m, p);
  else {
    snprintf(p[0].images, sizeof p[0].images, "%s", source);
    err = run_file(given, m, &p[0]);
  }
  for (int k = 0; k < DX_SPLITS; k++) close_pair(&p[k]);
  free(p);
  return err;
}

const dx_importer dx_importer_idx = {
  .name = "idx", .help = "MNIST, Fashion-MNIST: the folder of their files, or one file of images",
  .options = options, .config_size = sizeof(config), .run = run,
};
