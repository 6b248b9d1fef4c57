/* SPDX-License-Identifier: Apache-2.0 */
/* base/error.h - what a function returns when it could not do its work. */
#ifndef DX_BASE_ERROR_H
#define DX_BASE_ERROR_H

/* One list: the enum, the exit status of diffx, the table in the manual. */
#define DX_CODES(X)                                             \
  X(USAGE,    2,  "the command line makes no sense")            \
  X(CONFIG,   3,  "a key of the experiment is wrong")           \
  X(IO,       4,  "a file could not be read or written")        \
  X(DATA,     5,  "a dataset or checkpoint has wrong content")  \
  X(LOST,     6,  "a rank was lost or stalled")                 \
  X(NUMERIC,  7,  "a loss or gradient is not finite")           \
  X(INTERNAL, 70, "memory ran out or a limit of diffx was met") \
  X(STOPPED,  75, "stopped on request; the same command goes on")

typedef enum {
#define X(name, exit_status, text) DX_E_##name = exit_status,
  DX_CODES(X)
#undef X
} dx_code;

typedef struct dx_error dx_error; /* NULL means success */

#define DX_MUST_CHECK __attribute__((warn_unused_result))

/* Make an error. The caller owns it; it is passed up or given to
   dx_error_free, never dropped. The text may have several lines. */
dx_error *dx_error_make(dx_code code, const char *file, int line,
                        const char *fmt, ...) DX_MUST_CHECK
    __attribute__((format(printf, 4, 5)));
/* The same with a text that stands already. */
dx_error *dx_error_copy(dx_code code, const char *text) DX_MUST_CHECK;
/* Put "context: " in front of the text of e; NULL stays NULL. Returns e or
   its replacement, owned by the caller. */
dx_error *dx_error_in(dx_error *e, const char *fmt, ...) DX_MUST_CHECK
    __attribute__((format(printf, 2, 3)));
void dx_error_free(dx_error *e); /* NULL is fine */
dx_code dx_error_code(const dx_error *e);
const char *dx_error_text(const dx_error *e);

#define DX_FAIL(code, ...) dx_error_make(DX_E_##code, __FILE__, __LINE__, __VA_ARGS__)

#define DX_TRY(call)                  /* while the function owns nothing */ \
  do { dx_error *dx_e_ = (call); if (dx_e_) return dx_e_; } while (0)
#define DX_TRY_GOTO(err, label, call) /* to its one cleanup label */ \
  do { if (((err) = (call))) goto label; } while (0)
#endif
