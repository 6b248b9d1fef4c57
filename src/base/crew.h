/* SPDX-License-Identifier: Apache-2.0 */
/* base/crew.h - a few threads that share one piece of work: a leader, who hands out jobs, and helpers, who wait for them.

   A job is a loop whose rounds do not depend on each other; each member does one contiguous range of them, and the
   leader goes on when all are done. So results do not depend on the number of members. */
#ifndef DX_BASE_CREW_H
#define DX_BASE_CREW_H
#include <stdatomic.h>
#include <stdint.h>

/* Rounds [first, last) of a job, done by that member: 0 is the leader. */
typedef void (*dx_job)(const void *what, int64_t first, int64_t last, int member);

typedef struct {
  _Alignas(64) atomic_uint number; /* of the job that was handed out last: helpers look at it all the time */
  _Alignas(64) atomic_int busy;    /* helpers that have not finished it */
  int members; /* the leader counts */
  dx_job job;         /* NULL: the crew is dismissed */
  const void *what;
  int64_t count;
} dx_crew;

static inline int dx_crew_size(const dx_crew *c) { return c && c->members > 1 ? c->members : 1; }

/* Before a region of threads in which the crew works: the leader alone, until it sets members. */
static inline void dx_crew_ready(dx_crew *c)
{
  c->members = 1;
  atomic_store(&c->number, 0);
  atomic_store(&c->busy, 0);
}

/* The leader, and not from within a job: all rounds of a job, by all members; c NULL: by this thread alone. */
void dx_crew_do(dx_crew *c, int64_t count, dx_job job, const void *what);
/* The leader: no more jobs; helpers return, and the leader is alone. */
void dx_crew_dismiss(dx_crew *c);
/* A helper's part of every job until it is dismissed. */
void dx_crew_help(dx_crew *c, int member);
#endif
