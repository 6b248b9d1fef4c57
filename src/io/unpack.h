/* SPDX-License-Identifier: Apache-2.0 */
/* io/unpack.h - files as they stand or packed by gzip, xz or zstd, read from start to end. All Local. */
#ifndef DX_IO_UNPACK_H
#define DX_IO_UNPACK_H
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* The packing is told by the first bytes, not by the name. */
typedef struct dx_unpack dx_unpack;
/* A packing whose library this build lacks is refused with its name. */
dx_error *dx_unpack_open(const char *path, dx_unpack **out) DX_MUST_CHECK;
/* Up to n bytes of the content; *got is less only at its end. Damage is DX_E_DATA and names file and
   byte. */
dx_error *dx_unpack_some(dx_unpack *u, void *out, size_t n, size_t *got) DX_MUST_CHECK;
/* Exactly n bytes; DX_E_DATA where the content ends before. */
dx_error *dx_unpack_read(dx_unpack *u, void *out, size_t n) DX_MUST_CHECK;
/* DX_E_DATA unless the content ends here; the SHA-256 of the file as it stands. */
dx_error *dx_unpack_end(dx_unpack *u, char sha256[65]) DX_MUST_CHECK;
int64_t dx_unpack_at(const dx_unpack *u);    /* bytes of content given so far */
double dx_unpack_part(const dx_unpack *u);   /* of the file, 0..1 */
void dx_unpack_close(dx_unpack *u);          /* NULL is fine */
#endif
