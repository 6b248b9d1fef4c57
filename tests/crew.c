/* SPDX-License-Identifier: Apache-2.0 */
/* A crew of threads: every round of every job is done once, by whoever comes, and nobody runs ahead. */
#include "base/crew.h"
#include "tap.h"
#include <omp.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 1000, JOBS = 2000 };

/* What was done to each round, and the parts that each member did. */
typedef struct {
  int done[ROUNDS], by[8];
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

static void pause_ms(int ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

/* What is counted together, and whether a helper has come. */
typedef struct {
  board b;
  atomic_int helped;
} meeting;

/* The leader waits until a helper has come, for 10 s at the most; that one then lets the leader wait until it sleeps. */
static void count_together(const void *what, int64_t first, int64_t last, int member)
{
  meeting *const m = (meeting *)what;

  if (member) {
    atomic_store(&m->helped, 1);
    pause_ms(20);
  }
  for (int i = 0; i < 10000 && !atomic_load(&m->helped); i++) pause_ms(1);
  count(&m->b, first, last, member);
}

/* Helpers who sleep are woken by a job, and its leader by them. */
static int slept(dx_crew *c)
{
  meeting t = {.b = {{0}, {0}}};
  int good = 1, by_helpers = 0;

  pause_ms(20);
  dx_crew_do(c, ROUNDS, count_together, &t);
  for (int i = 0; i < ROUNDS; i++) good &= t.b.done[i] == 1;
  for (int m = 1; m < 8; m++) by_helpers += t.b.by[m];
  return good && by_helpers > 0;
}

/* As many parts as members at the most, and one where there is one round. */
static int of_parts(const board *b, int64_t rounds, int members)
{
  int parts = 0;

  for (int m = 0; m < 8; m++) parts += b->by[m];
  return parts == (rounds <= 1 ? rounds : rounds < members ? rounds : members);
}

/* What a leader finds, whether helpers come or not. */
static void lead(dx_crew *c, int members)
{
  static const int64_t rounds[] = {0, 1, 2, 5, 7, ROUNDS};
  int once = 1, parts = 1;

  for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
    board b = {0};

    dx_crew_do(c, rounds[i], count, &b);
    for (int64_t j = 0; j < ROUNDS; j++) once &= b.done[j] == (j < rounds[i]);
    parts &= of_parts(&b, rounds[i], members);
  }
  ok(once && parts, "crew of %d: every round once, in as many parts", members);
  ok(rotated(c), "crew of %d: %d jobs after one another", members, JOBS);
}

/* The system runs others in place of the helpers: the leader does their parts. */
static void alone(int members)
{
  dx_crew c;

  dx_crew_ready(&c);
  c.members = members;
  lead(&c, members);
  dx_crew_dismiss(&c);
}

int main(void)
{
  board b = {0};

  dx_crew_do(NULL, ROUNDS, count, &b);
  ok(b.by[0] == 1 && b.done[0] == 1 && b.done[ROUNDS - 1] == 1, "without a crew the caller does all");
  alone(2);
  alone(5);
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
        ok(c.members == 1 || slept(&c), "crew of %d: who sleeps is woken, and helps", c.members);
        dx_crew_dismiss(&c);
        members_then = c.members;
      }
    }
    ok(members_then == 1, "dismissed, the leader is alone");
  }
  return done();
}
