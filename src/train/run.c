/* SPDX-License-Identifier: Apache-2.0 */
/* train/run.c - see run.h.

   At step s the loop does, in this order: evaluate and sample if due at s and not done yet;
   stop if asked to or at the end; else the step to s + 1, its rows, and a checkpoint if due.
   A run that was killed comes back to a checkpoint's step and meets the same loop. */
#include "train/run.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/stop.h"
#include "io/file.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/optimizer.h"
#include "train/profile.h"
#include "train/record.h"
#include "train/sample.h"
#include "train/trainer.h"

const dx_option dx_run_options[] = {
  DX_OPTION(dx_run_config, threads, "auto", 0, 4096,
            "threads of a rank; auto: OMP_NUM_THREADS, else its fair share of the cores it may use",
            .words = "auto=0", .role = DX_RUN),
  DX_OPTION(dx_run_config, crew, "auto", 1, 4096,
            "threads that share a grain, and its memory, at most; auto: one, or more where a rank has fewer grains than threads; "
            "a network of small layers gains little from a crew, mlp nothing",
            .words = "auto=0", .role = DX_RUN),
  DX_OPTION(dx_run_config, kernels, "auto", 0, 0, "kernel set; pinned, machines of different make give equal bits; amx: avx512 with products on tiles, "
            "as accurate, faster where layers are wide, slower where they are narrow, with other bits than all others, so auto never takes it",
            .choices = "auto|portable|avx2|avx512|amx", .role = DX_RUN),
  DX_OPTION(dx_run_config, time_limit, "none", 0, 1e9,
            "seconds after which the run stops with a checkpoint and exit status 75", .words = "none=0", .role = DX_RUN),
  DX_OPTION(dx_run_config, stall_limit, "1800", 0, 1e9,
            "seconds without progress after which a rank ends the job with status 6", .words = "none=0", .role = DX_RUN),
  DX_OPTION(dx_run_config, keep, "3", 1, 1e6, "newest checkpoints that are kept", .role = DX_RUN),
  DX_OPTION(dx_run_config, allow_other_bits, "false", 0, 0,
            "let a run go on with another kernel set than it began with", .role = DX_RUN),
  DX_OPTION(dx_run_config, profile, "false", 0, 0,
            "measure each layer, and tell at the end where the time went and how far it is from what the machine can do",
            .role = DX_RUN),
  DX_OPTION(dx_run_config, log, "info", 0, 0, "what is said", .choices = "error|warn|info|debug", .role = DX_RUN),
  DX_OPTION_END
};

enum { LINE_SECONDS = 5, SAVE_SECONDS = 30, LINE = 192 };

typedef struct {
  const dx_team *team;
  const dx_spec *spec;
  dx_problem *problem;
  dx_trainer *trainer;
  dx_record *record;         /* rank 0 */
  dx_lock *lock;             /* rank 0 */
  atomic_bool lost;          /* the lock is another job's now; rank 0 */
  FILE *log_file;            /* rank 0 */
  char checkpoints[3072], samples[3072], partial[3072]; /* partial: of an evaluation under way */
  int64_t asked;             /* how often an evaluation has asked whether to stop */
  float *weights;            /* whole, for evaluation and sampling */
  int64_t saved;             /* step of the newest checkpoint, -1: none */
  bool resumed;
  double start, begin, line, save, row; /* clocks: of the process, of the loop, of what was done last */
  int64_t begin_step, row_step;
  double loss;               /* of the last row; NAN before it */
  bool complete;             /* at its end from the start, and nothing to be made.  Rank 0 */
  double compute, exchange;  /* seconds since the last row */
  double all_compute, all_exchange; /* since the loop began */
  dx_roof roof;              /* with run.profile */
  double fastest, slowest;   /* compute of all ranks, at a row */
} run;

static bool lead(const run *r) { return dx_comm_rank(r->team->comm) == 0; }
static dx_state *state(const run *r) { return dx_trainer_state(r->trainer); }

