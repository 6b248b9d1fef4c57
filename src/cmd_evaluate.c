/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_evaluate.c - diffx evaluate RUN|CHECKPOINT. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/stop.h"
#include "commands.h"
#include "io/file.h"
#include "train/evaluate.h"
#include "train/optimizer.h"
#include "train/record.h"

static void print(const dx_problem *p, const dx_evaluation *e)
{
  const double bits = dx_problem_bits(p);
  const dx_evaluation_head *const h = &e->head;
  const dx_train_config *const train = &p->spec->train;
  const bool several = h->ema && dx_averages(train) > 1;
  char name[DX_WEIGHTS_NAME];

  printf("%-10s %14s %12s %14s %12s\n", "term", "nats", "+-", "bits/dim", "+-");
  const struct { const char *name; double v, se; } rows[] = {
    {"prior L_T", h->prior, h->prior_stderr},
    {"KL terms", h->total - h->prior - h->decoder, NAN},
    {"decoder L_0", h->decoder, h->decoder_stderr},
    {"total", h->total, h->total_stderr},
    {"train split", h->train, h->train_stderr},
    {"gap", h->gap, h->gap_stderr},
  };
  for (int i = 0; i < 6; i++) {
    if (rows[i].v != rows[i].v) continue; /* not asked for */
    printf("%-11s %13.6f ", rows[i].name, rows[i].v);
    if (rows[i].se == rows[i].se) printf("%12.6f %14.6f %12.6f\n", rows[i].se, rows[i].v * bits, rows[i].se * bits);
    else printf("%12s %14.6f %12s\n", "", rows[i].v * bits, "");
  }
  printf("step %lld, %s weights%s%s%s, %lld test examples; decoder variance %.6g\n", (long long)h->step,
         h->ema ? "averaged" : "raw", several ? " (" : "", several ? dx_weights_name(train, (int)h->ema, name) : "",
         several ? ")" : "", (long long)h->examples, h->decoder_variance);
  if (p->grid.steps < p->process.timesteps)
    printf("the process of %lld of the %lld steps (evaluate.respace)\n", (long long)p->grid.steps, (long long)p->process.timesteps);
  if (isnan(h->strata_gain)) return;
  printf("strata by a pilot: terms vary %.3g times less within them than at squares", h->strata_gain);
  if (isnan(h->strata_gain_low)) puts(""); /* two examples tell of no interval */
  else printf(" (95 %%: %.3g to %.3g)\n", h->strata_gain_low, h->strata_gain_high);
}

/* Where the data have labels, the bound of each class, by its name if the data tell them. */
static dx_error *print_classes(const dx_problem *p, const dx_evaluation *e)
{
  const double bits = dx_problem_bits(p);
  char *names, *rest, *name;

  if (e->classes == 0 || e->classes > 100) return NULL;
  DX_TRY(dx_dataset_class_names(p->data, &names));
  rest = names;
  printf("%-10s %14s %12s %14s %12s\n", "class", "nats", "+-", "bits/dim", "examples");
  for (int64_t i = 0; i < e->classes; i++) {
    char number[24];

    snprintf(number, sizeof number, "%lld", (long long)i);
    name = rest ? strsep(&rest, "\n") : NULL;
    if (e->class_count[i] > 0)
      printf("%-10s %14.6f %12.6f %14.6f %12.0f\n", name && *name ? name : number, e->class_total[i], e->class_stderr[i],
             e->class_total[i] * bits, e->class_count[i]);
  }
  free(names);
  return NULL;
}

/* What may end an evaluation before its time. */
typedef struct {
  const dx_comm *comm;
  double begin, limit;      /* seconds; limit 0: none */
  bool stale;               /* a stop file stood there before we came: it is another's */
  int64_t asked;
  char stop[2200], begun[4200];
} watch;

/* The time limit counts once a chunk is done, so that each call comes further. */
static bool stopping(void *ctx)
{
  watch *const w = ctx;

  if (dx_stop_wanted()) return true;
  if (dx_comm_rank(w->comm) > 0 || w->asked++ == 0) return false;
  return (w->limit > 0 && dx_clock() - w->begin > w->limit) || (!w->stale && dx_file_exists(w->stop));
}

/* The name of what is begun. Without a file's own it tells the settings, so that two evaluations of one run, at once or one
   after the other, leave each other's alone. */
static void name_begun(const dx_spec *spec, const char *stem, const char *file, char *begun, size_t room)
{
  const uint64_t key = dx_hash(spec->settings, strlen(spec->settings), 0);

  if (file) snprintf(begun, room, "%s.begun", file);
  else snprintf(begun, room, "%s-%08x.begun", stem, (unsigned)(key & 0xFFFFFFFFu));
}

static watch watch_for(const dx_call *call, const dx_spec *spec, const char *folder)
{
  watch w = {.comm = call->comm, .begin = dx_clock(), .limit = spec->run.time_limit};

  snprintf(w.stop, sizeof w.stop, "%s/stop", folder);
  w.stale = dx_file_exists(w.stop);
  dx_stop_listen();
  return w;
}

dx_error *dx_cmd_evaluate(const dx_call *call_)
{
  dx_call call = *call_;
  dx_trained t = {0};
  dx_team team = {0};
  dx_problem *p = NULL;
  dx_evaluation e = {0};
  const char *to;
  char stem[4000], path[4096], words[32];
  dx_error *err;

  DX_TRY(dx_call_option(&call, "-o", &to));
  DX_TRY_GOTO(err, out, dx_call_trained(&call, DX_DATA_READ, &t));
  const dx_spec *const spec = dx_experiment_spec(t.experiment);

  DX_TRY_GOTO(err, out, dx_trained_weights(call.comm, &t, spec->evaluate.weights));
  snprintf(stem, sizeof stem, "%s/evaluation-%08lld", t.folder, (long long)t.step);
  if (to) snprintf(path, sizeof path, "%s", to);
  else dx_call_fresh(&call, stem, path, sizeof path);
  watch w = watch_for(&call, spec, t.folder);
  name_begun(spec, stem, to, w.begun, sizeof w.begun);
  const dx_evaluation_task task = {.w = t.w, .step = t.step, .ema = t.ema, .by_example = true,
                                   .wait = {.stopping = stopping, .ctx = &w}, .partial = w.begun};

  DX_TRY_GOTO(err, out, dx_team_form(call.comm, call.log, &spec->run, &team));
  DX_TRY_GOTO(err, out, dx_problem_create(&team, spec, &p));
  DX_TRY_GOTO(err, out, dx_trained_compare(&t, p));
  DX_TRY_GOTO(err, out, dx_call_output(&call, path, "record"));
  DX_TRY_GOTO(err, out, dx_evaluate(p, &task, &e));
  if (!to) dx_call_fresh(&call, stem, path, sizeof path); /* another may have ended meanwhile */
  if (dx_comm_rank(call.comm) == 0) {
    print(p, &e);
    err = print_classes(p, &e);
    if (!err) err = dx_record_write_evaluation(p, &e, path);
    if (!err) remove(w.begun);
  }
  DX_TRY_GOTO(err, out, dx_comm_agree(call.comm, err));
  dx_log_say(call.log, DX_LOG_INFO, "evaluated in %s: %s", dx_clock_words(dx_clock() - w.begin, words), path);
out:
  dx_evaluation_free(&e);
  dx_problem_destroy(p);
  dx_team_part(&team);
  dx_trained_free(&t);
  return err;
}
