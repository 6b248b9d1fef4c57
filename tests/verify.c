/* SPDX-License-Identifier: Apache-2.0 */
/* tests/verify.c - diffx verify passes here, and a rank whose kernels are wrong fails it on all ranks. */
#include "train/verify.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static dx_comm *comm;

static void say(int good, const char *what)
{
  const int all = (int)dx_comm_min_i64(comm, good);

  if (dx_comm_rank(comm) == 0) ok(all, "%s", what);
  else tap_bad += !all;
}

static void broken_add(int64_t n, const float *a, const float *b, float *y)
{
  for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
  y[n - 1] = 0;
}

static void verdicts(void)
{
  dx_verdict v = {0};

  dx_verdict_add(&v, 1, 2, 1, "at its limit");
  dx_verdict_add(&v, 3, 3, 0, "exact");
  say(v.wrong == 0 && v.compared == 2 && !strcmp(v.what, "at its limit"),
      "a number at its limit is right, and the nearest");
  dx_verdict_add(&v, 5, 2, 1, "beyond");
  say(v.wrong == 1 && v.found == 5, "a number beyond its limit is wrong");
  dx_verdict_add(&v, NAN, 2, 1, "not a number");
  say(v.wrong == 2 && !strcmp(v.what, "not a number"), "NaN is wrong, and the worst");
  dx_verdict_add(&v, 1, 2, 0, "nothing allowed");
  say(v.wrong == 3, "nothing allowed, nothing forgiven");
}

static dx_error *prepare(int *argc, char ***argv, dx_logger *log, dx_team *team)
{
  dx_run_config run;

  DX_TRY(dx_comm_start(argc, argv, &comm));
  dx_option_presets(dx_run_options, &run);
  run.threads = 2;
  return dx_team_form(comm, log, &run, team);
}

static void fail_with(dx_error *e)
{
  if (!e) return;
  printf("Bail out! %s\n", dx_error_text(e));
  exit(1);
}

/* Rank 0's table in one block, to look for words in. */
static void verify(const dx_team *team, char *table, size_t room, int *failed)
{
  FILE *out = fmemopen(table, room, "w");

  if (!out) exit(1);
  fail_with(dx_verify(team, out, failed));
  fclose(out);
}

int main(int argc, char **argv)
{
  static char table[1 << 16];
  dx_logger log = {.level = DX_LOG_WARN};
  dx_team team;
  int failed = -1;

  fail_with(prepare(&argc, &argv, &log, &team));
  verdicts();
  verify(&team, table, sizeof table, &failed);
  say(failed == 0, "every check passes");
  say(dx_comm_rank(comm) > 0 ? !table[0] : strstr(table, "PASS") && !strstr(table, "FAIL"),
      "rank 0 alone prints");
  if (failed) printf("# %s\n", table);
  if (dx_comm_rank(comm) == dx_comm_size(comm) - 1) team.kernel.add = broken_add;
  verify(&team, table, sizeof table, &failed);
  say(failed >= 1, "wrong bits on one rank fail a check, on all ranks");
  say(dx_comm_rank(comm) > 0 || (strstr(table, "FAIL  kernel sets") && strstr(table, "rank 2: ")),
      "and the rank is named");
  failed = dx_comm_rank(comm) == 0 ? done() : tap_bad;
  dx_team_part(&team);
  dx_comm_stop(comm);
  return failed != 0;
}
