/* SPDX-License-Identifier: Apache-2.0 */
/* io/h5.h - the HDF5 calls of diffx behind plain C types.

   Writing: a file is built in memory (core driver) and put on disk whole by
   dx_h5_save, so a full disk, a kill or a crash leaves the old file or the new
   one, and no HDF5 object is left that cannot be closed. Object times are not
   stored: equal content gives equal bytes. Reading: serial driver, by one rank,
   or a hyperslab by every rank (dx_h5_open_parallel, independent transfers). */
#ifndef DX_IO_H5_H
#define DX_IO_H5_H
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "comm/comm.h"

typedef enum { DX_H5_U8, DX_H5_I32, DX_H5_I64, DX_H5_U64, DX_H5_F32, DX_H5_F64, DX_H5_TEXT } dx_h5_type;
enum { DX_H5_RANK_MAX = 8 };

typedef struct dx_h5 dx_h5;

/* What a dataset is: its path and how it reads. */
typedef struct {
  dx_h5_type type;
  int rank;                      /* 0: a scalar */
  int64_t dim[DX_H5_RANK_MAX];
} dx_h5_info;

/* --- writing ------------------------------------------------------------- Local */
dx_error *dx_h5_create(dx_h5 **out) DX_MUST_CHECK;
/* How rows are stored: NULL for contiguous, else chunks with a checksum (fletcher32).
   rows_per_chunk 0: about 256 KiB; compress: shuffle and deflate. */
typedef struct { int64_t rows_per_chunk; bool compress; } dx_h5_storage;
/* A dataset at path (groups are made on the way). units and description become attributes.
   data NULL: space is made, filled later by dx_h5_write_rows. Of text, data is an array of
   const char *, stored as UTF-8 of variable length. */
dx_error *dx_h5_write(dx_h5 *f, const char *path, const dx_h5_info *info, const void *data,
                      const char *units, const char *description,
                      const dx_h5_storage *storage) DX_MUST_CHECK;
/* A group without members, and those above it; fine if there. */
dx_error *dx_h5_group(dx_h5 *f, const char *path) DX_MUST_CHECK;
/* Rows [first, first + n) of its first dimension. */
dx_error *dx_h5_write_rows(dx_h5 *f, const char *path, int64_t first, int64_t n,
                           const void *data) DX_MUST_CHECK;
/* Make dataset `scale` (1-D) the dimension scale of dimension `dim` of `path`, under that name. */
dx_error *dx_h5_attach_scale(dx_h5 *f, const char *path, int dim, const char *scale,
                             const char *name) DX_MUST_CHECK;
/* Attributes of the object at path ("/" for the file); one of that name is replaced. */
dx_error *dx_h5_set_int(dx_h5 *f, const char *path, const char *name, int64_t v) DX_MUST_CHECK;
dx_error *dx_h5_set_real(dx_h5 *f, const char *path, const char *name, double v) DX_MUST_CHECK;
dx_error *dx_h5_set_text(dx_h5 *f, const char *path, const char *name, const char *v) DX_MUST_CHECK;
dx_error *dx_h5_set_hash(dx_h5 *f, const char *path, const char *name, uint64_t v) DX_MUST_CHECK; /* text of 16 hex digits */
/* Put the file on disk under path, sealed (io/file.h): temporary name beside it, write, fsync,
   rename, fsync of the folder. After an error no temporary file is left (once f is closed, where data were sent) and an
   older file stands untouched. */
dx_error *dx_h5_save(dx_h5 *f, const char *path) DX_MUST_CHECK;
/* Ahead of that: the data of a contiguous dataset, all written, go into the temporary file of `file`, and their memory goes
   back to the system. For at most 32 large ones, which nobody reads or writes again; f is then saved once, as `file`. */
dx_error *dx_h5_send(dx_h5 *f, const char *file, const char *path) DX_MUST_CHECK;

/* --- reading ------------------------------------------------------------- Local */
/* The error tells apart: not there or not readable (IO); not HDF5, truncated, damaged (DATA).
   Later reads: DATA for what is missing, of another type or damaged (a checksum), IO where the
   system refused. */
dx_error *dx_h5_open(const char *path, dx_h5 **out) DX_MUST_CHECK;
/* Only if it is to the bit what dx_h5_save wrote: HDF5's own structures have no checksums, and a
   damaged one can make the library crash.  DX_E_DATA if not. */
dx_error *dx_h5_open_sealed(const char *path, dx_h5 **out) DX_MUST_CHECK;
bool dx_h5_has(dx_h5 *f, const char *path);
bool dx_h5_has_attr(dx_h5 *f, const char *path, const char *name);
/* type is the nearest of ours: 8-bit unsigned, 32/64-bit integer or float, text. */
dx_error *dx_h5_look(dx_h5 *f, const char *path, dx_h5_info *info) DX_MUST_CHECK;
/* The whole dataset, converted to type, into out (owned by the caller, large enough). Of text,
   out is an array of char *, each malloc'd and the caller's (NULL after an error). */
dx_error *dx_h5_read(dx_h5 *f, const char *path, dx_h5_type type, void *out) DX_MUST_CHECK;
/* The last number of an array of one dimension; NAN where there is none.  Local */
double dx_h5_last(dx_h5 *f, const char *path);
dx_error *dx_h5_read_rows(dx_h5 *f, const char *path, dx_h5_type type, int64_t first, int64_t n,
                          void *out) DX_MUST_CHECK;
dx_error *dx_h5_get_int(dx_h5 *f, const char *path, const char *name, int64_t *v) DX_MUST_CHECK;
dx_error *dx_h5_get_real(dx_h5 *f, const char *path, const char *name, double *v) DX_MUST_CHECK;
/* malloc'd, owned by the caller. Of an array of texts: a line each. */
dx_error *dx_h5_get_text(dx_h5 *f, const char *path, const char *name, char **v) DX_MUST_CHECK;
/* DX_E_DATA unless the file's attribute content names that kind of diffx's files: record, checkpoint, samples, dataset, ... */
dx_error *dx_h5_expect(dx_h5 *f, const char *content) DX_MUST_CHECK;
/* Names of the members of a group, or of the attributes of an object, sorted; given back
   by dx_h5_names_free. */
dx_error *dx_h5_list(dx_h5 *f, const char *group, char ***names, int *count) DX_MUST_CHECK;
dx_error *dx_h5_list_attrs(dx_h5 *f, const char *path, char ***names, int *count) DX_MUST_CHECK;
void dx_h5_names_free(char **names, int count);

/* Collective. Every rank opens the same file for reading with the MPI-IO driver (one rank
   alone: as dx_h5_open);
   dx_h5_read_rows is then independent: any rank, any rows, any number of times. */
dx_error *dx_h5_open_parallel(const dx_comm *c, const char *path, dx_h5 **out) DX_MUST_CHECK;

/* NULL is fine. Of a parallel file: Collective. */
void dx_h5_close(dx_h5 *f);
const char *dx_h5_version(void);
#endif
