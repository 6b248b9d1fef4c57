/* SPDX-License-Identifier: Apache-2.0 */
/* train/verify.c - the table of checks, and how it is printed. */
#include "train/verify.h"

#include <math.h>
#include <stdarg.h>

static const struct {
  const char *name;
  dx_check_fn run;
} checks[] = {
  {"random words: Philox4x32-10, known answers", dx_check_philox},
  {"normals: moments and tails", dx_check_normals},
  {"exp, log, sin, cos, tanh against libm (ulp)", dx_check_functions},
  {"schedules: published values", dx_check_schedules},
  {"KL, prior and decoder terms", dx_check_kl},
  {"Gaussian data: bound = entropy (bits/dim)", dx_check_entropy},
  {"Gaussian data: fixed variances (bits/dim)", dx_check_fixed},
  {"two modes: bound and entropy (bits/dim)", dx_check_mixture},
  {"exact predictor: its error is the closed one", dx_check_predictor},
  {"samplers recover a Gaussian, 4 stderr", dx_check_samplers},
  {"kernel sets: the bits of plain C", dx_check_kernels},
  {"products against double (of their limit)", dx_check_gemm},
  {"products in threads: the same bits", dx_check_threads},
  {"rounding and denormals in every thread", dx_check_float_mode},
  {"gradient sum over ranks: the tree's bits", dx_check_reduction},
  {"Gaussian data, evaluated: each L_t, 4 stderr", dx_check_evaluation},
};
enum { CHECKS = sizeof checks / sizeof *checks };

/* How far a number is from its value, in units of what is allowed; NaN is farthest. */
static double distance(double found, double expected, double allowed)
{
  const double d = fabs(found - expected);

  if (d == 0) return 0;
  return d <= INFINITY && allowed > 0 ? d / allowed : INFINITY;
}

void dx_verdict_add(dx_verdict *v, double found, double expected, double allowed, const char *fmt, ...)
{
  const double far = distance(found, expected, allowed);
  va_list args;

  v->wrong += far > 1;
  if (v->compared++ > 0 && far <= distance(v->found, v->expected, v->allowed)) return;
  v->found = found;
  v->expected = expected;
  v->allowed = allowed;
  va_start(args, fmt);
  vsnprintf(v->what, sizeof v->what, fmt, args);
  va_end(args);
}

static dx_error *complaint(const dx_verdict *v)
{
  if (!v->compared) return DX_FAIL(NUMERIC, "nothing was compared");
  if (!v->wrong) return NULL;
  return DX_FAIL(NUMERIC, "%s is %.15g; expected %.15g, %.1e off allowed (%lld of %lld numbers are wrong)",
                 v->what, v->found, v->expected, v->allowed, (long long)v->wrong, (long long)v->compared);
}

static void print(FILE *out, const char *name, const dx_verdict *v, const dx_error *wrong)
{
  fprintf(out, "%s  %-44s %15.9g %15.9g %8.1e  %s", wrong ? "FAIL" : "PASS", name, v->found, v->expected,
          v->allowed, v->what);
  if (v->compared > 1) fprintf(out, " (of %lld)", (long long)v->compared);
  fputc('\n', out);
  if (wrong) fprintf(out, "      %s\n", dx_error_text(wrong));
  fflush(out);
}

dx_error *dx_verify(const dx_team *team, FILE *out, int *failed)
{
  const bool speaks = out && dx_comm_rank(team->comm) == 0;
  int count = 0;

  if (speaks)
    fprintf(out, "%-4s  %-44s %15s %15s %8s  %s\n", "", "check", "found", "expected", "allowed",
            "nearest to its limit");
  for (int i = 0; i < CHECKS; i++) {
    dx_verdict v = {0};
    dx_error *wrong;

    DX_TRY(dx_comm_agree(team->comm, checks[i].run(team, &v)));
    wrong = dx_comm_agree(team->comm, complaint(&v));
    if (speaks) print(out, checks[i].name, &v, wrong);
    count += wrong != NULL;
    dx_error_free(wrong);
  }
  if (speaks) fprintf(out, "%d of %d checks passed\n", CHECKS - count, CHECKS);
  *failed = count;
  return NULL;
}
