/* SPDX-License-Identifier: Apache-2.0 */
/* base/stop.h - a polite request to stop: SIGUSR1, SIGTERM, SIGINT. */
#ifndef DX_BASE_STOP_H
#define DX_BASE_STOP_H
#include <stdbool.h>

/* From now on the signals only leave a note; what they interrupt goes on.  Local.
   Signals reach a process, so this note is the process' own: the one state that
   is not in anybody's arguments. */
void dx_stop_listen(void);
/* Has a signal come?  Local */
bool dx_stop_wanted(void);
#endif
