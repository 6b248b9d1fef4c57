/* SPDX-License-Identifier: Apache-2.0 */
/* data/dataset_file.c - samples from an HDF5 file; doc/formats.md has the layout. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/inside.h"
#include "io/file.h"
#include "io/h5.h"

typedef struct { char file[4096], import[4096]; } config;
typedef struct { dx_h5 *f; dx_raw raw; } opened;

enum { FORMAT = 1, LABELS = 1 << 16 /* read at a time */ };

/* Where the file lies is no part of the answer: its content is, by its hash. */
static const dx_option options[] = {
  DX_OPTION(config, file, NULL, 0, 0, "path of the HDF5 file", .role = DX_RUN),
  DX_OPTION(config, import, "", 0, 0, "what makes the file: a format of diffx data import and the source, told where the file is missing", .role = DX_RUN),
  DX_OPTION_END
};

static const char *const type_words[] = {
  [DX_H5_U8] = "8-bit unsigned integers", [DX_H5_I32] = "integers that are not 8-bit unsigned",
  [DX_H5_I64] = "64-bit integers", [DX_H5_U64] = "64-bit unsigned integers",
  [DX_H5_F32] = "32-bit floats", [DX_H5_F64] = "64-bit floats", [DX_H5_TEXT] = "text"};

/* A file that is being looked at: path is for messages. */
typedef struct { dx_h5 *f; const char *path; dx_dataset_info *info; } look;

/* h x w x c of one row: [N, C], [N, L, C] or [N, H, W, C]. */
static dx_error *sample_of(const look *l, const char *x, const dx_h5_info *d, dx_shape *sample)
{
  if (d->type != DX_H5_U8 && d->type != DX_H5_F32)
    return DX_FAIL(DATA, "%s: %s holds %s; diffx takes uint8 or float32", l->path, x,
                   type_words[d->type]);
  if (d->rank < 2 || d->rank > 4)
    return DX_FAIL(DATA, "%s: %s has %d dimension%s; points are [N, C], images [N, H, W, C]",
                   l->path, x, d->rank, d->rank == 1 ? "" : "s");
  for (int i = 1; i < d->rank; i++)
    if (d->dim[i] == 0) return DX_FAIL(DATA, "%s: dimension %d of %s is 0", l->path, i, x);
  *sample = (dx_shape){.b = 1, .h = d->rank == 4 ? d->dim[1] : 1,
                       .w = d->rank > 2 ? d->dim[d->rank - 2] : 1, .c = d->dim[d->rank - 1]};
  if (!dx_shape_is_sample(*sample))
    return DX_FAIL(DATA, "%s: %s has samples of %lld x %lld x %lld; allowed: fewer than 2^31 numbers in a sample", l->path, x,
                   (long long)sample->h, (long long)sample->w, (long long)sample->c);
  return NULL;
}

/* One more than the greatest label of a split; a negative one is refused. */
static dx_error *greatest_label(const look *l, const char *path, int64_t n, int64_t *classes)
{
  int64_t *label = malloc(LABELS * sizeof *label);
  dx_error *e = label ? NULL : DX_FAIL(INTERNAL, "out of memory");

  for (int64_t i = 0; i < n && !e; i += LABELS) {
    const int64_t m = n - i < LABELS ? n - i : LABELS;

    e = dx_h5_read_rows(l->f, path, DX_H5_I64, i, m, label);
    for (int64_t k = 0; k < m && !e; k++) {
      if (label[k] < 0 || label[k] >= INT32_MAX)
        e = DX_FAIL(DATA, "%s: %s has %lld in row %lld; labels count from 0", l->path, path,
                    (long long)label[k], (long long)(i + k));
      else if (label[k] >= *classes) *classes = label[k] + 1;
    }
  }
  free(label);
  return e;
}

static dx_error *look_at_labels(const look *l, dx_split split, int64_t *classes)
{
  const int64_t rows = l->info->count[split];
  char path[32];
  dx_h5_info d;

  snprintf(path, sizeof path, "/%s/label", dx_split_name[split]);
  DX_TRY(dx_h5_look(l->f, path, &d));
  if (d.type == DX_H5_F32 || d.type == DX_H5_F64 || d.type == DX_H5_TEXT || d.rank != 1)
    return DX_FAIL(DATA, "%s: %s must be one whole number per row", l->path, path);
  if (d.dim[0] != rows)
    return DX_FAIL(DATA, "%s: %s has %lld rows, /%s/x has %lld", l->path, path, (long long)d.dim[0],
                   dx_split_name[split], (long long)rows);
  return greatest_label(l, path, rows, classes);
}

