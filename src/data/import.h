/* SPDX-License-Identifier: Apache-2.0 */
/* data/import.h - formats that people have become dataset files (`diffx data import`). All Local. */
#ifndef DX_DATA_IMPORT_H
#define DX_DATA_IMPORT_H
#include "base/log.h"
#include "data/dataset.h"
#include "io/unpack.h"

/* The file that is being made. */
typedef struct dx_import dx_import;

/* A format: one per file import_ID.c and line of imports.def. */
typedef struct {
  const char *name, *help;
  const dx_option *options;
  size_t config_size;
  /* Read source: dx_import_begin once, then all rows, then nothing. */
  dx_error *(*run)(const void *config, const char *source, dx_import *m);
} dx_importer;
const dx_importer *dx_importer_find(const char *name); /* NULL: no such format */
const dx_importer *dx_importer_at(int i);              /* in the order of the list; NULL after the last */

/* Make the dataset file `path` from source: whole, or nothing. how: the command, for the file. */
dx_error *dx_import_run(const dx_importer *importer, const void *config, const char *source, const char *path,
                        const char *how, dx_logger *log) DX_MUST_CHECK;

/* --- for importers --------------------------------------------------------- */

/* What the rows are (all but name, hash and mixture). 8-bit data have range and units of their own;
   shift and scale of floats are found from the train split. class_names: a line each, or NULL. */
dx_error *dx_import_begin(dx_import *m, const dx_dataset_info *info, const char *class_names) DX_MUST_CHECK;
/* Rows [first, first + n) of a split; each row once, in any order. */
dx_error *dx_import_rows(dx_import *m, dx_split split, int64_t first, int64_t n, const void *rows,
                         const int32_t *label) DX_MUST_CHECK;
/* A file that was read: for the provenance. */
dx_error *dx_import_source(dx_import *m, const char *name, const char sha256[65]) DX_MUST_CHECK;
/* The whole file, unpacked, is read up to its end. */
dx_error *dx_import_end_of(dx_import *m, dx_unpack *u, const char *path) DX_MUST_CHECK;
void dx_import_progress(dx_import *m, double part);    /* 0..1 */
void dx_import_say(dx_import *m, const char *words);
/* FOLDER/NAME, or the same with .gz, .xz or .zst, whichever is there. */
bool dx_import_find(const char *folder, const char *name, char path[4096]);
#endif