void dx_run_samples_path(const char *output, int64_t step, char *path, size_t room)
{
  snprintf(path, room, "%s/samples/step-%08lld.h5", output, (long long)step);
}

bool dx_run_due(int64_t every, int64_t step, int64_t last)
{
  if (every < 0) return false;
  return step == last || (every > 0 && step > 0 && step % every == 0);
}

/* --- the folder ---------------------------------------------------------------------- */

static dx_error *take_folder(run *r)
{
  char path[4096], *notice = NULL;

  dx_run_warn_folder(r->team, r->spec->output);
  DX_TRY(dx_folder_make(r->checkpoints));
  DX_TRY(dx_folder_make(r->samples));
  DX_TRY(dx_lock_take(r->spec->output, &r->lock, &notice));
  if (notice) dx_log_say(r->team->log, DX_LOG_WARN, "%s", notice);
  free(notice);
  snprintf(path, sizeof path, "%s/stop", r->spec->output);
  remove(path); /* an old request has been met */
  snprintf(path, sizeof path, "%s/log.txt", r->spec->output);
  r->log_file = fopen(path, "a");
  if (!r->log_file) return DX_FAIL(IO, "%s cannot be written", path);
  dx_log_into(r->team->log, r->log_file);
  return NULL;
}

/* Tell others that we are alive, from the watchdog's thread. */
static void keep_folder(void *ctx)
{
  run *const r = ctx;

  if (!dx_lock_touch(r->lock)) r->lost = true;
}

/* Before anything is written. Rank 0 */
static dx_error *check_folder(const run *r)
{
  return r->lost ? DX_FAIL(IO, "%s: another job has taken this run over, since this one stood still for ten minutes; "
                           "nothing more is written", r->spec->output) : NULL;
}

static bool stop_file_there(const run *r)
{
  char path[4096];

  snprintf(path, sizeof path, "%s/stop", r->spec->output);
  return dx_file_exists(path);
}

/* --- start and resume ------------------------------------------------------------------ */

dx_error *dx_run_may_go_on(const dx_team *team, const dx_spec *spec, const char *path, int64_t *step)
{
  dx_checkpoint_head h;
  dx_error *err = NULL;

  DX_TRY(dx_checkpoint_open(path, &h));
  *step = h.step;
  err = dx_error_in(spec->compatible(spec, h.settings), "%s", path);
  if (!err && h.step > spec->train.steps)
    err = DX_FAIL(CONFIG, "train.steps is %lld, but the run in %s stands at step %lld; allowed: that or more",
                  (long long)spec->train.steps, spec->output, (long long)h.step);
  const bool others = !err && strcmp(h.kernels, team->kernels);
  if (others && !spec->run.allow_other_bits)
    err = DX_FAIL(CONFIG, "%s was computed with kernels %s, this run has %s, whose bits may differ; set run.kernels=%.*s, "
                  "or run.allow_other_bits=true to go on all the same", path, h.kernels, team->kernels, (int)strcspn(h.kernels, "+"), h.kernels);
  else if (others)
    dx_log_say(team->log, DX_LOG_WARN, "%s was computed with kernels %s, and the run goes on with %s: its bits may be those of "
               "neither", path, h.kernels, team->kernels);
  dx_checkpoint_head_free(&h);
  return err;
}

/* The checkpoint to go on from (rank 0 looks, all hear of it); NULL to start anew.  Collective */
static dx_error *find_checkpoint(const run *r, char **path)
{
  dx_error *err = NULL;
  int64_t step;

  *path = NULL;
  if (lead(r)) {
    err = dx_checkpoint_find(r->checkpoints, r->team->log, path);
    if (!err && *path) err = dx_run_may_go_on(r->team, r->spec, *path, &step);
  }
  err = dx_comm_agree(r->team->comm, err);
  if (!err) return dx_comm_broadcast_text(r->team->comm, path);
  free(*path);
  *path = NULL;
  return err;
}

