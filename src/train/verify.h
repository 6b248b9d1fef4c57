/* SPDX-License-Identifier: Apache-2.0 */
/* train/verify.h - does this build compute what the papers say, on this machine?

   verify.c holds the table of checks. A check compares numbers and hands every one of
   them to dx_verdict_add; adding a check is one function and one row. */
#ifndef DX_TRAIN_VERIFY_H
#define DX_TRAIN_VERIFY_H
#include "train/spec.h"

/* What a check found: how many numbers, how many of them wrong, and the worst one. */
typedef struct {
  int64_t compared, wrong;
  double found, expected, allowed; /* of the number that came nearest to its limit, or went farthest beyond */
  char what[48];                   /* which it is */
} dx_verdict;

/* One number: wrong unless |found - expected| <= allowed. Local */
void dx_verdict_add(dx_verdict *v, double found, double expected, double allowed, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Collective. An error means that the check could not be done, on any rank; wrong numbers are
   told by the verdict alone, which may differ from rank to rank. */
typedef dx_error *(*dx_check_fn)(const dx_team *team, dx_verdict *v);

/* All checks, a row each to out (NULL: silence; used by rank 0 alone). A check is failed when it
   is wrong on any rank; the row then tells the rank's numbers. *failed: how many, on all ranks.
   BLIS has been started (dx_team_form).  Collective */
dx_error *dx_verify(const dx_team *team, FILE *out, int *failed) DX_MUST_CHECK;

/* verify_math.c: formulas against published and closed-form values. */
dx_error *dx_check_philox(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_normals(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_functions(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_schedules(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_kl(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_entropy(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_fixed(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_mixture(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_predictor(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_samplers(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;

/* verify_machine.c: kernels, BLIS and threads against plain C and double. */
dx_error *dx_check_kernels(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_gemm(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_threads(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_float_mode(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;

/* verify_run.c: the sum over ranks, and an evaluation whose answer is known. */
dx_error *dx_check_reduction(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
dx_error *dx_check_evaluation(const dx_team *team, dx_verdict *v) DX_MUST_CHECK;
#endif
