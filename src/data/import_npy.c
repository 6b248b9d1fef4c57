/* SPDX-License-Identifier: Apache-2.0 */
/* data/import_npy.c - arrays that numpy.save wrote: [N, C], [N, L, C] or [N, H, W, C]. */
#include "data/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 1 << 16, PIECE_BYTES = 1 << 20 };

static const int64_t most_numbers = (int64_t)1 << 48; /* numbers of an array */

typedef struct { char labels[4096]; int64_t test; } config;
static const dx_option options[] = {
  DX_OPTION(config, labels, "", 0, 0, "a second .npy file: the label of each row"),
  DX_OPTION(config, test, "0", 0, 1e12, "the last rows that become the test split"),
  DX_OPTION_END
};

/* An open array. type: 'u', 'i' or 'f'; size: bytes of a number. */
typedef struct {
  dx_unpack *u;
  const char *path;
  char type;
  int size, rank;
  int64_t dim[8];
} array;

/* What follows 'key': in the header, or NULL. */
static const char *value_of(const char *header, const char *key)
{
  const char *at = strstr(header, key);

  if (!at || !(at = strchr(at + strlen(key), ':'))) return NULL;
  return at + 1 + strspn(at + 1, " ");
}

static dx_error *read_shape(array *a, const char *at)
{
  int64_t numbers = 1;

  for (at++; *at && *at != ')'; at += strspn(at, ", ")) {
    char *end;

    if (a->rank == 8) break;
    a->dim[a->rank++] = strtoll(at, &end, 10);
    if (end == at || a->dim[a->rank - 1] < 1 || a->dim[a->rank - 1] > most_numbers / numbers)
      return DX_FAIL(DATA, "%s: its header has no good shape", a->path);
    numbers *= a->dim[a->rank - 1];
    at = end + (*end == 'L');
  }
  return NULL;
}

/* b1, u1 .. u8, i1 .. i8, f4, f8, little-endian. */
static dx_error *read_type(array *a, const char *text)
{
  char start[7], shown[DX_SHOWN];
  const bool quoted = *text == '\'' && strlen(text) > 4;

  a->type = quoted ? text[2] : 0;
  a->size = quoted ? text[3] - '0' : 0;
  if (a->type == 'b') a->type = 'u';
  if (quoted && text[4] == '\'' && (text[1] == '<' || a->size == 1) &&
      ((a->type == 'f' && (a->size == 4 || a->size == 8)) ||
       ((a->type == 'u' || a->type == 'i') && (a->size == 1 || a->size == 2 || a->size == 4 || a->size == 8))))
    return NULL;
  snprintf(start, sizeof start, "%s", text);
  return DX_FAIL(DATA, "%s holds numbers of the type %s; astype one of uint8, float32, float64 (labels: int64), "
                 "little-endian", a->path, dx_text_show(start, shown));
}

static dx_error *read_header(array *a)
{
  unsigned char h[12];
  char *text;
  size_t length;
  dx_error *err;

  DX_TRY(dx_unpack_read(a->u, h, 10));
  if (memcmp(h, "\x93NUMPY", 6)) return DX_FAIL(DATA, "%s is no .npy file: byte 0 begins another format", a->path);
  length = h[8] | (size_t)h[9] << 8;
  if (h[6] > 1) {
    DX_TRY(dx_unpack_read(a->u, h + 10, 2));
    length |= (size_t)h[10] << 16 | (size_t)h[11] << 24;
  }
  if (length > HEADER) return DX_FAIL(DATA, "%s: its header claims %zu bytes at byte 8", a->path, length);
  if (!(text = calloc(1, length + 1))) return DX_FAIL(INTERNAL, "no memory for an import");
  DX_TRY_GOTO(err, out, dx_unpack_read(a->u, text, length));
  const char *const type = value_of(text, "'descr'"), *const order = value_of(text, "'fortran_order'"),
             *const shape = value_of(text, "'shape'");
  if (!type || !order || !shape || *shape != '(') {
    err = DX_FAIL(DATA, "%s: its header, from byte 10 on, does not tell type, order and shape", a->path);
    goto out;
  }
  if (strncmp(order, "False", 5)) {
    err = DX_FAIL(DATA, "%s is in Fortran's order; save numpy.ascontiguousarray(x)", a->path);
    goto out;
  }
  err = read_type(a, type);
  if (!err) err = read_shape(a, shape);
out:
  free(text);
  return err;
}

static dx_error *open_array(const char *path, array *a)
{
  *a = (array){.path = path};
  DX_TRY(dx_unpack_open(path, &a->u));
  return read_header(a);
}

/* A whole number of the array. */
static int64_t whole_at(const array *a, const void *bytes, int64_t i)
{
  const unsigned char *const p = (const unsigned char *)bytes + i * a->size;
  uint64_t v = a->type == 'i' && p[a->size - 1] >> 7 ? ~(uint64_t)0 : 0;

  for (int k = a->size - 1; k >= 0; k--) v = v << 8 | p[k];
  return (int64_t)v;
}

