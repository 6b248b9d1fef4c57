/* SPDX-License-Identifier: Apache-2.0 */
/* data/import.c - what all formats share; see import.h. */
#include "data/import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "data/inside.h"
#include "io/file.h"
#include "io/h5.h"

enum { LISTED = 32, LINE = 512 }; /* files whose names the provenance can hold; room for one */

struct dx_import {
  dx_h5 *f;
  dx_logger *log;
  const char *how;
  dx_dataset_info info;
  int64_t rows[DX_SPLITS];
  double sum, squares;      /* of the numbers of the train split */
  int64_t files;
  char list[LISTED * LINE]; /* as sha256sum prints it */
  dx_sha256 of_list;
};

#define DX_IMPORTER(id) extern const dx_importer dx_importer_##id;
#include "data/imports.def"
#undef DX_IMPORTER

static const dx_importer *const all[] = {
#define DX_IMPORTER(id) &dx_importer_##id,
#include "data/imports.def"
#undef DX_IMPORTER
};

const dx_importer *dx_importer_at(int i)
{
  return i >= 0 && (size_t)i < sizeof all / sizeof *all ? all[i] : NULL;
}

const dx_importer *dx_importer_find(const char *name)
{
  for (int i = 0; dx_importer_at(i); i++)
    if (!strcmp(all[i]->name, name)) return all[i];
  return NULL;
}

dx_error *dx_import_begin(dx_import *m, const dx_dataset_info *info, const char *class_names)
{
  m->info = *info;
  if (info->raw == DX_RAW_U8) {
    m->info.shift = m->info.scale = 127.5;
    m->info.lo = 0;
    m->info.hi = 255;
    m->info.has_range = true;
  }
  if (info->count[DX_TRAIN] < 1) return DX_FAIL(DATA, "nothing is left for the train split");
  for (int s = 0; s < DX_SPLITS; s++) DX_TRY(dx_write_sets(m->f, &m->info, (dx_split)s));
  return class_names ? dx_h5_set_text(m->f, "/", "class_names", class_names) : NULL;
}

static void add_moments(dx_import *m, int64_t n, const float *x)
{
  for (int64_t i = 0; i < n * dx_shape_dim(m->info.sample); i++) {
    m->sum += x[i];
    m->squares += (double)x[i] * x[i];
  }
}

dx_error *dx_import_rows(dx_import *m, dx_split split, int64_t first, int64_t n, const void *rows,
                         const int32_t *label)
{
  char path[32];

  DX_TRY(dx_content_check(&m->info, split, first, n, rows, label));
  snprintf(path, sizeof path, "/%s/x", dx_split_name[split]);
  DX_TRY(dx_h5_write_rows(m->f, path, first, n, rows));
  snprintf(path, sizeof path, "/%s/label", dx_split_name[split]);
  if (m->info.classes) DX_TRY(dx_h5_write_rows(m->f, path, first, n, label));
  if (m->info.raw == DX_RAW_F32 && split == DX_TRAIN) add_moments(m, n, rows);
  m->rows[split] += n;
  return NULL;
}

dx_error *dx_import_source(dx_import *m, const char *name, const char sha256[65])
{
  char line[LINE];

  snprintf(line, sizeof line, "%s  %s\n", sha256, name);
  dx_sha256_add(&m->of_list, line, strlen(line));
  if (m->files++ < LISTED) strcat(m->list, line);
  return NULL;
}

dx_error *dx_import_end_of(dx_import *m, dx_unpack *u, const char *path)
{
  const char *const slash = strrchr(path, '/');
  char sha256[65];

  DX_TRY(dx_unpack_end(u, sha256));
  return dx_import_source(m, slash ? slash + 1 : path, sha256);
}

void dx_import_progress(dx_import *m, double part) { dx_log_progress(m->log, "import %3.0f%%", 100 * part); }

void dx_import_say(dx_import *m, const char *words) { dx_log_say(m->log, DX_LOG_INFO, "%s", words); }

bool dx_import_find(const char *folder, const char *name, char path[4096])
{
  static const char *const ends[] = {"", ".gz", ".xz", ".zst"};

  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    const int n = snprintf(path, 4096, "%s/%s%s", folder, name, ends[i]);

    if (n < 4096 && dx_file_exists(path)) return true;
  }
  return false;
}

/* Mean and standard deviation of the train split become 0 and 1. */
static void find_units(dx_import *m)
{
  const double n = (double)m->rows[DX_TRAIN] * (double)dx_shape_dim(m->info.sample), mean = m->sum / n;
  const double variance = m->squares / n - mean * mean;

  if (m->info.raw == DX_RAW_U8) return;
  m->info.shift = mean;
  m->info.scale = variance > 0 ? sqrt(variance) : 1;
}

static dx_error *finish(dx_import *m, const char *path)
{
  char digest[65], text[160];

  for (int s = 0; s < DX_SPLITS; s++)
    if (m->rows[s] != m->info.count[s])
      return DX_FAIL(DATA, "%lld rows of the %s split were announced, %lld were there", (long long)m->info.count[s],
                     dx_split_name[s], (long long)m->rows[s]);
  find_units(m);
  DX_TRY(dx_write_facts(m->f, &m->info, m->how));
  dx_sha256_end(&m->of_list, digest);
  snprintf(text, sizeof text, "%s  (of the lines that sha256sum prints for the %lld files, in order)", digest,
           (long long)m->files);
  DX_TRY(dx_h5_set_text(m->f, "/", "source_sha256", m->files > LISTED ? text : m->list));
  return dx_h5_save(m->f, path);
}

dx_error *dx_import_run(const dx_importer *importer, const void *config, const char *source, const char *path,
                        const char *how, dx_logger *log)
{
  dx_import *const m = calloc(1, sizeof *m);
  dx_error *err;

  if (!m) return DX_FAIL(INTERNAL, "no memory for an import");
  m->log = log;
  m->how = how;
  dx_sha256_init(&m->of_list);
  DX_TRY_GOTO(err, out, dx_h5_create(&m->f));
  DX_TRY_GOTO(err, out, importer->run(config, source, m));
  err = finish(m, path);
out:
  dx_h5_close(m->f);
  free(m);
  return err;
}
