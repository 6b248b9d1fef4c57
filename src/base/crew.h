/* SPDX-License-Identifier: Apache-2.0 */
/* base/crew.h - a few threads that share one piece of work: a leader, who hands out jobs, and helpers, who wait for them.

   A job is a loop whose rounds do not depend on each other, cut into as many contiguous parts as the crew has members.
   Who comes first takes a part: the leader does what helpers do not come for, since the system runs others in their
   place, and waits for begun parts only. So results depend neither on the number of members nor on who did what. */
#ifndef DX_BASE_CREW_H
#define DX_BASE_CREW_H
#include <stdatomic.h>
#include <stdint.h>

/* Rounds [first, last) of a job, done by that member: 0 is the leader. A member may do several parts. */
typedef void (*dx_job)(const void *what, int64_t first, int64_t last, int member);

typedef struct {
  /* Of the job that was handed out last: its number x 2^32 + the parts that nobody has taken yet. Helpers look at it all
     the time; the number keeps one who was long away from taking a part of a later job for the one that it saw. */
  _Alignas(64) _Atomic uint64_t parts;
  _Alignas(64) atomic_int busy; /* parts that are not done, but for the leader's first */
  int members;                  /* the leader counts */
  dx_job job;
  const void *what;
  int64_t count;
} dx_crew;

static inline int dx_crew_size(const dx_crew *c) { return c && c->members > 1 ? c->members : 1; }

/* Before a region of threads in which the crew works: the leader alone, until it sets members. */
static inline void dx_crew_ready(dx_crew *c)
{
  c->members = 1;
  atomic_store(&c->parts, 0);
  atomic_store(&c->busy, 0);
}

/* The leader, and not from within a job: all rounds of a job, by all members; c NULL: by this thread alone. */
void dx_crew_do(dx_crew *c, int64_t count, dx_job job, const void *what);
/* The leader: no more jobs; helpers return, and the leader is alone. */
void dx_crew_dismiss(dx_crew *c);
/* A helper: parts of the crew's jobs until it is dismissed. */
void dx_crew_help(dx_crew *c, int member);
#endif
