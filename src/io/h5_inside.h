/* SPDX-License-Identifier: Apache-2.0 */
/* io/h5_inside.h - what h5.c, h5_write.c and h5_read.c share. All Local. */
#ifndef DX_IO_H5_INSIDE_H
#define DX_IO_H5_INSIDE_H
#include "io/file.h"
#include "io/h5.h"

#include <hdf5.h>

enum { DX_H5_SENT = 32 };

struct dx_h5 {
  hid_t file;
  char *path; /* for messages; "" of a file that is being built */
  dx_file *out; /* with data that were sent ahead, and where they stand */
  struct { size_t at, size; } sent[DX_H5_SENT];
  int sent_count;
};

/* The innermost words of HDF5's error stack about the call that just failed. */
typedef struct { char text[300]; bool from_system; } dx_h5_cause;
void dx_h5_why(dx_h5_cause *cause);
/* "FILE: cannot read PATH: cause", or without the file while it is being built. The code is
   IO where the system refused, DATA for other failures of a read, INTERNAL while building. */
dx_error *dx_h5_failed(const dx_h5 *f, const char *do_what, const char *path) DX_MUST_CHECK;
/* Type of our values in memory; of text a copy that the caller closes by dx_h5_type_close. */
hid_t dx_h5_memory_type(dx_h5_type type);
void dx_h5_type_close(dx_h5_type type, hid_t id);
/* Bytes of one value; of text the size of a pointer. */
size_t dx_h5_type_size(dx_h5_type type);
/* n x the dimensions of info from the first-th on, in values. */
dx_error *dx_h5_count(const dx_h5_info *info, int first, int64_t n, int64_t *count) DX_MUST_CHECK;
#endif