/* train.init_from: another run's weights as ours, and as our averages.  Collective */
static dx_error *start_from(const run *r, const char *from)
{
  const size_t size = (size_t)state(r)->floats * sizeof(float);
  char *file = NULL;
  float *raw = NULL;
  int64_t n = 0;
  dx_error *err = NULL;

  if (lead(r)) {
    err = dx_checkpoint_resolve(from, r->team->log, &file);
    if (!err) err = dx_checkpoint_open(file, NULL);
    if (!err) err = dx_checkpoint_read(file, "raw", &raw, &n);
    if (!err) err = dx_checkpoint_fits(file, n, dx_problem_params(r->problem));
    if (!err) memcpy(r->weights, raw, size);
    err = dx_error_in(err, "train.init_from");
  }
  free(file);
  free(raw);
  DX_TRY(dx_comm_agree(r->team->comm, err));
  dx_comm_broadcast(r->team->comm, r->weights, size);
  dx_trainer_set_weights(r->trainer, r->weights);
  dx_trainer_restart_averages(r->trainer);
  return dx_trainer_reload(r->trainer);
}

/* Does a run that is at its end lack nothing that it has now been asked for?  Rank 0 */
static bool is_complete(const run *r)
{
  const int64_t step = state(r)->step, last = r->spec->train.steps;
  char drawn[4096];

  dx_run_samples_path(r->spec->output, step, drawn, sizeof drawn);
  return r->resumed && step >= last && dx_record_is_saved(r->record) &&
         (!dx_run_due(r->spec->evaluate.every, step, last) || dx_record_has_evaluation(r->record, step)) &&
         (!dx_run_due(r->spec->sample.every, step, last) || dx_file_exists(drawn));
}

static dx_error *open_record(run *r)
{
  char path[4096], start[32], hosts[128];
  const int64_t ranks = dx_comm_size(r->team->comm);

  DX_TRY(dx_record_open(r->problem, r->spec->output, state(r)->step, &r->record));
  if ((r->complete = is_complete(r))) return NULL; /* record and settings tell of what was done, not of this session */
  snprintf(hosts, sizeof hosts, "%s (%d nodes)", dx_comm_host(r->team->comm), dx_comm_nodes(r->team->comm));
  DX_TRY(dx_record_session(r->record, state(r)->step, dx_clock_now(start), ranks, r->team->threads, hosts));
  snprintf(path, sizeof path, "%s/experiment.yaml", r->spec->output);
  /* a run that is at its end keeps the settings that it was made with */
  if (state(r)->step < r->spec->train.steps || !dx_file_exists(path))
    DX_TRY(dx_file_write_atomic(path, r->spec->everything, strlen(r->spec->everything)));
  return dx_record_save(r->record);
}

dx_error *dx_run_check(const dx_problem *p)
{
  return p->spec->evaluate.every >= 0 ? dx_evaluation_possible(p) : NULL;
}

/* Folder, problem, trainer, checkpoint, record.  Collective */
static dx_error *begin(run *r)
{
  const dx_comm *const c = r->team->comm;
  char *path = NULL;
  dx_error *err;

  DX_TRY(dx_comm_agree(c, lead(r) ? take_folder(r) : NULL));
  dx_watch_start(c, r->spec->run.stall_limit, lead(r) ? keep_folder : NULL, r);
  DX_TRY(dx_problem_create(r->team, r->spec, &r->problem));
  DX_TRY(dx_run_check(r->problem));
  DX_TRY(dx_trainer_create(r->problem, &r->trainer));
  if (lead(r)) dx_run_warn_idle(r->problem, r->team->first_worker[dx_comm_size(c)]);
  r->weights = calloc((size_t)state(r)->floats + 1, sizeof *r->weights);
  DX_TRY(dx_comm_agree(c, r->weights ? NULL : DX_FAIL(INTERNAL, "no memory for a copy of the weights")));
  DX_TRY(find_checkpoint(r, &path));
  if (path) {
    err = dx_checkpoint_load(path, r->trainer, r->problem);
    r->saved = state(r)->step;
    r->resumed = true;
    if (!err) dx_log_say(r->team->log, DX_LOG_INFO, "resuming from %s", path);
    free(path);
    if (err) return err;
  } else if (strcmp(r->spec->train.init_from, "none")) {
    DX_TRY(start_from(r, r->spec->train.init_from));
  }
  return dx_comm_agree(c, lead(r) ? open_record(r) : NULL);
}

