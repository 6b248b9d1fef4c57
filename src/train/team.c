/* SPDX-License-Identifier: Apache-2.0 */
/* train/team.c - the ranks agree on one kernel set; each rank counts its threads, and shares work among crews of them. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/spec.h"

/* The same text on all ranks? Rank 0's is compared. */
static bool same_everywhere(const dx_comm *c, const char *text)
{
  char theirs[128] = "";

  snprintf(theirs, sizeof theirs, "%s", text);
  dx_comm_broadcast(c, theirs, sizeof theirs);
  return dx_comm_max_i64(c, strcmp(theirs, text) != 0) == 0;
}

/* The best set that every rank can run. */
static const char *best_common(const dx_comm *c)
{
  const char *names[3];
  const int mine = dx_kernels_available(names);

  return names[dx_comm_min_i64(c, mine) - 1];
}

static int count_threads(const dx_comm *c, int64_t wanted)
{
  int sharers, place;

  if (wanted > 0) return (int)wanted;
  if (getenv("OMP_NUM_THREADS")) return omp_get_max_threads();
  dx_comm_sharers(c, &sharers, &place);
  const int cores = omp_get_num_procs();
  const int fair = (int)(dx_share_first(cores, sharers, place + 1) - dx_share_first(cores, sharers, place));
  return fair > 0 ? fair : 1;
}

/* What costs most on a node and shows nowhere else: more threads than cores, or ranks that the launcher bound to few of them
   (Open MPI's own choice for one or two ranks is one core each). Of rank 0's node. */
static void advise(const dx_team *t, bool automatic)
{
  const int ranks = dx_comm_node_size(t->comm);
  int sharers, place, ours, launcher, size, rank;

  dx_comm_sharers(t->comm, &sharers, &place);
  dx_comm_cores(&ours, &launcher);
  if (dx_comm_alone(t->comm) || dx_comm_rank(t->comm) || ours == 0) return;
  if (sharers * t->threads > ours)
    dx_log_say(t->log, DX_LOG_WARN, "%d threads share %d core%s (ranks on them: %d, threads of each: %d), which is slower than one each: %s",
               sharers * t->threads, ours, ours > 1 ? "s" : "", sharers, t->threads,
               launcher > ours ? "the launcher bound them: mpiexec --bind-to none, or run.threads=1" :
               t->threads > 1 ? "give run.threads or start fewer ranks" : "start fewer ranks");
  else if (automatic && dx_comm_launched(&size, &rank) && ranks * t->threads < launcher && launcher > ours)
    dx_log_say(t->log, DX_LOG_WARN, "the launcher bound this rank to %d of %d cores, and %d rank%s of %d thread%s on this node leave%s the rest idle: "
               "mpiexec --bind-to none, or --map-by node:PE=%d", ours, launcher, ranks, ranks > 1 ? "s" : "", t->threads,
               t->threads > 1 ? "s" : "", ranks > 1 ? "" : "s", launcher / ranks);
}

/* Everybody's thread counts, added up. */
static dx_error *count_workers(dx_team *t)
{
  const int size = dx_comm_size(t->comm);
  int64_t *const sum = calloc((size_t)size + 1, sizeof *sum);
  int64_t *const one = calloc(2 * (size_t)size, sizeof *one); /* counts, then offsets */
  const int64_t mine = t->threads;
  dx_error *err = sum && one ? NULL : DX_FAIL(INTERNAL, "no memory for a table of ranks");

  err = dx_comm_agree(t->comm, err);
  if (!err) {
    for (int r = 0; r < size; r++) {
      one[r] = 1;
      one[size + r] = r;
    }
    dx_comm_all_gather(t->comm, &mine, 1, sum + 1, one, one + size, sizeof *sum);
    for (int r = 0; r < size; r++) sum[r + 1] += sum[r];
    t->first_worker = sum;
  } else {
    free(sum);
  }
  free(one);
  return err;
}

void dx_team_part(dx_team *t)
{
  free(t->first_worker);
  free(t->crew);
  *t = (dx_team){0};
}

void dx_team_share(const dx_team *t, int64_t count, int rank, int64_t *first, int64_t *last)
{
  const int64_t workers = t->first_worker[dx_comm_size(t->comm)];

  *first = dx_share_of_group(count, workers, t->first_worker[rank]);
  *last = dx_share_of_group(count, workers, t->first_worker[rank + 1]);
}

