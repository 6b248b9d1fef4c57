/* SPDX-License-Identifier: Apache-2.0 */
/* A crew of threads: every round of every job is done once, by the member whose range it is in, and nobody runs ahead. */
#include "base/crew.h"
#include "tap.h"
#include <omp.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 1000, JOBS = 2000 };

typedef struct {
  int done[ROUNDS], by[8];
  int64_t sum;
} board;

static void count(const void *what, int64_t first, int64_t last, int member)
{
  board *const b = (board *)what;

  for (int64_t i = first; i < last; i++) b->done[i]++;
  b->by[member]++;
}

/* Each job changes what the one before it left: it needs all of that. */
static void shift(const void *what, int64_t first, int64_t last, int member)
{
  int *const x = (int *)what; /* before, then after */

  (void)member;
  for (int64_t i = first; i < last; i++) x[ROUNDS + i] = x[(i + 1) % ROUNDS];
}

static int rotated(dx_crew *c)
{
  static int x[2][ROUNDS];

  for (int i = 0; i < ROUNDS; i++) x[0][i] = i;
  for (int j = 0; j < JOBS; j++) {
    dx_crew_do(c, ROUNDS, shift, x);
    memcpy(x[0], x[1], sizeof x[0]);
  }
  for (int i = 0; i < ROUNDS; i++)
    if (x[0][i] != (i + JOBS) % ROUNDS) return 0;
  return 1;
}

static void pause_20_ms(void) { nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); }

static void count_late(const void *what, int64_t first, int64_t last, int member)
{
  if (member) pause_20_ms();
  count(what, first, last, member);
}

/* The leader lets its helpers wait until they sleep, then they let it. */
static int slept(dx_crew *c)
{
  board b = {0};
  int good = 1;

  pause_20_ms();
  dx_crew_do(c, ROUNDS, count, &b);
  dx_crew_do(c, ROUNDS, count_late, &b);
  for (int i = 0; i < ROUNDS; i++) good &= b.done[i] == 2;
  return good;
}

/* What a leader finds. */
static void lead(dx_crew *c, int members)
{
  static const int64_t rounds[] = {0, 1, 2, 5, 7, ROUNDS};
  int once = 1, helpers = 0;

  for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
    board b = {0};

    dx_crew_do(c, rounds[i], count, &b);
    for (int64_t j = 0; j < ROUNDS; j++) once &= b.done[j] == (j < rounds[i]);
    for (int m = 0; m < 8; m++) helpers += b.by[m] > 1;
    if (rounds[i] == ROUNDS)
      for (int m = 0; m < members; m++) once &= b.by[m] == 1;
  }
  ok(once && !helpers, "crew of %d: every round once, by all members", members);
  ok(rotated(c), "crew of %d: %d jobs after one another", members, JOBS);
  ok(slept(c), "crew of %d: who sleeps is woken", members);
}

int main(void)
{
  board b = {0};

  dx_crew_do(NULL, ROUNDS, count, &b);
  ok(b.by[0] == 1 && b.done[0] == 1 && b.done[ROUNDS - 1] == 1, "without a crew the caller does all");
  for (int members = 1; members <= 5; members++) {
    dx_crew c;
    int members_then = 0;

    dx_crew_ready(&c);
#pragma omp parallel num_threads(members)
    {
      if (omp_get_thread_num()) {
        dx_crew_help(&c, omp_get_thread_num());
      } else {
        c.members = omp_get_num_threads();
        lead(&c, c.members);
        dx_crew_dismiss(&c);
        members_then = c.members;
      }
    }
    ok(members_then == 1, "dismissed, the leader is alone");
  }
  return done();
}
