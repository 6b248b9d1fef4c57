/* SPDX-License-Identifier: Apache-2.0 */
/* data/inside.h - what the files of this folder share. */
#ifndef DX_DATA_INSIDE_H
#define DX_DATA_INSIDE_H
#include "data/dataset.h"
#include "io/h5.h"

/* Bytes of one raw row. */
static inline int64_t dx_row_bytes(const dx_dataset_info *info)
{
  return dx_shape_dim(info->sample) * (info->raw == DX_RAW_U8 ? 1 : 4);
}

/* --- store.c: one rank's share of a split -------------------------------- Local */

/* Held whole, or the last used blocks of it, read when a row is asked for. */
typedef struct dx_store dx_store;
typedef struct {
  const dx_source *source;
  void *state;
  const dx_dataset_info *info;
  dx_split split;
  int64_t first, count; /* the share: rows of the split */
  int64_t budget;       /* bytes that may be held, at least one block is; < 0: the whole share */
} dx_store_plan;
/* Reads the whole share once, checks it, and adds the hashes of its rows to *hash. */
dx_error *dx_store_create(const dx_store_plan *plan, uint64_t *hash, dx_store **out) DX_MUST_CHECK;
/* Row i of the split (a row of the share): raw, and its label where there are labels. The
   pointer is good until the next call. */
dx_error *dx_store_row(dx_store *s, int64_t i, const void **row, int32_t *label) DX_MUST_CHECK;
int64_t dx_store_bytes(const dx_store *s);
bool dx_store_reads_later(const dx_store *s); /* so dx_store_row can fail */
void dx_store_destroy(dx_store *s);

/* --- content.c: what must hold of rows, and their hash -------------------- Local */

/* No NaN, no infinity, nothing outside a declared range, labels below classes. first is the
   index of the first row in its split, for the words. */
dx_error *dx_content_check(const dx_dataset_info *info, dx_split split, int64_t first, int64_t n,
                           const void *rows, const int32_t *label) DX_MUST_CHECK;
/* The sum modulo 2^64 of the rows' hashes: any order, any number of ranks, one answer. */
uint64_t dx_content_sum(const dx_dataset_info *info, dx_split split, int64_t first, int64_t n,
                        const void *rows, const int32_t *label);
/* The hash of a dataset from the sum over all its rows, its shape and its constants. */
uint64_t dx_content_hash(const dx_dataset_info *info, uint64_t sum);

/* --- dataset.c ----------------------------------------------------------- */

struct dx_dataset {
  const dx_comm *comm;
  const dx_source *source;
  void *state;
  dx_dataset_info info;
  dx_store *store[DX_SPLITS];
};

/* --- write.c: parts of a dataset file ------------------------------------ Local */

/* Room for the samples and labels of a split; nothing where it has no rows. */
dx_error *dx_write_sets(dx_h5 *f, const dx_dataset_info *info, dx_split split) DX_MUST_CHECK;
/* The attributes of the file. source: how it was made. */
dx_error *dx_write_facts(dx_h5 *f, const dx_dataset_info *info, const char *source) DX_MUST_CHECK;

/* --- dataset_file.c ------------------------------------------------------ Local */

/* Everything that can be seen wrong in a dataset file without reading its samples; fills info
   (not hash), classes from the labels. */
dx_error *dx_dataset_look(const char *path, dx_dataset_info *info) DX_MUST_CHECK;
/* Rows per piece when a share is read from start to end: many chunks, for one that two pieces share is read twice. */
static inline int64_t dx_piece_rows(const dx_dataset_info *info)
{
  const int64_t rows = (1 << 24) / dx_row_bytes(info);

  return rows > 0 ? rows : 1;
}
#endif