/* --- at a step ------------------------------------------------------------------------- */

static bool is_over_time(const run *r)
{
  const double limit = r->spec->run.time_limit;

  return limit > 0 && dx_clock() - r->start > limit;
}

/* Rank 0's own reasons to stop; the others have signals only. */
static bool wants_stop(const run *r)
{
  if (dx_stop_wanted()) return true;
  if (!lead(r)) return false;
  if (is_over_time(r)) return true;
  return state(r)->step % 16 == 0 && stop_file_there(r);
}

/* What made it stop, as rank 0 sees it. */
static const char *reason_of_stop(const run *r)
{
  if (dx_stop_wanted()) return "by a signal";
  if (stop_file_there(r)) return "by the file stop";
  return is_over_time(r) ? "by run.time_limit" : "by a signal to another rank";
}

/* The same between rounds of a sampling, which take long enough to look for the file each time. The
   time limit counts only where this session has gained steps: one that is longer than the limit
   would else be begun anew for ever. */
static bool stopping(void *ctx)
{
  const run *const r = ctx;
  const bool file = lead(r) && stop_file_there(r);

  if (state(r)->step == r->begin_step) return dx_stop_wanted() || file;
  return wants_stop(r) || file;
}

/* Between chunks of an evaluation, which goes on where it was stopped: so the time limit counts once a chunk is done. */
static bool stopping_evaluation(void *ctx)
{
  run *const r = ctx;

  if (r->asked++ == 0) return stopping(ctx);
  return wants_stop(r) || (lead(r) && stop_file_there(r));
}

static dx_error *record_evaluation(run *r, const dx_evaluation *e)
{
  const double bits = dx_problem_bits(r->problem);

  dx_log_say(r->team->log, DX_LOG_INFO,
             "step %lld: bound %.4f +- %.4f bits/dim (prior %.2e, decoder %.4f) over %lld test examples",
             (long long)e->head.step, e->head.total * bits, e->head.total_stderr * bits, e->head.prior * bits,
             e->head.decoder * bits, (long long)e->head.examples);
  DX_TRY(dx_record_evaluation(r->record, e));
  DX_TRY(dx_record_save(r->record));
  remove(r->partial);
  return NULL;
}

static dx_error *evaluate(run *r)
{
  int place, there = lead(r) && dx_record_has_evaluation(r->record, state(r)->step);
  dx_evaluation e;
  dx_error *err;

  dx_comm_broadcast(r->team->comm, &there, sizeof there);
  if (there && lead(r)) remove(r->partial); /* a run that was killed before it could */
  if (there) return NULL;
  DX_TRY(dx_weights_find(&r->spec->train, r->spec->evaluate.weights, &place)); /* alike on all ranks */
  dx_trainer_weights(r->trainer, place, r->weights);
  const dx_evaluation_task task = {.w = r->weights, .step = state(r)->step, .ema = place,
                                   .wait = {.stopping = stopping_evaluation, .ctx = r}, .partial = r->partial};
  r->asked = 0;
  DX_TRY(dx_evaluate(r->problem, &task, &e));
  err = dx_comm_agree(r->team->comm, lead(r) ? record_evaluation(r, &e) : NULL);
  dx_evaluation_free(&e);
  return err;
}

static dx_error *sample(run *r)
{
  char path[4096], words[32];
  double seconds;
  int place, there;

  dx_run_samples_path(r->spec->output, state(r)->step, path, sizeof path);
  there = lead(r) && dx_file_exists(path);
  dx_comm_broadcast(r->team->comm, &there, sizeof there);
  if (there) return NULL;
  DX_TRY(dx_weights_find(&r->spec->train, r->spec->sample.weights, &place));
  dx_trainer_weights(r->trainer, place, r->weights);
  DX_TRY(dx_sample(r->problem, r->weights, state(r)->step, place, path, stopping, r, &seconds));
  dx_log_say(r->team->log, DX_LOG_INFO, "step %lld: %lld samples in %s: %s", (long long)state(r)->step,
             (long long)r->spec->sample.count, dx_clock_words(seconds, words), path);
  return NULL;
}

