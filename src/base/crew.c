/* SPDX-License-Identifier: Apache-2.0 */
/* base/crew.c - see crew.h. Jobs follow each other within microseconds, so who waits looks again and again. Where more
   threads than cores are at work, he keeps the one for whom he waits from working: so he soon offers his core at each
   look, and sleeps where even that was long in vain, for the system may give it to another who only looks. */
#include "base/crew.h"

#include <assert.h>
#include <sched.h>
#include <time.h>

#include "base/share.h"

enum { LOOKS = 100, OFFERS = 2000, NAP = 20000 /* ns */ };

static void look_again(int *looks)
{
#if defined __x86_64__ || defined __i386__
  __builtin_ia32_pause();
#endif
  if (*looks == LOOKS + OFFERS)
    nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
  else if (++*looks >= LOOKS)
    sched_yield();
}

static void do_part(const dx_crew *c, int member)
{
  const int64_t first = dx_share_first(c->count, c->members, member), last = dx_share_first(c->count, c->members, member + 1);

  if (first < last) c->job(c->what, first, last, member);
}

static void hand_out(dx_crew *c, int64_t count, dx_job job, const void *what)
{
  assert(atomic_load_explicit(&c->busy, memory_order_relaxed) == 0);
  c->job = job;
  c->what = what;
  c->count = count;
  atomic_store_explicit(&c->busy, c->members - 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&c->number, 1, memory_order_release);
}

void dx_crew_do(dx_crew *c, int64_t count, dx_job job, const void *what)
{
  int looks = 0;

  if (count <= 0) return;
  if (dx_crew_size(c) == 1 || count == 1) {
    job(what, 0, count, 0);
    return;
  }
  hand_out(c, count, job, what);
  do_part(c, 0);
  while (atomic_load_explicit(&c->busy, memory_order_acquire)) look_again(&looks);
}

void dx_crew_dismiss(dx_crew *c)
{
  if (dx_crew_size(c) > 1) hand_out(c, 0, NULL, NULL);
  atomic_store_explicit(&c->busy, 0, memory_order_relaxed);
  c->members = 1;
}

void dx_crew_help(dx_crew *c, int member)
{
  for (unsigned number = 0;; number++) {
    int looks = 0;

    while (atomic_load_explicit(&c->number, memory_order_acquire) == number) look_again(&looks);
    if (!c->job) return;
    do_part(c, member);
    atomic_fetch_sub_explicit(&c->busy, 1, memory_order_release);
  }
}
