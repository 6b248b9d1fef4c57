/* SPDX-License-Identifier: Apache-2.0 */
/* train/export.c - see export.h. */
#include "train/export.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/dataset.h"
#include "io/file.h"
#include "io/h5.h"
#include "io/npz.h"
#include "io/picture.h"

enum { PIECE = 256 }; /* samples that are read at a time */

/* A file of samples. */
typedef struct {
  const char *path;
  dx_h5 *f;
  int64_t n;
  bool images, labels;
  dx_dataset_info info;  /* sample, modality, shift, scale and range */
  float *piece;          /* (PIECE, h, w, c) */
} set;

/* --- the file --------------------------------------------------------------- */

static bool is_newer(const struct stat *a, const struct stat *b)
{
  return a->st_mtim.tv_sec != b->st_mtim.tv_sec ? a->st_mtim.tv_sec > b->st_mtim.tv_sec : a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
}

/* The newest .h5 file of a folder into name (empty: none); of files of one time the last by name. */
static void find_newest(DIR *d, const char *folder, char name[256])
{
  struct stat newest = {0}, s;
  char path[4096];

  *name = '\0';
  for (const struct dirent *e; (e = readdir(d));) {
    const size_t length = strlen(e->d_name);

    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (length < 4 || strcmp(e->d_name + length - 3, ".h5") || stat(path, &s) || !S_ISREG(s.st_mode)) continue;
    if (*name && (is_newer(&newest, &s) || (!is_newer(&s, &newest) && strcmp(e->d_name, name) < 0))) continue;
    snprintf(name, 256, "%s", e->d_name);
    newest = s;
  }
}

dx_error *dx_samples_resolve(const char *path, char **file)
{
  char folder[3072], name[256], whole[4096];
  struct stat s;
  DIR *d;

  if (stat(path, &s)) return DX_FAIL(IO, "%s: no such run folder or file of samples", path);
  snprintf(whole, sizeof whole, "%s", path);
  if (S_ISDIR(s.st_mode)) {
    snprintf(folder, sizeof folder, "%s/samples", path);
    if (!(d = opendir(folder)) && errno != ENOENT) return DX_FAIL(IO, "cannot read %s: %s", folder, strerror(errno));
    *name = '\0';
    if (d) {
      find_newest(d, folder, name);
      closedir(d);
    }
    if (!*name) return DX_FAIL(IO, "%s: no samples yet in %s; diffx sample %s draws some", path, folder, path);
    snprintf(whole, sizeof whole, "%s/%s", folder, name);
  }
  *file = strdup(whole);
  return *file ? NULL : DX_FAIL(INTERNAL, "no memory for a path");
}

static void close_set(set *s)
{
  dx_h5_close(s->f);
  free(s->piece);
}

/* What the root tells of the values. */
static dx_error *read_facts(set *s)
{
  dx_dataset_info *const i = &s->info;
  char *modality = NULL;
  dx_error *err;

  DX_TRY_GOTO(err, out, dx_h5_expect(s->f, "samples"));
  if (!dx_h5_has_attr(s->f, "/", "scale")) {
    err = DX_FAIL(DATA, "%s was written by an older diffx and does not tell the range of its values; diffx sample draws the same "
                  "samples into a file that does", s->path);
    goto out;
  }
  DX_TRY_GOTO(err, out, dx_h5_get_text(s->f, "/", "modality", &modality));
  snprintf(i->modality, sizeof i->modality, "%s", modality);
  DX_TRY_GOTO(err, out, dx_h5_get_real(s->f, "/", "shift", &i->shift));
  DX_TRY_GOTO(err, out, dx_h5_get_real(s->f, "/", "scale", &i->scale));
  i->has_range = dx_h5_has_attr(s->f, "/", "range_lo");
  if (i->has_range) {
    DX_TRY_GOTO(err, out, dx_h5_get_real(s->f, "/", "range_lo", &i->lo));
    DX_TRY_GOTO(err, out, dx_h5_get_real(s->f, "/", "range_hi", &i->hi));
  }
out:
  free(modality);
  return err;
}

