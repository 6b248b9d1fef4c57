/* SPDX-License-Identifier: Apache-2.0 */
/* io/npz.h - arrays as numpy.load reads them: a zip file of npy files. All Local. */
#ifndef DX_IO_NPZ_H
#define DX_IO_NPZ_H
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

enum { DX_NPY_RANK_MAX = 5, DX_NPZ_MOST = 4 };

typedef struct {
  const char *name;              /* such as arr_0, what numpy.savez calls the first */
  const char *type;              /* as NumPy writes it: "|u1", "<f4", "<i8" */
  int rank;
  int64_t dim[DX_NPY_RANK_MAX];
  const void *data;              /* little-endian, the last index running fastest */
} dx_npy;

/* Write n arrays (DX_NPZ_MOST at most), whole or not at all; of any size. DX_E_IO where this build has no zlib. */
dx_error *dx_npz_save(const char *path, const dx_npy *a, int n) DX_MUST_CHECK;
bool dx_npz_can_save(void);
#endif
