/* SPDX-License-Identifier: Apache-2.0 */
/* base/stop.c - see stop.h. */
#include "base/stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t wanted;

static void take_note(int number)
{
  (void)number;
  wanted = 1;
}

void dx_stop_listen(void)
{
  const int signals[] = {SIGUSR1, SIGTERM, SIGINT};
  struct sigaction a = {.sa_handler = take_note, .sa_flags = SA_RESTART};

  sigemptyset(&a.sa_mask);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &a, NULL);
}

bool dx_stop_wanted(void) { return wanted != 0; }