static dx_error *read_shape(set *s)
{
  dx_h5_info x, label;

  DX_TRY(dx_h5_look(s->f, "/x", &x));
  s->info.sample = (dx_shape){1, x.dim[1], x.dim[2], x.dim[3]};
  if (x.rank != 4 || x.type != DX_H5_F32 || x.dim[0] < 1 || !dx_shape_is_sample(s->info.sample))
    return DX_FAIL(DATA, "%s: /x is no set of samples; allowed: float32 [N, H, W, C]", s->path);
  s->n = x.dim[0];
  s->images = !strcmp(s->info.modality, "image") && (x.dim[3] == 1 || x.dim[3] == 3);
  s->labels = dx_h5_has(s->f, "/label");
  if (!s->labels) return NULL;
  DX_TRY(dx_h5_look(s->f, "/label", &label));
  if (label.rank == 1 && label.dim[0] == s->n) return NULL;
  return DX_FAIL(DATA, "%s: /label must be one number for each of the %lld samples", s->path, (long long)s->n);
}

static dx_error *open_set(const char *path, set *s)
{
  dx_error *err;

  *s = (set){.path = path};
  DX_TRY(dx_h5_open(path, &s->f));
  err = read_facts(s);
  if (!err) err = read_shape(s);
  if (!err && !(s->piece = malloc((size_t)(PIECE * dx_shape_dim(s->info.sample)) * sizeof *s->piece)))
    err = DX_FAIL(INTERNAL, "no memory for samples");
  if (err) close_set(s);
  return err;
}

static int64_t piece_of(const set *s, int64_t first) { return s->n - first < PIECE ? s->n - first : PIECE; }

static void say_units(const set *s, dx_logger *log)
{
  const dx_dataset_info *const i = &s->info;

  if (s->images && !i->has_range)
    dx_log_say(log, DX_LOG_INFO, "%s: the data declare no range; black is %g and white %g, two and a half deviations from "
               "their mean", s->path, i->shift - 2.5 * i->scale, i->shift + 2.5 * i->scale);
}

/* --- npz -------------------------------------------------------------------- */

/* All of them as bytes (n, h, w, 3), or as they are; *out malloc'd. */
static dx_error *read_all(set *s, void **out)
{
  const int64_t D = dx_shape_dim(s->info.sample), copies = s->images ? 3 / s->info.sample.c : 1;
  float *const x = s->images ? NULL : malloc((size_t)(s->n * D) * sizeof *x);
  uint8_t *const y = s->images ? malloc((size_t)(s->n * D * copies)) : NULL;
  dx_error *err = x || y ? NULL : DX_FAIL(INTERNAL, "no memory for %lld samples", (long long)s->n);

  if (!err && x) err = dx_h5_read(s->f, "/x", DX_H5_F32, x);
  for (int64_t i = 0; !err && y && i < s->n; i += PIECE) {
    const int64_t n = piece_of(s, i) * D;
    uint8_t *const to = y + i * D * copies;

    err = dx_h5_read_rows(s->f, "/x", DX_H5_F32, i, piece_of(s, i), s->piece);
    if (err) break;
    dx_dataset_shade(&s->info, n, s->piece, to);
    for (int64_t j = n; copies > 1 && j-- > 0;) memset(to + 3 * j, to[j], 3); /* from behind, in place */
  }
  *out = x ? (void *)x : y;
  if (!err) return NULL;
  free(*out);
  *out = NULL;
  return err;
}

/* How NumPy is to see them: points (N, C), sequences (N, L, C), images (N, H, W, C). */
static dx_npy array_of(const set *s, const void *data)
{
  const dx_shape d = s->info.sample;
  dx_npy a = {.name = "arr_0", .type = s->images ? "|u1" : "<f4", .rank = 1, .dim = {s->n}, .data = data};

  if (d.h > 1 || !strcmp(s->info.modality, "image")) a.dim[a.rank++] = d.h;
  if (a.rank > 1 || d.w > 1 || !strcmp(s->info.modality, "sequence")) a.dim[a.rank++] = d.w;
  a.dim[a.rank++] = s->images ? 3 : d.c;
  return a;
}