/* The samples of one split; its shape and type are those of the splits before. */
static dx_error *look_at_split(const look *l, dx_split split)
{
  dx_dataset_info *const info = l->info;
  char x[32];
  dx_h5_info d;
  dx_shape sample = {0};
  dx_raw raw;

  snprintf(x, sizeof x, "/%s/x", dx_split_name[split]);
  if (!dx_h5_has(l->f, x)) {
    if (split != DX_TRAIN) return NULL; /* no test split */
    return DX_FAIL(DATA, "%s has no %s: it is no dataset (data/README.md)", l->path, x);
  }
  DX_TRY(dx_h5_look(l->f, x, &d));
  DX_TRY(sample_of(l, x, &d, &sample));
  raw = d.type == DX_H5_U8 ? DX_RAW_U8 : DX_RAW_F32;
  if (split == DX_TRAIN) {
    if (d.dim[0] == 0) return DX_FAIL(DATA, "%s: %s has no rows", l->path, x);
    info->sample = sample;
    info->raw = raw;
    strcpy(info->modality, d.rank == 2 ? "points" : d.rank == 3 ? "sequence" : "image");
  } else if (raw != info->raw || sample.h != info->sample.h || sample.w != info->sample.w ||
             sample.c != info->sample.c)
    return DX_FAIL(DATA, "%s: %s has samples of %lld x %lld x %lld %s, /train/x of %lld x %lld x %lld %s",
                   l->path, x, (long long)sample.h, (long long)sample.w, (long long)sample.c,
                   raw == DX_RAW_U8 ? "uint8" : "float32", (long long)info->sample.h,
                   (long long)info->sample.w, (long long)info->sample.c,
                   info->raw == DX_RAW_U8 ? "uint8" : "float32");
  info->count[split] = d.dim[0];
  return NULL;
}

/* A real attribute of the file, if it is there. */
static dx_error *get_if(const look *l, const char *name, double *v, bool *there)
{
  *there = dx_h5_has_attr(l->f, "/", name);
  if (!*there) return NULL;
  DX_TRY(dx_h5_get_real(l->f, "/", name, v));
  if (!isfinite(*v)) return DX_FAIL(DATA, "%s: the attribute %s is not finite", l->path, name);
  return NULL;
}

static dx_error *look_at_units(const look *l)
{
  dx_dataset_info *const info = l->info;
  const bool bytes = info->raw == DX_RAW_U8;
  bool lo, hi, given;

  info->shift = bytes ? 127.5 : 0;
  info->scale = bytes ? 127.5 : 1;
  info->lo = 0;
  info->hi = bytes ? 255 : 0;
  DX_TRY(get_if(l, "shift", &info->shift, &given));
  DX_TRY(get_if(l, "scale", &info->scale, &given));
  DX_TRY(get_if(l, "range_lo", &info->lo, &lo));
  DX_TRY(get_if(l, "range_hi", &info->hi, &hi));
  if (!(info->scale > 0))
    return DX_FAIL(DATA, "%s: the attribute scale is %g; it must be above 0", l->path, info->scale);
  if (lo != hi)
    return DX_FAIL(DATA, "%s has the attribute %s without %s", l->path, lo ? "range_lo" : "range_hi",
                   lo ? "range_hi" : "range_lo");
  if (lo && !(info->lo < info->hi))
    return DX_FAIL(DATA, "%s: range_lo is %g, not below range_hi, %g", l->path, info->lo, info->hi);
  if (bytes && (info->shift != 127.5 || info->scale != 127.5 || info->lo != 0 || info->hi != 255))
    return DX_FAIL(DATA, "%s: 8-bit samples have shift 127.5, scale 127.5 and range 0 to 255, not "
                   "%g, %g and %g to %g", l->path, info->shift, info->scale, info->lo, info->hi);
  info->has_range = lo || bytes;
  return NULL;
}

static dx_error *look_at_classes(const look *l)
{
  const bool train = dx_h5_has(l->f, "/train/label"), test = dx_h5_has(l->f, "/test/label");
  int64_t seen = 0, told = 0;
  char *names = NULL;

  if (!train && !test) return NULL;
  if (l->info->count[DX_TEST] > 0 && train != test)
    return DX_FAIL(DATA, "%s has labels in %s but not in %s", l->path, train ? "train" : "test",
                   train ? "test" : "train");
  if (train) DX_TRY(look_at_labels(l, DX_TRAIN, &seen));
  if (l->info->count[DX_TEST] > 0) DX_TRY(look_at_labels(l, DX_TEST, &seen));
  if (dx_h5_has_attr(l->f, "/", "classes")) DX_TRY(dx_h5_get_int(l->f, "/", "classes", &told));
  else if (dx_h5_has_attr(l->f, "/", "class_names")) {
    DX_TRY(dx_h5_get_text(l->f, "/", "class_names", &names));
    told = 1;
    for (const char *p = names; *p; p++) told += *p == '\n' && p[1];
    free(names);
  } else told = seen;
  if (told < seen || told > INT32_MAX)
    return DX_FAIL(DATA, "%s: labels go up to %lld, but %lld classes are declared", l->path,
                   (long long)seen - 1, (long long)told);
  l->info->classes = told;
  return NULL;
}