/* Evaluation and sampling at this step, as they are due. */
static dx_error *look(run *r)
{
  const int64_t step = state(r)->step, last = r->spec->train.steps;
  const bool evaluating = dx_run_due(r->spec->evaluate.every, step, last), sampling = dx_run_due(r->spec->sample.every, step, last);

  if (!evaluating && !sampling) return NULL;
  if (evaluating) DX_TRY(evaluate(r));
  if (sampling) DX_TRY(sample(r));
  return dx_trainer_reload(r->trainer);
}

static dx_error *save(run *r)
{
  dx_error *err;

  err = lead(r) ? check_folder(r) : NULL;
  if (lead(r) && !err) err = dx_record_mark(r->record, state(r)->step);
  DX_TRY(dx_comm_agree(r->team->comm, err));
  dx_trainer_rest(r->trainer); /* vectors on their way into the file need room */
  DX_TRY(dx_checkpoint_save(r->trainer, r->problem, r->checkpoints, r->spec->run.keep));
  DX_TRY(dx_trainer_reload(r->trainer));
  r->saved = state(r)->step;
  r->save = dx_clock();
  err = lead(r) ? dx_record_save(r->record) : NULL;
  return dx_comm_agree(r->team->comm, err);
}

static double mean_loss(const run *r)
{
  const dx_window *const w = &state(r)->window;

  return w->loss / (double)(w->examples ? w->examples : 1);
}

static dx_error *write_row(run *r, const dx_step_info *info)
{
  const double now = dx_clock(), passed = now - r->row;
  const dx_train_row row = {
    .step = state(r)->step, .loss = mean_loss(r), .grad_norm = info->grad_norm, .rate = info->rate,
    .seconds = now - r->begin,
    .examples_per_second = (double)(state(r)->step - r->row_step) * (double)r->spec->train.batch / passed,
    .compute = r->compute, .exchange = r->exchange, .compute_fastest = r->fastest, .compute_slowest = r->slowest,
  };

  r->row = now;
  r->row_step = state(r)->step;
  state(r)->window.loss = 0;
  state(r)->window.examples = 0;
  return dx_record_train(r->record, &row);
}

static dx_error *write_by_t(run *r)
{
  const size_t T = (size_t)r->problem->process.timesteps;
  dx_window *const w = &state(r)->window;

  DX_TRY(dx_record_by_t(r->record, state(r)->step, w));
  memset(w->count, 0, T * sizeof *w->count);
  memset(w->mse, 0, T * sizeof *w->mse);
  memset(w->x0_mse, 0, T * sizeof *w->x0_mse);
  memset(w->vb, 0, T * sizeof *w->vb);
  return NULL;
}

static void describe_progress(const run *r, const dx_step_info *info, double now, char line[LINE])
{
  const int64_t step = state(r)->step, steps = r->spec->train.steps;
  const double speed = (double)(step - r->begin_step) / (now - r->begin);
  char left[32], loss[32] = "";

  dx_clock_words((double)(steps - step) / speed, left);
  if (!isnan(r->loss)) snprintf(loss, sizeof loss, "  loss %.4f", r->loss);
  snprintf(line, LINE, "step %lld/%lld%s  |g| %.3g  %.0f examples/s  %s left", (long long)step, (long long)steps, loss,
           info->grad_norm, speed * (double)r->spec->train.batch, left);
}