static dx_error *write_npz(set *s, const char *path, dx_logger *log)
{
  int64_t *const label = calloc((size_t)s->n, sizeof *label);
  void *data = NULL;
  dx_error *err = label ? read_all(s, &data) : DX_FAIL(INTERNAL, "no memory for labels");

  if (!err && s->labels) err = dx_h5_read(s->f, "/label", DX_H5_I64, label);
  if (!err) {
    const dx_npy a[] = {array_of(s, data), {.name = "arr_1", .type = "<i8", .rank = 1, .dim = {s->n}, .data = label}};

    err = dx_npz_save(path, a, s->labels ? 2 : 1);
  }
  if (!err)
    dx_log_say(log, DX_LOG_INFO, "%s: %lld samples of %s, %s%s%s", path, (long long)s->n, s->path,
               s->images ? "uint8" : "float32 in data units",
               s->images && s->info.sample.c == 1 ? ", gray as three equal channels" : "", s->labels ? ", with their classes" : "");
  free(data);
  free(label);
  return err;
}

dx_error *dx_export_npz(const char *samples, const char *path, dx_logger *log)
{
  dx_error *err;
  set s;

  if (!dx_npz_can_save()) return dx_npz_save(path, NULL, 0);
  DX_TRY(open_set(samples, &s));
  say_units(&s, log);
  err = write_npz(&s, path, log);
  close_set(&s);
  return err;
}

/* --- PNG -------------------------------------------------------------------- */

static void name_picture(const char *folder, int64_t i, char path[4096])
{
  snprintf(path, 4096, "%s/%06lld.png", folder, (long long)i);
}

/* The folder becomes whole at the end, so a picture need not be on the disk before the next. */
static dx_error *write_picture(const dx_picture *p, const char *path)
{
  void *bytes;
  size_t size;
  FILE *to;

  DX_TRY(dx_picture_encode(p, path, &bytes, &size));
  to = fopen(path, "wb");
  const bool good = to && fwrite(bytes, 1, size, to) == size;
  const int why = errno;
  free(bytes);
  if (to && fclose(to) == 0 && good) return NULL;
  return DX_FAIL(IO, "cannot write %s: %s", path, strerror(good ? errno : why));
}

static dx_error *write_pictures(set *s, const char *folder)
{
  const int64_t D = dx_shape_dim(s->info.sample);
  uint8_t *const pixels = malloc((size_t)(PIECE * D));
  dx_picture p = {.h = s->info.sample.h, .w = s->info.sample.w, .c = s->info.sample.c};
  dx_error *err = pixels ? NULL : DX_FAIL(INTERNAL, "no memory for pictures");
  char path[4096];

  for (int64_t i = 0; !err && i < s->n; i += PIECE) {
    err = dx_h5_read_rows(s->f, "/x", DX_H5_F32, i, piece_of(s, i), s->piece);
    if (!err) dx_dataset_shade(&s->info, piece_of(s, i) * D, s->piece, pixels);
    for (int64_t j = 0; !err && j < piece_of(s, i); j++) {
      name_picture(folder, i + j, path);
      p.pixels = pixels + j * D;
      err = write_picture(&p, path);
    }
  }
  free(pixels);
  return err;
}

/* Pictures from number i on, of this export or of one that was broken off. */
static void remove_pictures(const char *folder, int64_t i)
{
  char path[4096];

  do name_picture(folder, i++, path);
  while (unlink(path) == 0);
}

static dx_error *write_folder(set *s, const char *folder)
{
  char part[3072];
  dx_error *err;

  DX_TRY(dx_folder_begin(folder, sizeof part, part));
  remove_pictures(part, 0);
  err = write_pictures(s, part);
  if (!err) err = dx_folder_publish(part, folder);
  if (!err) return NULL;
  remove_pictures(part, 0);
  rmdir(part);
  return err;
}

dx_error *dx_export_png(const char *samples, const char *folder, dx_logger *log)
{
  dx_error *err = NULL;
  set s;

  DX_TRY(open_set(samples, &s));
  const dx_shape d = s.info.sample;
  if (!dx_picture_can_save()) err = DX_FAIL(IO, "cannot write %s: this diffx was built without libpng", folder);
  else if (!s.images)
    err = DX_FAIL(DATA, "%s holds samples of modality %s, %lld x %lld x %lld; PNG takes images of 1 or 3 channels, NAME.npz "
                  "takes all", samples, s.info.modality, (long long)d.h, (long long)d.w, (long long)d.c);
  if (!err) say_units(&s, log);
  if (!err) err = write_folder(&s, folder);
  if (!err) dx_log_say(log, DX_LOG_INFO, "%s: %lld pictures of %s", folder, (long long)s.n, samples);
  close_set(&s);
  return err;
}
