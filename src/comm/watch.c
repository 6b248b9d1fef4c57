/* SPDX-License-Identifier: Apache-2.0 */
/* comm/watch.c - the watchdog of comm.h: a thread that ends the job when its
   rank has said nothing for too long. It is one per process, as the process is
   what it ends; so its state is the file's own. */
#include "comm/comm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static struct {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, stopping;
  double limit;
  int rank;
  _Atomic(const char *) said;
  atomic_ulong count;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* exit status 6 of one rank makes mpiexec end the others; MPI_Abort is not for this
   thread to call, and the main thread is stuck. */
static _Noreturn void give_up(void)
{
  fprintf(stderr, "diffx: error: rank %d: no progress for %.0f s (run.stall_limit) in: %s\n", watch.rank,
          watch.limit, atomic_load(&watch.said));
  fflush(stderr);
  _exit(DX_E_LOST);
}

static void *look(void *unused)
{
  unsigned long last = atomic_load(&watch.count);
  struct timespec until;

  (void)unused;
  pthread_mutex_lock(&watch.lock);
  while (!watch.stopping) {
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)watch.limit;
    until.tv_nsec += (long)((watch.limit - (double)(time_t)watch.limit) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
      until.tv_nsec -= 1000000000L;
      until.tv_sec++;
    }
    const int late = pthread_cond_timedwait(&watch.wake, &watch.lock, &until);
    const unsigned long now = atomic_load(&watch.count);

    if (late && !watch.stopping && now == last) give_up();
    last = now;
  }
  pthread_mutex_unlock(&watch.lock);
  return NULL;
}

void dx_watch_start(const dx_comm *c, double limit_seconds)
{
  if (!(limit_seconds > 0) || watch.running) return;
  watch.rank = dx_comm_rank(c);
  watch.limit = limit_seconds;
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
