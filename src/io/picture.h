/* SPDX-License-Identifier: Apache-2.0 */
/* io/picture.h - PNG and JPEG files as 8-bit pixels. All Local. */
#ifndef DX_IO_PICTURE_H
#define DX_IO_PICTURE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

typedef struct {
  int64_t h, w, c;  /* c: 1 gray, 3 red, green, blue */
  uint8_t *pixels;  /* (h, w, c), malloc'd */
} dx_picture;

/* A whole PNG or JPEG file in memory, told by its first bytes, with c = 3 (transparent parts are
   white). path is for messages: damage is DX_E_DATA and names file and byte. */
dx_error *dx_picture_decode(const char *path, const void *bytes, size_t size, dx_picture *out) DX_MUST_CHECK;
/* A PNG file in memory, *bytes malloc'd. path is for messages. DX_E_IO where this build has no libpng. */
dx_error *dx_picture_encode(const dx_picture *p, const char *path, void **bytes, size_t *size) DX_MUST_CHECK;
/* Write as PNG, whole or not at all. DX_E_IO where this build has no libpng. */
dx_error *dx_picture_save(const dx_picture *p, const char *path) DX_MUST_CHECK;
bool dx_picture_can_save(void);
void dx_picture_free(dx_picture *p);
#endif