/* A line for people at a row, now and then: on the screen, or where a live line stands there in the log alone. */
static void say_progress(run *r, const dx_step_info *info)
{
  const double now = dx_clock();
  dx_logger quiet = *r->team->log;
  char line[LINE];

  if (now - r->line < LINE_SECONDS && state(r)->step != r->spec->train.steps) return;
  r->line = now;
  describe_progress(r, info, now, line);
  if (quiet.terminal) quiet.screen = NULL;
  dx_log_say(quiet.terminal ? &quiet : r->team->log, DX_LOG_INFO, "%s", line);
}

/* The live line, with the loss of the last row.  Rank 0 */
static void show_progress(run *r, const dx_step_info *info)
{
  char line[LINE];

  if (!r->team->log->terminal) return;
  describe_progress(r, info, dx_clock(), line);
  dx_log_progress(r->team->log, "%s", line);
}

/* What rank 0 writes after a step. */
static dx_error *write_rows(run *r, const dx_step_info *info, bool row, bool by_t)
{
  DX_TRY(check_folder(r));
  if (row) r->loss = mean_loss(r);
  if (row) DX_TRY(write_row(r, info));
  if (by_t) DX_TRY(write_by_t(r));
  if (row) say_progress(r, info);
  if (dx_clock() - r->save > SAVE_SECONDS) {
    r->save = dx_clock();
    return dx_record_save(r->record);
  }
  return NULL;
}

/* The ranks' time in gradients since the last row.  Collective */
static void compare_ranks(run *r)
{
  const int64_t mine = (int64_t)(r->compute * 1e9);

  r->fastest = 1e-9 * (double)dx_comm_min_i64(r->team->comm, mine);
  r->slowest = 1e-9 * (double)dx_comm_max_i64(r->team->comm, mine);
}

static dx_error *step(run *r, bool *stop)
{
  const dx_train_config *const c = &r->spec->train;
  dx_step_info info;

  DX_TRY(dx_trainer_step(r->trainer, wants_stop(r), &info));
  r->compute += info.compute;
  r->exchange += info.exchange;
  r->all_compute += info.compute;
  r->all_exchange += info.exchange;
  *stop = info.stop;
  const int64_t s = state(r)->step;
  const bool row = s % c->log_every == 0 || s == c->steps, by_t = s % c->by_t_every == 0 || s == c->steps;
  if (row || by_t) {
    dx_trainer_collect(r->trainer);
    if (row) compare_ranks(r);
    DX_TRY(dx_comm_agree(r->team->comm, lead(r) ? write_rows(r, &info, row, by_t) : NULL));
    if (row) r->compute = r->exchange = 0;
  }
  if (lead(r)) show_progress(r, &info);
  if (s % c->checkpoint_every == 0 || s == c->steps) DX_TRY(save(r));
  return NULL;
}

/* The exact predictor has no layers to measure. */
static bool profiles(const run *r) { return r->spec->run.profile && r->problem->net; }

/* Room for the profile, and what the machine can do, all ranks at once.  Collective */
static dx_error *begin_profile(run *r)
{
  dx_error *err;

  if (!profiles(r)) return NULL;
  err = dx_net_watch(r->problem->net);
  if (!err) err = dx_roof_measure(r->team, &r->roof);
  return dx_comm_agree(r->team->comm, err);
}

/* Rank 0's own passes, as far as the run came; a run that was at its end keeps the profile that it has.  Local */
static dx_error *tell_profile(run *r)
{
  dx_profile_report report = {.params = dx_problem_params(r->problem), .roof = r->roof, .threads = r->team->threads,
                              .steps = state(r)->step - r->begin_step, .compute = r->all_compute, .exchange = r->all_exchange};
  char path[4096];

  if (!profiles(r) || r->complete) return NULL;
  report.sum = dx_net_profile(r->problem->net);
  snprintf(path, sizeof path, "%s/profile.csv", r->spec->output);
  return dx_profile_tell(&report, r->team->log, path);
}

