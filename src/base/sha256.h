/* SPDX-License-Identifier: Apache-2.0 */
/* base/sha256.h - SHA-256 of bytes that come piece by piece (FIPS 180-4). */
#ifndef DX_BASE_SHA256_H
#define DX_BASE_SHA256_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t h[8];
  uint64_t size;             /* bytes so far */
  unsigned char block[64];   /* size mod 64 of them wait here */
} dx_sha256;

void dx_sha256_init(dx_sha256 *s);
void dx_sha256_add(dx_sha256 *s, const void *bytes, size_t size);
/* 64 hexadecimal digits; s is used up. */
void dx_sha256_end(dx_sha256 *s, char text[65]);
#endif
