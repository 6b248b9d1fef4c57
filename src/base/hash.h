/* SPDX-License-Identifier: Apache-2.0 */
/* base/hash.h - checksums of bytes: 64 bits, equal on every machine. */
#ifndef DX_BASE_HASH_H
#define DX_BASE_HASH_H
#include <stddef.h>
#include <stdint.h>

/* For finding damage and changed content, not against an adversary. */
uint64_t dx_hash(const void *bytes, size_t size, uint64_t seed);
#endif
