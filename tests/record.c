/* SPDX-License-Identifier: Apache-2.0 */
/* tests/record.c - rows of evaluations that other programs wrote into the journal: those of early ones, without and
   with classes, and one that tells more than we know. */
#include "train/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "experiment.h"
#include "io/file.h"
#include "io/h5.h"
#include "tap.h"

enum { T = 5, C = 3, HEAD = 15, HEADER = 0, KL_BARE = 3, KL = 6 };

static char folder[64] = "/tmp/diffx-record-XXXXXX";

static void must(dx_error *e)
{
  if (!e) return;
  printf("Bail out! %s\n", dx_error_text(e));
  exit(99);
}

/* The journal of a run with one evaluation: n numbers 0.5, 1.5, ... behind the step, and a tail of their shape (five numbers). */
static void write_journal(const char *settings, uint32_t kind, int64_t n, const int64_t *shape)
{
  double row[1000];
  char path[128];
  dx_journal *j;

  memcpy(row, &(int64_t){7}, 8);
  for (int64_t i = 1; i < n; i++) row[i] = (double)i + 0.5;
  if (shape) memcpy(row + n, shape, 5 * sizeof *shape);
  snprintf(path, sizeof path, "%s/journal", folder);
  remove(path);
  must(dx_journal_open(path, NULL, NULL, &j));
  must(dx_journal_append(j, HEADER, settings, strlen(settings)));
  must(dx_journal_append(j, kind, row, 8 * (size_t)(n + (shape ? 5 : 0))));
  dx_journal_close(j);
}

/* A dataset of metrics.h5, malloc'd. */
static double *read_numbers(const char *name, int64_t wanted)
{
  dx_h5_info info;
  double *to;
  char path[128];
  dx_h5 *f;

  snprintf(path, sizeof path, "%s/metrics.h5", folder);
  must(dx_h5_open(path, &f));
  must(dx_h5_look(f, name, &info));
  to = calloc((size_t)wanted, sizeof *to);
  if (info.dim[0] * (info.rank > 1 ? info.dim[1] : 1) == wanted) must(dx_h5_read(f, name, DX_H5_F64, to));
  dx_h5_close(f);
  return to;
}

static int all_nan(const char *name, int64_t n)
{
  double *const x = read_numbers(name, n);
  int good = 1;

  for (int64_t i = 0; i < n; i++) good = good && isnan(x[i]);
  free(x);
  return good;
}

/* Numbers from place `at` of the row on. */
static int from(const char *name, int64_t n, int64_t at)
{
  double *const x = read_numbers(name, n);
  int good = 1;

  for (int64_t i = 0; i < n; i++) good = good && x[i] == (double)(at + i) + 0.5;
  free(x);
  return good;
}

static dx_error *take_over(const dx_problem *p, uint32_t kind, int64_t n, const int64_t *shape)
{
  dx_record *r;

  write_journal(p->spec->settings, kind, n, shape);
  DX_TRY(dx_record_open(p, folder, 10, &r));
  must(dx_record_save(r));
  dx_record_close(r);
  /* and once more, from the journal that was made anew */
  DX_TRY(dx_record_open(p, folder, 10, &r));
  must(dx_record_save(r));
  dx_record_close(r);
  return NULL;
}

/* The hash that the shape of T steps ends with. */
static int64_t grid_of(const int64_t *t)
{
  uint64_t hash = 0;

  for (int i = 0; i < T; i++) hash = dx_hash(&t[i], sizeof t[i], hash);
  return (int64_t)hash;
}

static void judge(const dx_problem *p)
{
  const int64_t more[] = {HEAD + 20, 12, 9, T, grid_of((int64_t[]){1, 2, 3, 4, 5})}, other[] = {HEAD + 20, 12, 9, T, grid_of((int64_t[]){1, 2, 3, 4, 6})};
  const int64_t longer = HEAD + 20 + 12 * T + 9 * C;
  dx_error *e;

  must(take_over(p, KL_BARE, HEAD + 6 * T, NULL));
  ok(from("/kl/total", 1, 7) && from("/kl/strata_gain", 1, 14) && from("/kl/vb", T, HEAD) && from("/kl/variance", T, HEAD + 5 * T) &&
       all_nan("/kl/class_total", C), "an evaluation without classes");
  must(take_over(p, KL_BARE, HEAD + 6 * T + 3 * C, NULL));
  ok(from("/kl/total", 1, 7) && from("/kl/vb_stderr", T, HEAD + T) && from("/kl/class_total", C, HEAD + 6 * T + C), "with classes");
  must(take_over(p, KL, longer, more));
  ok(from("/kl/total", 1, 7) && from("/kl/vb", T, HEAD + 20) && from("/kl/variance", T, HEAD + 20 + 5 * T) &&
       from("/kl/class_total", C, HEAD + 20 + 12 * T + C), "one that tells more than we know");
  e = take_over(p, KL_BARE, HEAD + 6 * T + 1, NULL);
  ok(e && dx_error_code(e) == DX_E_DATA && strstr(dx_error_text(e), "no shape of this diffx fits"), "refused: %s", e ? dx_error_text(e) : "no error");
  dx_error_free(e);
  e = take_over(p, KL, longer - 1, more);
  ok(e && dx_error_code(e) == DX_E_DATA && strstr(dx_error_text(e), "no shape of this diffx fits"), "and a row that is not what its shape says");
  dx_error_free(e);
  e = take_over(p, KL, longer, other);
  ok(e && dx_error_code(e) == DX_E_CONFIG && strstr(dx_error_text(e), "of another grid of 5 steps, and evaluate.respace is none"), "and another grid");
  dx_error_free(e);
}

int main(int argc, char **argv)
{
  static const char text[] = "{data: {kind: shapes, size: 8, train: 20, test: 20}, process: {schedule: cosine, timesteps: 5}}";
  dx_logger logger = {.level = DX_LOG_ERROR};
  dx_team team = {0};
  dx_run_config run;
  dx_experiment *x;
  dx_problem *p;
  dx_comm *comm;
  char rm[128];

  must(dx_comm_start(&argc, &argv, &comm));
  if (!mkdtemp(folder)) must(DX_FAIL(IO, "no folder"));
  dx_option_presets(dx_run_options, &run);
  must(dx_team_form(comm, &logger, &run, &team));
  must(dx_experiment_create("record", text, strlen(text), NULL, 0, DX_DATA_READ, &x));
  must(dx_problem_create(&team, dx_experiment_spec(x), &p));
  judge(p);
  dx_problem_destroy(p);
  dx_experiment_destroy(x);
  dx_team_part(&team);
  dx_comm_stop(comm);
  snprintf(rm, sizeof rm, "rm -rf %s", folder);
  if (system(rm)) printf("# %s is left\n", folder);
  return done();
}
