/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.h - messages for people. Metrics go to HDF5, not here. */
#ifndef DX_BASE_LOG_H
#define DX_BASE_LOG_H
#include <stdbool.h>
#include <stdio.h>

typedef enum { DX_LOG_ERROR, DX_LOG_WARN, DX_LOG_INFO, DX_LOG_DEBUG } dx_log_level;

/* Where messages go. One per rank, made at the start, given to who speaks. */
typedef struct {
  dx_log_level level; /* messages above are dropped; ranks other than 0 are set to DX_LOG_WARN */
  FILE *screen;       /* stderr; NULL for silence */
  FILE *file;         /* log.txt of the run on rank 0, or NULL */
  char early[4096];   /* lines of before there was a file, as many as have room */
  size_t early_used;
  bool early_lost;    /* there were more */
  bool terminal;      /* screen is a terminal: a live progress line may be drawn */
  bool line_open;     /* a progress line stands on the screen */
  double drawn;       /* when, by dx_clock */
} dx_logger;

/* One line: lower case, values apart by a blank. Local. */
void dx_log_say(dx_logger *log, dx_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A file for what is said from here on, and first for what was said before; NULL: none. Local. */
void dx_log_into(dx_logger *log, FILE *file);
/* Draw over the last progress line, ten times a second at most; does nothing unless on a terminal. Local. */
void dx_log_progress(dx_logger *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
