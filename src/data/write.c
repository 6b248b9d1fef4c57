/* SPDX-License-Identifier: Apache-2.0 */
/* data/write.c - a dataset becomes an HDF5 file; see dataset.h. */
#include <stdlib.h>
#include <string.h>

#include "data/inside.h"
#include "io/h5.h"

enum { TEXT = 4096 };

/* Room for one piece of rows. */
typedef struct { void *rows; int32_t *label; } piece;

dx_error *dx_write_sets(dx_h5 *f, const dx_dataset_info *info, dx_split split)
{
  const dx_shape s = info->sample;
  const bool flat = s.h == 1 && s.w == 1;
  char x[32], label[32];
  const dx_h5_type type = info->raw == DX_RAW_U8 ? DX_H5_U8 : DX_H5_F32;
  const dx_h5_info samples = flat
    ? (dx_h5_info){.type = type, .rank = 2, .dim = {info->count[split], s.c}}
    : !strcmp(info->modality, "sequence")
    ? (dx_h5_info){.type = type, .rank = 3, .dim = {info->count[split], s.w, s.c}}
    : (dx_h5_info){.type = type, .rank = 4, .dim = {info->count[split], s.h, s.w, s.c}};
  const dx_h5_info labels = {.type = DX_H5_I32, .rank = 1, .dim = {info->count[split]}};
  /* floats and colour photographs hardly shrink, and unpacking them would double the time of a start */
  const dx_h5_storage storage = {.compress = info->raw == DX_RAW_U8 && s.c == 1};

  if (info->count[split] == 0) return NULL;
  snprintf(x, sizeof x, "/%s/x", dx_split_name[split]);
  snprintf(label, sizeof label, "/%s/label", dx_split_name[split]);
  DX_TRY(dx_h5_write(f, x, &samples, NULL, "1", "samples, one a row", &storage));
  if (info->classes == 0) return NULL;
  return dx_h5_write(f, label, &labels, NULL, "1", "class of each sample", &storage);
}

static dx_error *write_split(dx_h5 *f, const dx_source *source, void *state,
                             const dx_dataset_info *info, dx_split split, piece *p)
{
  const int64_t n = info->count[split], step = dx_piece_rows(info);
  char x[32], label[32];

  if (n == 0) return NULL;
  snprintf(x, sizeof x, "/%s/x", dx_split_name[split]);
  snprintf(label, sizeof label, "/%s/label", dx_split_name[split]);
  DX_TRY(dx_write_sets(f, info, split));
  for (int64_t i = 0; i < n; i += step) {
    const int64_t m = n - i < step ? n - i : step;

    DX_TRY(source->rows(state, split, i, m, p->rows, p->label));
    DX_TRY(dx_content_check(info, split, i, m, p->rows, p->label));
    DX_TRY(dx_h5_write_rows(f, x, i, m, p->rows));
    if (p->label) DX_TRY(dx_h5_write_rows(f, label, i, m, p->label));
  }
  return NULL;
}

/* "diffx data make moons train=10000 noise=0.05": how to make the file again. */
static void recipe(const dx_source *source, const void *kind_config, char text[TEXT])
{
  int at = snprintf(text, TEXT, "diffx data make %s", source->name);

  for (const dx_option *o = source->options; o->key && at < TEXT - 64; o++) {
    at += snprintf(text + at, (size_t)(TEXT - at), " %s=", o->key);
    at += dx_option_print(o, kind_config, text + at, (size_t)(TEXT - at));
  }
}

dx_error *dx_write_facts(dx_h5 *f, const dx_dataset_info *info, const char *source)
{
  DX_TRY(dx_h5_set_int(f, "/", "format", 1));
  DX_TRY(dx_h5_set_text(f, "/", "program", "diffx"));
  DX_TRY(dx_h5_set_text(f, "/", "content", "dataset"));
  DX_TRY(dx_h5_set_text(f, "/", "modality", info->modality));
  DX_TRY(dx_h5_set_text(f, "/", "source", source));
  DX_TRY(dx_h5_set_real(f, "/", "shift", info->shift));
  DX_TRY(dx_h5_set_real(f, "/", "scale", info->scale));
  if (info->classes > 0) DX_TRY(dx_h5_set_int(f, "/", "classes", info->classes));
  if (!info->has_range) return NULL;
  DX_TRY(dx_h5_set_real(f, "/", "range_lo", info->lo));
  return dx_h5_set_real(f, "/", "range_hi", info->hi);
}

static dx_error *write_all(dx_h5 *f, const dx_source *source, void *state, const dx_dataset_info *info)
{
  const size_t n = (size_t)dx_piece_rows(info);
  piece p = {.rows = malloc(n * (size_t)dx_row_bytes(info)),
             .label = info->classes > 0 ? malloc(n * sizeof *p.label) : NULL};
  dx_error *e = NULL;

  if (!p.rows || (info->classes > 0 && !p.label)) e = DX_FAIL(INTERNAL, "out of memory");
  for (int s = 0; s < DX_SPLITS && !e; s++) e = write_split(f, source, state, info, (dx_split)s, &p);
  free(p.rows);
  free(p.label);
  return e;
}

dx_error *dx_dataset_write(const char *path, const dx_source *source, const void *kind_config,
                           const dx_comm *c)
{
  dx_dataset_info info = {0};
  char text[TEXT];
  void *state = NULL;
  dx_h5 *f = NULL;
  dx_error *e;

  DX_TRY(source->open(kind_config, c, &info, &state));
  DX_TRY_GOTO(e, out, dx_h5_create(&f));
  recipe(source, kind_config, text);
  DX_TRY_GOTO(e, out, dx_write_facts(f, &info, text));
  DX_TRY_GOTO(e, out, write_all(f, source, state, &info));
  e = dx_h5_save(f, path);
out:
  dx_h5_close(f);
  source->close(state);
  return e;
}