int dx_team_members(const dx_team *t, int crews) { return (t->threads + crews - 1) / crews; }

/* Rounds of items x the time of one, of which a tenth stays with the leader. */
static double time_of(const dx_team *t, int64_t items, int crews)
{
  const double members = t->threads / crews;

  return (double)((items + crews - 1) / crews) * (0.1 + 0.9 / members);
}

int dx_team_crews(const dx_team *t, int64_t items, bool shares)
{
  if (!shares || items == 0) return t->threads;
  if (t->crew_size) return (t->threads + (int)t->crew_size - 1) / (int)t->crew_size;
  if (items >= t->threads) return t->threads;
  int best = (int)items;
  for (int crews = best - 1; crews > 0; crews--)
    if (time_of(t, items, crews) < 0.9 * time_of(t, items, best)) best = crews; /* more rounds must be worth it */
  return best;
}

/* What the threads of dx_team_each share. */
typedef struct {
  const dx_team *team;
  int crews;
  int64_t items;
  atomic_llong next;
  void (*work)(void *ctx, int crew, int64_t item);
  void *ctx;
} all_items;

/* The first items are the crews' own, so that one item each means the same memory for the same thread every time. */
static void lead(all_items *q, int crew, int crews)
{
  for (int64_t item = crew; item < q->items; item = crews + atomic_fetch_add(&q->next, 1)) q->work(q->ctx, crew, item);
  dx_crew_dismiss(&q->team->crew[crew]);
}

/* OpenMP may give fewer threads than it was asked for. */
static void join(all_items *q, int thread, int threads)
{
  const int crews = threads < q->crews ? threads : q->crews;
  int crew = 0;

  while (dx_share_first(threads, crews, crew + 1) <= thread) crew++;
  const int first = (int)dx_share_first(threads, crews, crew), end = (int)dx_share_first(threads, crews, crew + 1);
  dx_crew *const c = &q->team->crew[crew];
  dx_float_mode();
  if (thread > first) {
    dx_crew_help(c, thread - first);
    return;
  }
  c->members = end - first;
  lead(q, crew, crews);
}

void dx_team_each(const dx_team *t, int crews, int64_t items, void (*work)(void *ctx, int crew, int64_t item), void *ctx)
{
  all_items q = {.team = t, .crews = crews, .items = items, .work = work, .ctx = ctx};

  for (int i = 0; i < crews; i++) dx_crew_ready(&t->crew[i]);
#pragma omp parallel num_threads(t->threads)
  join(&q, omp_get_thread_num(), omp_get_num_threads());
}

dx_error *dx_team_form(const dx_comm *c, dx_logger *log, const dx_run_config *run, dx_team *out)
{
  char cpu[128];
  const char *set = run->kernels, *pin = run->kernels;

  *out = (dx_team){.comm = c, .log = log, .threads = count_threads(c, run->threads), .crew_size = run->crew};
  out->crew = dx_memory((size_t)out->threads * sizeof *out->crew);
  for (int i = 0; out->crew && i < out->threads; i++) dx_crew_ready(&out->crew[i]);
  DX_TRY(dx_comm_agree(c, out->crew ? NULL : DX_FAIL(INTERNAL, "no memory for a team of threads")));
  dx_cpu_describe(cpu, sizeof cpu);
  if (!strcmp(run->kernels, "auto")) {
    set = best_common(c);
    /* Equal processors: BLIS chooses alike on all of them. Else it is pinned as well. */
    pin = same_everywhere(c, cpu) ? NULL : set;
  }
  DX_TRY(dx_comm_agree(c, dx_error_in(dx_kernels_select(set, &out->kernel), "run.kernels")));
  DX_TRY(dx_comm_agree(c, dx_error_in(dx_blis_start(pin), "run.kernels")));
  snprintf(out->kernels, sizeof out->kernels, "%s+%s", out->kernel.name, dx_blis_kernels());
  if (!same_everywhere(c, out->kernels))
    return DX_FAIL(CONFIG, "run.kernels: the ranks' BLIS chose different kernels; set run.kernels: %s",
                   set);
  advise(out, run->threads == 0 && !getenv("OMP_NUM_THREADS"));
  return count_workers(out);
}
