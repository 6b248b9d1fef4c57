/* SPDX-License-Identifier: Apache-2.0 */
/* base/profile.h - where the time of a thread's passes goes: one row for each layer and direction.
   Belongs to one thread, or to the leader of a crew. All Local. */
#ifndef DX_BASE_PROFILE_H
#define DX_BASE_PROFILE_H
#include <stdbool.h>
#include <stdint.h>

/* One call, or the sum of many. */
typedef struct {
  const char *kind;  /* a literal: what is computed, and how; names are compared by address */
  bool backward;
  int64_t at;        /* where the layer's parameters begin in the vector; -1: the whole pass */
  double flops;      /* of the direct method: a faster one may exceed the machine's */
  double bytes;      /* each input and output once, of each product or pass that the layer's work consists of */
  int64_t calls;
  double seconds;
} dx_profile_row;

enum { DX_PROFILE_ROOM = 1024 };

typedef struct {
  int members;    /* of the crew whose leader's time is taken, and counts so many times; 0: one */
  int rows, lost; /* lost: calls for which there was no row left */
  dx_profile_row row[DX_PROFILE_ROOM];
} dx_profile;

/* Seconds at which a call begins; p NULL: nothing is measured, here and in _end. */
double dx_profile_begin(const dx_profile *p);
/* Adds the call that ends now; its calls and seconds are filled in here. */
void dx_profile_end(dx_profile *p, dx_profile_row call, double begin);
/* Adds a row, of calls that have ended. */
void dx_profile_add(dx_profile *p, const dx_profile_row *r);
#endif
