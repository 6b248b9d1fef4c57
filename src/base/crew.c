/* SPDX-License-Identifier: Apache-2.0 */
/* base/crew.c - see crew.h. Jobs follow each other within microseconds, so who waits looks again and again; but where more
   threads than cores are at work he keeps the one for whom he waits from working, and so he soon sleeps. */
#include "base/crew.h"

#include <assert.h>
#include <stdbool.h>
#include <time.h>

#include "base/share.h"

enum { LOOKS = 4000, NAP = 20000 /* ns */ };
#define DISMISSED UINT32_MAX

static void look_again(int *looks)
{
  if (*looks == LOOKS) {
    nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
    return;
  }
  ++*looks;
#if defined __x86_64__ || defined __i386__
  __builtin_ia32_pause();
#endif
}

static void do_part(const dx_crew *c, int64_t part, int member)
{
  const int64_t first = dx_share_first(c->count, c->members, part), last = dx_share_first(c->count, c->members, part + 1);

  if (first < last) c->job(c->what, first, last, member);
}

static void hand_out(dx_crew *c, uint32_t parts)
{
  const uint64_t number = (atomic_load_explicit(&c->parts, memory_order_relaxed) >> 32) + 1;

  atomic_store_explicit(&c->parts, number << 32 | parts, memory_order_release);
}

/* One of the parts that were seen to be left, unless somebody was faster. */
static bool take_part(dx_crew *c, uint64_t seen, int member)
{
  uint64_t left = seen;

  if (!atomic_compare_exchange_strong_explicit(&c->parts, &left, seen - 1, memory_order_acquire, memory_order_relaxed))
    return false;
  do_part(c, (uint32_t)seen, member);
  atomic_fetch_sub_explicit(&c->busy, 1, memory_order_release);
  return true;
}

void dx_crew_do(dx_crew *c, int64_t count, dx_job job, const void *what)
{
  int looks = 0;

  if (count <= 0) return;
  if (dx_crew_size(c) == 1 || count == 1) {
    job(what, 0, count, 0);
    return;
  }
  assert(atomic_load_explicit(&c->busy, memory_order_relaxed) == 0);
  c->job = job;
  c->what = what;
  c->count = count;
  atomic_store_explicit(&c->busy, c->members - 1, memory_order_relaxed);
  hand_out(c, (uint32_t)c->members - 1);
  do_part(c, 0, 0);
  for (uint64_t seen; (uint32_t)(seen = atomic_load_explicit(&c->parts, memory_order_relaxed));) take_part(c, seen, 0);
  while (atomic_load_explicit(&c->busy, memory_order_acquire)) look_again(&looks);
}

void dx_crew_dismiss(dx_crew *c)
{
  if (dx_crew_size(c) > 1) hand_out(c, DISMISSED);
  c->members = 1;
}

void dx_crew_help(dx_crew *c, int member)
{
  for (int looks = 0;;) {
    const uint64_t seen = atomic_load_explicit(&c->parts, memory_order_acquire);

    if ((uint32_t)seen == DISMISSED) return;
    if ((uint32_t)seen == 0)
      look_again(&looks);
    else if (take_part(c, seen, member))
      looks = 0;
  }
}
