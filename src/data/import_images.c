/* SPDX-License-Identifier: Apache-2.0 */
/* data/import_images.c - a folder of PNG and JPEG files, its subfolders as classes; folders train and
   test in it are the splits. The middle square of each is brought to one size by averaging areas. */
#include "data/import.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/random.h"
#include "base/sha256.h"
#include "io/file.h"
#include "io/picture.h"

enum { CLASSES = 10000, FILE_BYTES = 1 << 28 };

typedef struct { int64_t size, channels, test, seed; } config;
static const dx_option options[] = {
  DX_OPTION(config, size, "32", 1, 4096, "height and width in pixels"),
  DX_OPTION(config, channels, "3", 1, 3, "1: gray, 3: colours"),
  DX_OPTION(config, test, "0", 0, 1e9, "images for the test split, taken at random where no folder test is there"),
  DX_OPTION(config, seed, "0", 0, 9e15, "which ones these are"),
  DX_OPTION_END
};

typedef struct { char *path; int32_t label; } item;
/* Files in order of name, and the names of their classes. */
typedef struct {
  const char *top;
  item *at[DX_SPLITS];
  int64_t n[DX_SPLITS], room[DX_SPLITS], passed, loose;
  char **class;
  int64_t classes;
} list;

static bool is_picture(const char *name)
{
  const char *const dot = strrchr(name, '.');

  return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

static bool is_folder(const char *path)
{
  struct stat s;

  return !stat(path, &s) && S_ISDIR(s.st_mode);
}

static dx_error *add(list *l, dx_split split, char *path, int32_t label)
{
  if (l->n[split] == l->room[split]) {
    const int64_t room = 2 * l->room[split] + 256;
    item *const longer = realloc(l->at[split], (size_t)room * sizeof *longer);

    if (!longer) {
      free(path);
      return DX_FAIL(INTERNAL, "no memory for a list of images");
    }
    l->at[split] = longer;
    l->room[split] = room;
  }
  l->at[split][l->n[split]++] = (item){path, label};
  return NULL;
}

/* The label of a class: its place among the names seen so far; train is read before test. */
static dx_error *label_of(list *l, const char *name, int32_t *label)
{
  for (*label = 0; *label < l->classes; ++*label)
    if (!strcmp(l->class[*label], name)) return NULL;
  if (l->classes == CLASSES) return DX_FAIL(DATA, "%s has more than %d classes", l->top, CLASSES);
  if (!(l->class[l->classes] = strdup(name))) return DX_FAIL(INTERNAL, "no memory for a list of classes");
  l->classes++;
  return NULL;
}

/* What stands in a folder, in order of name. depth 0: pictures and folders of classes; 1: pictures. */
static dx_error *look_in(list *l, const char *folder, dx_split split, int depth, int32_t label)
{
  struct dirent **names;
  const int n = scandir(folder, &names, NULL, alphasort);
  dx_error *err = n < 0 ? DX_FAIL(IO, "cannot read the folder %s", folder) : NULL;

  for (int i = 0; i < n; i++) {
    const char *const name = names[i]->d_name;
    char *const path = malloc(strlen(folder) + strlen(name) + 2);

    if (!path && !err) err = DX_FAIL(INTERNAL, "no memory for a list of images");
    if (path) sprintf(path, "%s/%s", folder, name);
    if (err || name[0] == '.') free(path);
    else if (is_folder(path)) {
      int32_t own = 0;

      if (depth > 0) l->passed++;
      else err = label_of(l, name, &own);
      if (!err && depth == 0) err = look_in(l, path, split, 1, own);
      free(path);
    } else if (is_picture(name)) {
      l->loose += depth == 0;
      err = add(l, split, path, label);
    } else {
      l->passed++;
      free(path);
    }
    free(names[i]);
  }
  if (n >= 0) free(names);
  return err;
}

static void list_free(list *l)
{
  for (int s = 0; s < DX_SPLITS; s++) {
    for (int64_t i = 0; i < l->n[s]; i++) free(l->at[s][i].path);
    free(l->at[s]);
  }
  for (int64_t i = 0; i < l->classes; i++) free(l->class[i]);
  free(l->class);
}

/* Without a folder test: `test` of all, chosen by a keyed permutation, in its order. */
static dx_error *take_test(list *l, const config *c)
{
  const int64_t n = l->n[DX_TRAIN];
  item *const old = l->at[DX_TRAIN];
  dx_permutation order;
  dx_error *err = NULL;

  if (c->test >= n) return DX_FAIL(CONFIG, "test is %lld, but %s has %lld images", (long long)c->test, l->top, (long long)n);
  l->at[DX_TRAIN] = NULL;
  l->n[DX_TRAIN] = l->room[DX_TRAIN] = 0;
  dx_permutation_init(&order, (uint64_t)n, (uint64_t)c->seed, 0);
  for (int64_t i = 0; i < n; i++) {
    const item k = old[dx_permutation_at(&order, (uint64_t)i)];
    dx_error *const e = add(l, i < c->test ? DX_TEST : DX_TRAIN, k.path, k.label);

    if (err) dx_error_free(e);
    else err = e;
  }
  free(old);
  return err;
}

static dx_error *make_list(list *l, const config *c)
{
  char path[DX_SPLITS][4096];
  bool split = true;

  for (int s = 0; s < DX_SPLITS; s++) {
    snprintf(path[s], sizeof path[s], "%s/%s", l->top, dx_split_name[s]);
    split = split && is_folder(path[s]);
  }
  if (split && c->test) return DX_FAIL(CONFIG, "test is %lld, but %s has a folder test", (long long)c->test, l->top);
  if (!split) DX_TRY(look_in(l, l->top, DX_TRAIN, 0, 0));
  for (int s = 0; s < DX_SPLITS && split; s++) DX_TRY(look_in(l, path[s], (dx_split)s, 0, 0));
  if (l->loose && l->classes)
    return DX_FAIL(DATA, "%s has %lld images beside its folders of classes; put them into folders, too", l->top,
                   (long long)l->loose);
  if (l->n[DX_TRAIN] == 0) return DX_FAIL(DATA, "%s has no .png, .jpg or .jpeg", l->top);
  return c->test ? take_test(l, c) : NULL;
}

/* How much of pixel i lies between a and b. */
static double overlap(int64_t i, double a, double b)
{
  const double lo = (double)i > a ? (double)i : a, hi = (double)i + 1 < b ? (double)i + 1 : b;

  return hi > lo ? hi - lo : 0;
}

/* The middle square of p, size x size; gray where c is 1 (Rec. 601). */
static void resize(const dx_picture *p, int64_t size, int64_t c, uint8_t *out)
{
  const int64_t side = p->h < p->w ? p->h : p->w, top = (p->h - side) / 2, left = (p->w - side) / 2;
  const double step = (double)side / (double)size;

  for (int64_t i = 0; i < size; i++)
    for (int64_t j = 0; j < size; j++, out += c) {
      const double y0 = (double)i * step, x0 = (double)j * step, y1 = y0 + step, x1 = x0 + step;
      double sum[3] = {0}, area = 0;

      for (int64_t y = (int64_t)y0; y < side && (double)y < y1; y++)
        for (int64_t x = (int64_t)x0; x < side && (double)x < x1; x++) {
          const double w = overlap(y, y0, y1) * overlap(x, x0, x1);
          const uint8_t *const from = p->pixels + ((top + y) * p->w + left + x) * p->c;

          for (int k = 0; k < 3; k++) sum[k] += w * from[k];
          area += w;
        }
      if (c == 1) out[0] = (uint8_t)((0.299 * sum[0] + 0.587 * sum[1] + 0.114 * sum[2]) / area + 0.5);
      for (int k = 0; k < 3 && c == 3; k++) out[k] = (uint8_t)(sum[k] / area + 0.5);
    }
}

static dx_error *copy_one(const config *c, dx_import *m, const list *l, dx_split split, int64_t i, uint8_t *row)
{
  const item *const k = &l->at[split][i];
  const int32_t label = k->label;
  dx_sha256 sha;
  char *bytes, digest[65];
  size_t size;
  dx_picture p;
  dx_error *err;

  DX_TRY(dx_file_read(k->path, FILE_BYTES, &bytes, &size));
  dx_sha256_init(&sha);
  dx_sha256_add(&sha, bytes, size);
  dx_sha256_end(&sha, digest);
  err = dx_picture_decode(k->path, bytes, size, &p);
  free(bytes);
  if (err) return err;
  resize(&p, c->size, c->channels, row);
  dx_picture_free(&p);
  DX_TRY(dx_import_source(m, k->path + strlen(l->top) + 1, digest));
  return dx_import_rows(m, split, i, 1, row, &label);
}

static dx_error *copy(const config *c, dx_import *m, const list *l)
{
  dx_dataset_info info = {.sample = {1, c->size, c->size, c->channels}, .raw = DX_RAW_U8, .modality = "image",
                          .classes = l->classes, .count = {[DX_TRAIN] = l->n[DX_TRAIN], [DX_TEST] = l->n[DX_TEST]}};
  const int64_t all = info.count[DX_TRAIN] + info.count[DX_TEST];
  uint8_t *const row = malloc((size_t)dx_shape_dim(info.sample));
  char *names = NULL;
  size_t length;
  FILE *const text = open_memstream(&names, &length);
  int64_t done = 0;
  dx_error *err = NULL;

  for (int64_t i = 0; text && i < l->classes; i++) fprintf(text, "%s%s", i ? "\n" : "", l->class[i]);
  if (!text || fclose(text) || !row) err = DX_FAIL(INTERNAL, "no memory for an import");
  if (!err) err = dx_import_begin(m, &info, l->classes ? names : NULL);
  for (int s = 0; s < DX_SPLITS; s++)
    for (int64_t i = 0; i < l->n[s] && !err; i++) {
      err = copy_one(c, m, l, (dx_split)s, i, row);
      dx_import_progress(m, (double)++done / (double)all);
    }
  free(names);
  free(row);
  return err;
}

static dx_error *run(const void *given, const char *source, dx_import *m)
{
  const config *c = given;
  list l = {.top = source, .class = calloc(CLASSES, sizeof *l.class)};
  char words[128];
  dx_error *err = l.class ? NULL : DX_FAIL(INTERNAL, "no memory for a list of classes");

  if (!err && c->channels == 2) err = DX_FAIL(CONFIG, "channels is 2; allowed: 1 or 3");
  if (!err) err = make_list(&l, c);
  if (!err && l.passed) {
    snprintf(words, sizeof words, "%lld other files and folders are passed over", (long long)l.passed);
    dx_import_say(m, words);
  }
  if (!err) err = copy(c, m, &l);
  list_free(&l);
  return err;
}

const dx_importer dx_importer_images = {
  .name = "images", .help = "a folder of PNG and JPEG files, subfolders as classes; size=32 channels=3 test=0",
  .options = options, .config_size = sizeof(config), .run = run,
};