static dx_error *loop(run *r)
{
  bool stop = false;
  char words[32];
  dx_error *err;

  DX_TRY(begin_profile(r));
  r->begin = r->line = r->save = r->row = dx_clock();
  r->begin_step = r->row_step = state(r)->step;
  while (!stop) {
    err = look(r);
    if (err && dx_error_code(err) != DX_E_STOPPED) return err;
    stop = err != NULL;
    dx_error_free(err);
    if (stop || state(r)->step >= r->spec->train.steps) break;
    DX_TRY(step(r, &stop));
  }
  if (r->saved != state(r)->step) DX_TRY(save(r));
  DX_TRY(dx_comm_agree(r->team->comm, lead(r) ? tell_profile(r) : NULL));
  if (stop)
    return DX_FAIL(STOPPED, "stopped at step %lld of %lld %s; the same command goes on", (long long)state(r)->step,
                   (long long)r->spec->train.steps, reason_of_stop(r));
  const double seconds = dx_clock() - r->begin;
  const int64_t steps = state(r)->step - r->begin_step;
  if (r->complete)
    dx_log_say(r->team->log, DX_LOG_INFO, "already at step %lld of %lld: keys given here change nothing; diffx evaluate %s and diffx sample %s take keys",
               (long long)state(r)->step, (long long)r->spec->train.steps, r->spec->output, r->spec->output);
  dx_log_say(r->team->log, DX_LOG_INFO, "done: %lld steps in %s; results in %s", (long long)steps,
             dx_clock_words(seconds, words), r->spec->output);
  return NULL;
}

/* The error into the log file too; the screen gets it from main. */
static void note_error(const run *r, const dx_error *err)
{
  dx_logger file = {.level = DX_LOG_WARN, .file = r->log_file};

  if (err && r->log_file)
    dx_log_say(&file, dx_error_code(err) == DX_E_STOPPED ? DX_LOG_WARN : DX_LOG_ERROR, "%s", dx_error_text(err));
}

static void end(run *r)
{
  dx_record_close(r->record);
  dx_trainer_destroy(r->trainer);
  dx_problem_destroy(r->problem);
  free(r->weights);
  dx_lock_release(r->lock);
  dx_log_into(r->team->log, NULL);
  if (r->log_file) fclose(r->log_file);
}

/* The record as far as it came, even when the run failed: what is measured is kept. */
static dx_error *save_what_is(run *r, dx_error *err)
{
  dx_error *second;

  if (!err || !r->record || r->lost) return err;
  second = dx_record_save(r->record);
  if (second && dx_error_code(err) != DX_E_IO) dx_log_say(r->team->log, DX_LOG_WARN, "%s", dx_error_text(second));
  dx_error_free(second);
  return err;
}

/* What stands after a failure at work. */
static dx_error *name_checkpoint(const run *r, dx_error *err)
{
  const dx_code code = err ? dx_error_code(err) : DX_E_STOPPED;
  char text[4096];

  if (code != DX_E_NUMERIC && code != DX_E_IO) return err;
  if (r->saved < 0 && code == DX_E_IO) return err;
  if (r->saved < 0) snprintf(text, sizeof text, "%s; there is no checkpoint yet", dx_error_text(err));
  else snprintf(text, sizeof text, "%s; the last good checkpoint stays: %s/step-%08lld.h5%s", dx_error_text(err),
                r->checkpoints, (long long)r->saved,
                code == DX_E_IO ? ", and the same command goes on from there once this is mended" : "");
  dx_error_free(err);
  return dx_error_copy(code, text);
}

dx_error *dx_run_train(const dx_team *team, const dx_spec *spec)
{
  run r = {.team = team, .spec = spec, .saved = -1, .loss = NAN, .start = dx_clock()};
  dx_error *err;

  snprintf(r.checkpoints, sizeof r.checkpoints, "%s/checkpoints", spec->output);
  snprintf(r.samples, sizeof r.samples, "%s/samples", spec->output);
  snprintf(r.partial, sizeof r.partial, "%s/evaluation.begun", spec->output);
  dx_stop_listen();
  err = begin(&r);
  if (!err) err = loop(&r);
  err = save_what_is(&r, err);
  err = name_checkpoint(&r, err);
  dx_watch_stop();
  note_error(&r, err);
  end(&r);
  return err;
}
