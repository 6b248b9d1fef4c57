/* SPDX-License-Identifier: Apache-2.0 */
/* io/safetensors.h - files of named arrays as PyTorch's programs exchange them: the length of a header
   (8 bytes, little-endian), the header (JSON: type, shape and place of each tensor), the bytes. All Local. */
#ifndef DX_IO_SAFETENSORS_H
#define DX_IO_SAFETENSORS_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum { DX_TENSOR_DIMS = 8, DX_TENSOR_SHAPE = 24 * DX_TENSOR_DIMS };

typedef struct {
  char *name;
  char type[16];   /* as in the file: "F32" */
  int dims;
  int64_t dim[DX_TENSOR_DIMS];
  int64_t at, end; /* bytes behind the header */
} dx_tensor;

typedef struct {
  char *path, *bytes;  /* the whole file */
  size_t data;         /* where the tensors' bytes begin */
  dx_tensor *tensor;   /* in order of their places */
  int64_t count;
} dx_safetensors;

/* Read a file and check it: the header's length, that it is JSON, that each tensor's place is in the file and as long as
   type and shape say, and that the places cover the file without a gap or an overlap. DX_E_DATA names the file and the
   tensor.  Needs jansson. */
dx_error *dx_safetensors_read(const char *path, dx_safetensors *out) DX_MUST_CHECK;
void dx_safetensors_free(dx_safetensors *f);
const dx_tensor *dx_safetensors_find(const dx_safetensors *f, const char *name); /* NULL: not there */
/* The numbers of a tensor, of F32, F16 or BF16 (exactly); another type, NaN and infinities are DX_E_DATA.
   out: as many as the shape says. */
dx_error *dx_safetensors_floats(const dx_safetensors *f, const dx_tensor *t, float *out) DX_MUST_CHECK;

/* A tensor to be written. */
typedef struct {
  char name[96];       /* needs no escape in JSON */
  int dims;
  int64_t dim[DX_TENSOR_DIMS];
  int64_t n;           /* product of the dimensions */
  const float *data;   /* (n), row-major */
} dx_tensor_out;
/* Write them as F32 in this order; whole or not at all. */
dx_error *dx_safetensors_write(const char *path, const dx_tensor_out *t, int64_t count) DX_MUST_CHECK;

/* "[128, 3, 3, 3]" */
const char *dx_tensor_shape(int dims, const int64_t *dim, char words[DX_TENSOR_SHAPE]);
#endif
