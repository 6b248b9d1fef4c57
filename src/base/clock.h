/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock.h - time for people and for `timing`; no clock reaches the answer. */
#ifndef DX_BASE_CLOCK_H
#define DX_BASE_CLOCK_H

/* Seconds since some fixed moment, never going back. */
double dx_clock(void);
/* "1 h 02 min", "3 min 20 s", "12 s": a duration in few words, into text (32 bytes); returns text. */
char *dx_clock_words(double seconds, char text[32]);
/* "2026-11-24T01:22:08Z" into text (32 bytes); returns text. */
char *dx_clock_now(char text[32]);
#endif