/* All labels (malloc'd) and how many classes they make. */
static dx_error *read_labels(dx_import *m, const char *path, int64_t n, int32_t **out, int64_t *classes)
{
  array a;
  void *bytes = NULL;
  dx_error *err;

  DX_TRY_GOTO(err, out, open_array(path, &a));
  if (a.rank != 1 || a.dim[0] != n || a.type == 'f') {
    err = DX_FAIL(DATA, "%s must hold %lld whole numbers, one a row", path, (long long)n);
    goto out;
  }
  bytes = malloc((size_t)(n * a.size));
  *out = malloc((size_t)n * sizeof **out);
  if (!bytes || !*out) err = DX_FAIL(INTERNAL, "no memory for %lld labels", (long long)n);
  if (!err) err = dx_unpack_read(a.u, bytes, (size_t)(n * a.size));
  for (int64_t i = 0; i < n && !err; i++) {
    const int64_t v = whole_at(&a, bytes, i);

    if (v < 0 || v >= INT32_MAX)
      err = DX_FAIL(DATA, "%s has %lld in row %lld; labels count from 0", path, (long long)v, (long long)i);
    else if (v >= *classes) *classes = v + 1;
    if (!err) (*out)[i] = (int32_t)v;
  }
  if (!err) err = dx_import_end_of(m, a.u, path);
out:
  dx_unpack_close(a.u);
  free(bytes);
  return err;
}

static dx_error *copy_split(dx_import *m, const array *a, const dx_dataset_info *info, dx_split split, const int32_t *label)
{
  const int64_t row = dx_shape_dim(info->sample), most = PIECE_BYTES / (row * 8) + 1, n = info->count[split];
  const size_t room = (size_t)(most * row);
  void *const raw = malloc(room * 8);
  float *const real = malloc(room * sizeof *real);
  dx_error *err = raw && real ? NULL : DX_FAIL(INTERNAL, "no memory for an import");

  for (int64_t i = 0; i < n && !err; i += most) {
    const int64_t k = n - i < most ? n - i : most;

    err = dx_unpack_read(a->u, raw, (size_t)(k * row * a->size));
    if (a->size == 8)
      for (int64_t j = 0; j < k * row; j++) real[j] = (float)((double *)raw)[j];
    if (!err) err = dx_import_rows(m, split, i, k, a->size == 8 ? real : raw, label ? label + i : NULL);
    dx_import_progress(m, dx_unpack_part(a->u));
  }
  free(raw);
  free(real);
  return err;
}

static dx_error *copy(const config *c, dx_import *m, const array *a, int32_t **label)
{
  const bool bytes = a->type == 'u' && a->size == 1;
  dx_dataset_info info = {.raw = bytes ? DX_RAW_U8 : DX_RAW_F32, .shift = 0, .scale = 1};

  if (a->rank < 2 || a->rank > 4)
    return DX_FAIL(DATA, "%s has %d dimension%s; points are [N, C], sequences [N, L, C], images [N, H, W, C]", a->path,
                   a->rank, a->rank == 1 ? "" : "s");
  if (!bytes && a->type != 'f')
    return DX_FAIL(DATA, "%s holds whole numbers of %d bytes; astype uint8 or float32", a->path, a->size);
  info.sample = (dx_shape){.b = 1, .h = a->rank == 4 ? a->dim[1] : 1, .w = a->rank > 2 ? a->dim[a->rank - 2] : 1,
                           .c = a->dim[a->rank - 1]};
  snprintf(info.modality, sizeof info.modality, "%s", a->rank == 2 ? "points" : a->rank == 3 ? "sequence" : "image");
  info.count[DX_TRAIN] = a->dim[0] - c->test;
  info.count[DX_TEST] = c->test;
  if (c->labels[0]) DX_TRY(read_labels(m, c->labels, a->dim[0], label, &info.classes));
  DX_TRY(dx_import_begin(m, &info, NULL));
  DX_TRY(copy_split(m, a, &info, DX_TRAIN, *label));
  DX_TRY(copy_split(m, a, &info, DX_TEST, *label ? *label + info.count[DX_TRAIN] : NULL));
  return dx_import_end_of(m, a->u, a->path);
}

static dx_error *run(const void *given, const char *source, dx_import *m)
{
  int32_t *label = NULL;
  array a;
  dx_error *err = open_array(source, &a);

  if (!err) err = copy(given, m, &a, &label);
  dx_unpack_close(a.u);
  free(label);
  return err;
}

const dx_importer dx_importer_npy = {
  .name = "npy", .help = "an array that numpy.save wrote, its labels=LABELS.npy and test=N last rows for the test split",
  .options = options, .config_size = sizeof(config), .run = run,
};
