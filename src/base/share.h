/* SPDX-License-Identifier: Apache-2.0 */
/* base/share.h - a number of things cut into parts. */
#ifndef DX_BASE_SHARE_H
#define DX_BASE_SHARE_H
#include <stdint.h>

static inline int64_t dx_min(int64_t a, int64_t b) { return a < b ? a : b; }

/* Contiguous share of n things for one of `parts`: the first n mod parts get one more.  Local */
static inline int64_t dx_share_first(int64_t n, int64_t parts, int64_t part)
{
  return n / parts * part + (part < n % parts ? part : n % parts);
}

/* The same for groups of them, which have so many of the parts each: where that of the group that begins with `part`
   begins, in proportion, so that no group of parts is left without while another has more than its due.  Local */
static inline int64_t dx_share_of_group(int64_t n, int64_t parts, int64_t part) { return (n * part + parts - 1) / parts; }
#endif
