/* SPDX-License-Identifier: Apache-2.0 */
/* data/show.c - what a dataset file holds, for people; see dataset.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/inside.h"
#include "io/h5.h"

enum { CLASSES_SHOWN = 20, TEXT_SHOWN = 70 };

/* Statistics of one split; the numbers that are not finite are counted and left out. */
typedef struct {
  double lo, hi, sum, squares;
  int64_t numbers, not_finite;
  int64_t *of_class; /* (classes) */
} statistics;

typedef struct {
  dx_h5 *f;
  const dx_dataset_info *info;
  void *rows;        /* room for one piece */
  int32_t *label;
  uint64_t hash;
  dx_error *wrong;   /* what a run would refuse the file for */
} show;

static void add_number(statistics *s, double x)
{
  if (!isfinite(x)) {
    s->not_finite++;
    return;
  }
  if (x < s->lo) s->lo = x;
  if (x > s->hi) s->hi = x;
  s->sum += x;
  s->squares += x * x;
  s->numbers++;
}

static void add_piece(const show *w, int64_t n, statistics *s)
{
  const int64_t count = n * dx_shape_dim(w->info->sample);

  for (int64_t i = 0; i < count; i++)
    add_number(s, w->info->raw == DX_RAW_U8 ? ((const uint8_t *)w->rows)[i] : ((const float *)w->rows)[i]);
  for (int64_t i = 0; i < n && w->info->classes > 0; i++)
    if (w->label[i] >= 0 && w->label[i] < w->info->classes) s->of_class[w->label[i]]++;
}

static dx_error *read_split(show *w, dx_split split, statistics *s)
{
  const int64_t n = w->info->count[split], step = dx_piece_rows(w->info);
  char x[32], label[32];

  snprintf(x, sizeof x, "/%s/x", dx_split_name[split]);
  snprintf(label, sizeof label, "/%s/label", dx_split_name[split]);
  for (int64_t i = 0; i < n; i += step) {
    const int64_t m = n - i < step ? n - i : step;

    DX_TRY(dx_h5_read_rows(w->f, x, w->info->raw == DX_RAW_U8 ? DX_H5_U8 : DX_H5_F32, i, m, w->rows));
    if (w->info->classes > 0) DX_TRY(dx_h5_read_rows(w->f, label, DX_H5_I32, i, m, w->label));
    if (!w->wrong) w->wrong = dx_content_check(w->info, split, i, m, w->rows, w->label);
    w->hash += dx_content_sum(w->info, split, i, m, w->rows, w->label);
    add_piece(w, m, s);
  }
  return NULL;
}

static void print_split(const show *w, dx_split split, const statistics *s, FILE *to)
{
  const double n = s->numbers > 0 ? (double)s->numbers : NAN, mean = s->sum / n;
  const double variance = s->squares / n - mean * mean;

  fprintf(to, "%-6s %10lld rows   min %g   max %g   mean %.6g   std %.6g", dx_split_name[split],
          (long long)w->info->count[split], s->lo, s->hi, mean, sqrt(variance > 0 ? variance : 0));
  if (s->not_finite) fprintf(to, "   NOT FINITE %lld", (long long)s->not_finite);
  fprintf(to, "\n");
  if (w->info->classes == 0) return;
  fprintf(to, "       rows by class:");
  for (int64_t k = 0; k < w->info->classes && k < CLASSES_SHOWN; k++)
    fprintf(to, " %lld", (long long)s->of_class[k]);
  fprintf(to, w->info->classes > CLASSES_SHOWN ? " ...\n" : "\n");
}

static dx_error *show_split(show *w, dx_split split, FILE *to)
{
  statistics s = {.lo = INFINITY, .hi = -INFINITY};
  dx_error *e;

  if (w->info->count[split] == 0) {
    fprintf(to, "%-6s          0 rows\n", dx_split_name[split]);
    return NULL;
  }
  s.of_class = calloc((size_t)w->info->classes + 1, sizeof *s.of_class);
  if (!s.of_class) return DX_FAIL(INTERNAL, "out of memory");
  e = read_split(w, split, &s);
  if (!e) print_split(w, split, &s, to);
  free(s.of_class);
  return e;
}