/* A file made by another program need not have content and format. */
static dx_error *look_at_kind(const look *l)
{
  int64_t format;

  if (dx_h5_has_attr(l->f, "/", "content")) DX_TRY(dx_h5_expect(l->f, "dataset"));
  if (!dx_h5_has_attr(l->f, "/", "format")) return NULL;
  DX_TRY(dx_h5_get_int(l->f, "/", "format", &format));
  if (format > FORMAT)
    return DX_FAIL(DATA, "%s has format %lld; this diffx reads formats up to %d: a newer one is needed",
                   l->path, (long long)format, FORMAT);
  return NULL;
}

static dx_error *look_at_modality(const look *l)
{
  char *text = NULL;

  if (!dx_h5_has_attr(l->f, "/", "modality")) return NULL;
  DX_TRY(dx_h5_get_text(l->f, "/", "modality", &text));
  if (strlen(text) >= sizeof l->info->modality) {
    free(text);
    return DX_FAIL(DATA, "%s: the attribute modality is too long", l->path);
  }
  strcpy(l->info->modality, text);
  free(text);
  return NULL;
}

dx_error *dx_dataset_look(const char *path, dx_dataset_info *info)
{
  const char *slash = strrchr(path, '/');
  dx_dataset_info found = {0};
  look l = {.path = path, .info = &found};
  dx_error *e;

  DX_TRY(dx_h5_open(path, &l.f));
  snprintf(found.name, sizeof found.name, "%s", slash ? slash + 1 : path);
  DX_TRY_GOTO(e, out, look_at_kind(&l));
  for (int s = 0; s < DX_SPLITS; s++) DX_TRY_GOTO(e, out, look_at_split(&l, (dx_split)s));
  DX_TRY_GOTO(e, out, look_at_modality(&l));
  DX_TRY_GOTO(e, out, look_at_units(&l));
  DX_TRY_GOTO(e, out, look_at_classes(&l));
  *info = found;
out:
  dx_h5_close(l.f);
  return e;
}

static dx_error *where_from(dx_error *e, const config *k)
{
  dx_error *const more = DX_FAIL(IO, "%s; to make it: ./diffx data import %s %s (%sdata/README.md tells where the "
                                 "official files come from)", dx_error_text(e), *k->import ? k->import : "FORMAT SOURCE", k->file,
                                 *k->import ? "" : "FORMAT: cifar10, idx, images or npy; ");

  dx_error_free(e);
  return more;
}

/* Rank 0 looks first, so that a bad file costs one rank's look and gives one message. */
static dx_error *open(const void *given, const dx_comm *c, dx_dataset_info *info, void **state)
{
  const config *k = given;
  opened *o = calloc(1, sizeof *o);
  dx_error *e = o ? NULL : DX_FAIL(INTERNAL, "out of memory");

  if (!e && dx_comm_rank(c) == 0) e = dx_dataset_look(k->file, info);
  if (e && !dx_file_exists(k->file)) e = where_from(e, k);
  DX_TRY_GOTO(e, out, dx_comm_agree(c, e));
  dx_comm_broadcast(c, info, sizeof *info);
  o->raw = info->raw;
  DX_TRY_GOTO(e, out, dx_h5_open_parallel(c, k->file, &o->f));
out:
  if (e) free(o);
  else *state = o;
  return e;
}

static dx_error *rows(void *state, dx_split split, int64_t first, int64_t n, void *out, int32_t *label)
{
  const opened *o = state;
  char path[32];

  if (n == 0) return NULL;
  snprintf(path, sizeof path, "/%s/x", dx_split_name[split]);
  DX_TRY(dx_h5_read_rows(o->f, path, o->raw == DX_RAW_U8 ? DX_H5_U8 : DX_H5_F32, first, n, out));
  if (!label) return NULL;
  snprintf(path, sizeof path, "/%s/label", dx_split_name[split]);
  return dx_h5_read_rows(o->f, path, DX_H5_I32, first, n, label);
}

static dx_error *class_names(void *state, char **text)
{
  const opened *o = state;

  return dx_h5_has_attr(o->f, "/", "class_names") ? dx_h5_get_text(o->f, "/", "class_names", text) : NULL;
}

static void close(void *state)
{
  opened *o = state;

  dx_h5_close(o->f);
  free(o);
}

const dx_source dx_source_file = {
  .name = "file", .help = "samples from an HDF5 file (data/README.md)",
  .options = options, .config_size = sizeof(config),
  .open = open, .rows = rows, .close = close, .class_names = class_names,
};
