/* SPDX-License-Identifier: Apache-2.0 */
/* comm/watch.c - the watchdog of comm.h: a thread that ends the job when its
   rank has said nothing for too long, and ticks meanwhile. It is one per process, as the process is
   what it ends; so its state is the file's own. */
#include "comm/comm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static const double period = 30; /* seconds between ticks */

static struct {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, stopping;
  double limit;
  int rank;
  void (*tick)(void *ctx);
  void *ctx;
  _Atomic(const char *) said;
  atomic_ulong count;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* exit status 6 of one rank makes mpiexec end the others; MPI_Abort is not for this
   thread to call, and the main thread is stuck. */
static _Noreturn void give_up(void)
{
  fprintf(stderr, "diffx: error: rank %d: no progress for %.0f s (run.stall_limit), itself or another rank, in: %s\n", watch.rank,
          watch.limit, atomic_load(&watch.said));
  fflush(stderr);
  _exit(DX_E_LOST);
}

/* Wait until woken or for that many seconds. */
static void doze(double seconds)
{
  struct timespec until;

  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += (time_t)seconds;
  until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
  if (until.tv_nsec >= 1000000000L) {
    until.tv_nsec -= 1000000000L;
    until.tv_sec++;
  }
  pthread_cond_timedwait(&watch.wake, &watch.lock, &until);
}

static void *look(void *unused)
{
  unsigned long last = atomic_load(&watch.count);
  double heard = dx_clock(), ticked = heard;

  (void)unused;
  pthread_mutex_lock(&watch.lock);
  while (!watch.stopping) {
    doze(watch.limit > 0 && watch.limit < period ? watch.limit / 2 : period);
    const unsigned long now = atomic_load(&watch.count);

    if (now != last) heard = dx_clock();
    last = now;
    if (!watch.stopping && watch.limit > 0 && dx_clock() - heard > watch.limit) give_up();
    if (!watch.tick || dx_clock() - ticked < period) continue;
    ticked = dx_clock();
    watch.tick(watch.ctx);
  }
  pthread_mutex_unlock(&watch.lock);
  return NULL;
}

void dx_watch_start(const dx_comm *c, double limit_seconds, void (*tick)(void *ctx), void *ctx)
{
  if (watch.running || (!(limit_seconds > 0) && !tick)) return;
  watch.rank = dx_comm_rank(c);
  watch.limit = limit_seconds;
  watch.tick = tick;
  watch.ctx = ctx;
  watch.stopping = false;
  dx_watch_say("start");
  watch.running = !pthread_create(&watch.thread, NULL, look, NULL);
}

void dx_watch_say(const char *operation)
{
  atomic_store_explicit(&watch.said, operation, memory_order_relaxed);
  atomic_fetch_add_explicit(&watch.count, 1, memory_order_relaxed);
}

void dx_watch_stop(void)
{
  if (!watch.running) return;
  pthread_mutex_lock(&watch.lock);
  watch.stopping = true;
  pthread_cond_signal(&watch.wake);
  pthread_mutex_unlock(&watch.lock);
  pthread_join(watch.thread, NULL);
  watch.running = false;
}