/* On one line, cut where it is long. */
static void print_text(const char *text, FILE *to)
{
  int n = 0;

  for (; text[n] && n < TEXT_SHOWN; n++) fputc(text[n] == '\n' ? ' ' : text[n], to);
  fprintf(to, text[n] ? " ...\n" : "\n");
}

static void print_attribute(dx_h5 *f, const char *name, FILE *to)
{
  char *text = NULL;
  int64_t whole;
  double real;
  dx_error *e[3] = {0};

  fprintf(to, "  %-16s ", name);
  if (!(e[0] = dx_h5_get_text(f, "/", name, &text))) print_text(text, to);
  else if (!(e[1] = dx_h5_get_int(f, "/", name, &whole))) fprintf(to, "%lld\n", (long long)whole);
  else if (!(e[2] = dx_h5_get_real(f, "/", name, &real))) fprintf(to, "%.17g\n", real);
  else fprintf(to, "(neither text nor one number)\n");
  for (int i = 0; i < 3; i++) dx_error_free(e[i]);
  free(text);
}

static dx_error *print_attributes(dx_h5 *f, FILE *to)
{
  char **names;
  int n;

  DX_TRY(dx_h5_list_attrs(f, "/", &names, &n));
  fprintf(to, "attributes\n");
  for (int i = 0; i < n; i++) print_attribute(f, names[i], to);
  if (n == 0) fprintf(to, "  none\n");
  dx_h5_names_free(names, n);
  return NULL;
}

static void print_head(const char *path, const dx_dataset_info *i, FILE *to)
{
  const double held = (double)dx_row_bytes(i) * (double)(i->count[DX_TRAIN] + i->count[DX_TEST]);
  struct stat s;

  fprintf(to, "%s\n", path);
  if (stat(path, &s) == 0)
    fprintf(to, "size     %lld bytes on disk, %.0f of samples\n", (long long)s.st_size, held);
  fprintf(to, "sample   %s, %lld x %lld x %lld %s\n", i->modality, (long long)i->sample.h,
          (long long)i->sample.w, (long long)i->sample.c, i->raw == DX_RAW_U8 ? "uint8" : "float32");
  fprintf(to, "units    a network sees (x - %g) / %g\n", i->shift, i->scale);
  if (i->has_range) fprintf(to, "range    %g to %g\n", i->lo, i->hi);
  else fprintf(to, "range    none declared\n");
  if (i->classes) fprintf(to, "classes  %lld\n", (long long)i->classes);
  else fprintf(to, "classes  none\n");
}

dx_error *dx_dataset_show(const char *path, FILE *to)
{
  dx_dataset_info info = {0};
  show w = {.info = &info};
  dx_error *e = NULL;
  int64_t n;

  DX_TRY(dx_dataset_look(path, &info));
  n = dx_piece_rows(&info);
  w.rows = malloc((size_t)(n * dx_row_bytes(&info)));
  w.label = malloc((size_t)n * sizeof *w.label);
  if (!w.rows || !w.label) e = DX_FAIL(INTERNAL, "out of memory");
  if (!e) e = dx_h5_open(path, &w.f);
  if (e) goto out;
  print_head(path, &info, to);
  for (int s = 0; s < DX_SPLITS; s++) DX_TRY_GOTO(e, out, show_split(&w, (dx_split)s, to));
  if (!w.wrong) fprintf(to, "hash     %016llx\n", (unsigned long long)dx_content_hash(&info, w.hash));
  DX_TRY_GOTO(e, out, print_attributes(w.f, to));
  e = w.wrong;
  w.wrong = NULL;
out:
  dx_error_free(w.wrong);
  dx_h5_close(w.f);
  free(w.rows);
  free(w.label);
  return e;
}
