/* SPDX-License-Identifier: Apache-2.0 */
/* train/plan.c - what a run would take, without running it (--dry-run); see run.h. */
#include "train/run.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "comm/reduce.h"
#include "io/file.h"
#include "io/h5.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/optimizer.h"
#include "train/profile.h"
#include "train/strata.h"
#include "train/trainer.h"

static const double mib = 1048576;

static void print_schedule(const dx_problem *p, FILE *to)
{
  const dx_process *const q = &p->process;
  const int64_t T = q->timesteps, rows[] = {0, T / 2 - 1, T - 1};

  fprintf(to, "schedule          %s, T = %lld\n", p->spec->process.schedule, (long long)T);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    fprintf(to, "  t = %-11lld beta %.6g  abar %.6g  log-SNR %.4g\n", (long long)rows[i] + 1, q->beta[rows[i]],
            q->abar[rows[i]], dx_process_log_snr(q, rows[i] + 1));
}

/* Seconds of one forward pass of a grain on one thread, the best of two and of as many as a second holds; < 0 where memory is short. */
static double time_forward(dx_problem *p)
{
  const int64_t g = p->spec->evaluate.grain, floats = dx_problem_floats(p), width = dx_objective_width(&p->objective);
  float *const w = calloc((size_t)floats + 1, sizeof *w), *const x = calloc((size_t)((1 + width) * g * p->dim), sizeof *x);
  int32_t *const t = calloc((size_t)g, sizeof *t), *const label = calloc((size_t)g, sizeof *label);
  const double start = dx_clock();
  double best = -1;
  dx_predictor predict;
  dx_error *err = w && x && t && label ? NULL : DX_FAIL(INTERNAL, "no memory to time a forward pass");

  /* numbers of everyday size: zeros or denormal ones could take another time */
  for (int64_t i = 0; !err && i < floats; i++) w[i] = (float)(i % 7 - 3) * 0.05f;
  for (int64_t i = 0; !err && i < g * p->dim; i++) x[i] = (float)(i % 5 - 2) * 0.5f;
  for (int64_t i = 0; !err && i < g; i++) t[i] = 1;
  if (!err) err = dx_problem_predictor(p, w, g, DX_MANY_ITEMS, &predict);
  for (int k = 0; k < 20 && !err && (k < 2 || dx_clock() - start < 1); k++) {
    const double begin = dx_clock();

    predict.predict(predict.ctx, 0, g, t, NULL, label, x, x + g * p->dim);
    const double taken = dx_clock() - begin;
    if (k == 0 || taken < best) best = taken;
  }
  dx_error_free(err);
  free(w);
  free(x);
  free(t);
  free(label);
  return best;
}

/* How often something with this period is done in a whole run; every: 0 at the end, < 0 never. */
static int64_t times(int64_t every, int64_t steps)
{
  if (every < 0) return 0;
  return 1 + (every > 0 && steps > 0 ? (steps - 1) / every : 0);
}

/* How far a run has come: nothing of it where path is NULL. */
typedef struct {
  char *path; /* of its newest checkpoint; owned */
  int64_t step;
  bool evaluated, drawn; /* at that step, where this was due */
} progress;

/* The same of what is left to do. */
static int64_t times_left(int64_t every, const progress *at, bool there, int64_t steps)
{
  if (!at->path) return times(every, steps);
  const int64_t later = at->step < steps ? times(every, steps) - (every > 0 ? at->step / every : 0) : 0;

  return later + (dx_run_due(every, at->step, steps) && !there);
}

/* Workers that have a part in a step of training: threads without a grain help where a network can be shared, as many as
   run.crew allows, but ranks do not help each other. */
static int64_t busy_workers(const dx_problem *p, int64_t workers, int64_t grains)
{
  const bool shares = p->net && dx_net_shares(p->net);
  const int64_t most = grains * dx_team_members(p->team, dx_team_crews(p->team, 1, shares));

  return most < workers ? most : workers;
}

void dx_run_warn_idle(const dx_problem *p, int64_t workers)
{
  const dx_train_config *const c = &p->spec->train;
  const int64_t grains = c->batch / c->grain, busy = busy_workers(p, workers, grains);

  if (workers > busy && c->steps > 0)
    dx_log_say(p->team->log, DX_LOG_WARN, "%lld workers but only %lld grain%s: %lld worker%s will be idle",
               (long long)workers, (long long)grains, grains == 1 ? "" : "s", (long long)(workers - busy),
               workers - busy == 1 ? "" : "s");
}

void dx_run_warn_folder(const dx_team *team, const char *output)
{
  DIR *const folder = dx_folder_has(output, "checkpoints") ? NULL : opendir(output);
  const struct dirent *entry = NULL;

  while (folder && (entry = readdir(folder)) && *entry->d_name == '.');
  if (entry)
    dx_log_say(team->log, DX_LOG_WARN, "output %s is no run's folder and holds other things, such as %s; what has the name of a run's own "
               "file is replaced", output, entry->d_name);
  if (folder) closedir(folder);
}

/* The hours of what a run still does, by the time of one forward pass; a step's backward pass counts as two of them. */
static dx_error *print_costs(dx_problem *p, int64_t workers, const progress *at, FILE *to)
{
  const dx_spec *const s = p->spec;
  const int64_t n = times_left(s->evaluate.every, at, at->evaluated, s->train.steps);
  const int64_t drawings = times_left(s->sample.every, at, at->drawn, s->train.steps);
  const int64_t forwards = n ? dx_evaluation_forwards(p) : 0, grains = s->train.batch / s->train.grain;
  const int64_t visited = s->sampler->plan(s->sampler_config, &p->process, NULL);
  const double one = time_forward(p) / (double)s->evaluate.grain / (double)workers;
  const double training = p->net ? 3 * one * (double)workers / (double)busy_workers(p, workers, grains) *
                                     (double)(s->train.steps - at->step) * (double)s->train.batch : 0;
  const double evaluating = one * (double)n * (double)forwards;
  const double sampling = one * (double)drawings * (double)s->sample.count * (double)visited;
  char words[4][32], left[64] = "in all";

  if (at->path) snprintf(left, sizeof left, "for what is left after step %lld", (long long)at->step);
  fprintf(to, "evaluations       %lld of %lld forwards each", (long long)n, (long long)forwards);
  if (one > 0) fprintf(to, ", about %s (%.3g h) in all", dx_clock_words(evaluating, words[0]), evaluating / 3600);
  if (n && s->evaluate.budget > 0)
    fprintf(to, "\n  timesteps       %lld of %lld of each example, by evaluate.budget", (long long)dx_strata_count(p),
            (long long)p->grid.steps);
  fprintf(to, "\nsamples           %lld drawings of %lld x %lld forwards each", (long long)drawings, (long long)s->sample.count,
          (long long)visited);
  if (one > 0)
    fprintf(to, ", about %s in all\ntime              about %s %s, %s of it training (passes of the network alone, cores free)",
            dx_clock_words(sampling, words[1]), dx_clock_words(training + evaluating + sampling, words[2]), left, dx_clock_words(training, words[3]));
  fprintf(to, "\n");
  return NULL;
}

/* Checkpoints (and one that is being written), rows of the record. */
static double disk_bytes(const dx_problem *p)
{
  const dx_spec *const s = p->spec;
  const double T = (double)p->process.timesteps, steps = (double)s->train.steps;
  const double vectors = (3 + dx_averages(&s->train)) * 4 * (double)dx_problem_floats(p);
  const int64_t written = times(s->train.checkpoint_every, s->train.steps), kept = written < s->run.keep ? written : s->run.keep;

  return (double)(kept + 1) * (vectors + 32 * T) + steps / (double)s->train.log_every * 160 +
         2 * steps / (double)s->train.by_t_every * T * 32 +
         3 * (double)times(s->evaluate.every, s->train.steps) * 8 * (double)dx_evaluation_numbers(p->grid.steps, p->info->classes) +
         (double)times(s->sample.every, s->train.steps) * (double)s->sample.count * (double)p->dim * 4 *
         (double)(2 + s->sample.trajectory);
}

static void print_disk(const dx_problem *p, const char *folder, FILE *to)
{
  const double bytes = disk_bytes(p);
  const int64_t room = dx_folder_free_bytes(folder);

  fprintf(to, "disk              %.1f MiB at most, unless it is stopped between", bytes / mib);
  if (room >= 0) fprintf(to, "; %.0f MiB are free", (double)room / mib);
  fprintf(to, "\n");
  if (room >= 0 && (double)room < bytes)
    dx_log_say(p->team->log, DX_LOG_WARN, "%s: the run needs about %.1f MiB, but %.1f MiB are free", folder,
               bytes / mib, (double)room / mib);
}

static void print_memory(const dx_problem *p, const dx_trainer_plan *plan, int ranks, FILE *to)
{
  const double one = (double)plan->bytes / mib, here = dx_memory_here() / mib;

  fprintf(to, "memory            %.1f MiB in the largest rank, %.1f MiB on a node with all ranks", one, (double)plan->node / mib);
  fprintf(to, ", beside 20 to 35 in each rank for program and libraries");
  if (here > 0) fprintf(to, "; this machine has %.0f MiB", here);
  fprintf(to, "\n");
  if (here > 0 && one > here)
    dx_log_say(p->team->log, DX_LOG_WARN, "a rank needs about %.1f MiB, but this machine has %.1f MiB: %s", one, here,
               2 * plan->examples > plan->bytes ? "a smaller train.batch, or more nodes, takes less"
                                                : "a smaller train.grain, fewer threads, run.crew or model.recompute take less");
  fprintf(to, "  always          %.1f weights%s, a copy of them, moments and averages; %.1f examples\n", (double)plan->state / mib,
          ranks > 1 && dx_reduce_shares(dx_problem_floats(p)) ? " (once on a node)" : "", (double)plan->examples / mib);
  fprintf(to, "  in a step       %.1f sums of gradients, those of other nodes among them; %.1f packed weights%s; %d x %.1f activations, their gradients and scratch\n",
          (double)plan->gradients / mib, (double)plan->packed / mib,
          ranks > 1 && p->net && dx_net_packs_together(p->net) ? ", once on a node" : "", plan->crews, (double)plan->workspace / mib);
  fprintf(to, "  in a checkpoint %.1f of a vector on its way into the file, while what a step takes is given back\n",
          (double)plan->checkpoint / mib);
  if (p->spec->run.profile && p->net)
    fprintf(to, "  run.profile     %.1f beside what is always there, while the machine is measured, before the first step\n", (double)dx_roof_bytes(p->team->threads) / mib);
}

/* Is here a kernel set that auto does not take? */
static bool could_be_faster(const dx_problem *p)
{
  return !strcmp(p->spec->run.kernels, "auto") && dx_kernels_other();
}

static void print_size(const dx_problem *p, int ranks, FILE *to)
{
  const dx_spec *const s = p->spec;
  const dx_trainer_plan plan = dx_trainer_plan_of(p, ranks);
  const int64_t workers = (int64_t)ranks * p->team->threads;

  fprintf(to, "parameters        %lld\n", (long long)(p->net ? dx_net_params(p->net)->numbers : 0));
  fprintf(to, "data              %s: %lld train, %lld test examples of %lld numbers\n", p->info->name,
          (long long)p->info->count[DX_TRAIN], (long long)p->info->count[DX_TEST], (long long)p->dim);
  fprintf(to, "workers           %lld = %d ranks x %d threads, kernels %s%s\n", (long long)workers, ranks,
          p->team->threads, p->team->kernels, p->net && could_be_faster(p) ? " (run.kernels: amx multiplies faster where layers are wide, with other bits)" : "");
  fprintf(to, "grains            %lld of %lld examples; %lld to %lld per worker\n", (long long)plan.grains,
          (long long)s->train.grain, (long long)plan.least_grains, (long long)plan.most_grains);
  fprintf(to, "reduction         at most %d pieces from a rank\n", plan.pieces);
  print_memory(p, &plan, ranks, to);
  if (plan.crews < p->team->threads)
    fprintf(to, "crews             %d of up to %d threads, which share a grain\n", plan.crews,
            dx_team_members(p->team, plan.crews));
  dx_run_warn_idle(p, workers);
}

/* The folder itself or the nearest one above it that is there; it must take new files. */
static dx_error *standing_folder(const char *path, char *standing, size_t room)
{
  struct stat s;

  snprintf(standing, room, "%s", path);
  while (stat(standing, &s) && (errno == ENOENT || errno == ENOTDIR)) {
    char *const slash = strrchr(standing, '/');

    if (slash && slash > standing) *slash = '\0';
    else snprintf(standing, room, "%s", slash ? "/" : ".");
  }
  if (stat(standing, &s)) return DX_FAIL(IO, "output: %s: %s", standing, strerror(errno));
  if (!S_ISDIR(s.st_mode))
    return DX_FAIL(IO, "output: cannot make the folder %s: %s is a file", path, standing);
  if (access(standing, W_OK | X_OK)) return DX_FAIL(IO, "output: cannot write in %s: %s", standing, strerror(errno));
  return NULL;
}

/* Without a checkpoint: is the record that stands there, if any, this experiment's? */
static dx_error *check_record(const dx_spec *spec)
{
  char path[4096], *theirs = NULL;
  dx_error *err;
  dx_h5 *f;

  snprintf(path, sizeof path, "%s/metrics.h5", spec->output);
  if (!dx_file_exists(path)) return NULL;
  DX_TRY(dx_h5_open(path, &f));
  err = dx_h5_get_text(f, "/", "experiment", &theirs);
  if (!err) err = dx_error_in(spec->compatible(spec, theirs), "%s", spec->output);
  free(theirs);
  dx_h5_close(f);
  return err;
}

/* What was due at the step of the checkpoint: is it there? */
static void look_for_results(const char *output, progress *at)
{
  char path[4096];
  dx_h5 *f;
  dx_error *err;

  dx_run_samples_path(output, at->step, path, sizeof path);
  at->drawn = dx_file_exists(path);
  snprintf(path, sizeof path, "%s/metrics.h5", output);
  err = dx_h5_open(path, &f);
  if (!err) {
    at->evaluated = dx_h5_last(f, "/kl/step") == (double)at->step;
    dx_h5_close(f);
  }
  dx_error_free(err);
}

/* What stands in the run's folder, and whether this experiment may go on there. */
static dx_error *look_into_folder(const dx_problem *p, progress *at)
{
  const char *const output = p->spec->output;
  char checkpoints[4096], who[2048];

  snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", output);
  if (dx_lock_look(output, who, sizeof who) == DX_LOCK_HELD)
    dx_log_say(p->team->log, DX_LOG_WARN, "%s is in use: %s", output, who);
  DX_TRY(dx_checkpoint_find(checkpoints, p->team->log, &at->path));
  if (!at->path) dx_run_warn_folder(p->team, output);
  if (!at->path) return check_record(p->spec);
  DX_TRY(dx_run_may_go_on(p->team, p->spec, at->path, &at->step));
  look_for_results(output, at);
  return NULL;
}

/* train.init_from: is it there, and does it fit? */
static dx_error *check_init_from(const dx_problem *p)
{
  const char *const from = p->spec->train.init_from;
  char *file = NULL;
  float *raw = NULL;
  int64_t n;
  dx_error *err;

  if (!strcmp(from, "none")) return NULL;
  err = dx_checkpoint_resolve(from, p->team->log, &file);
  if (!err) err = dx_checkpoint_open(file, NULL);
  if (!err) err = dx_checkpoint_read(file, "raw", &raw, &n);
  if (!err) err = dx_checkpoint_fits(file, n, dx_problem_params(p));
  free(file);
  free(raw);
  return dx_error_in(err, "train.init_from");
}

static dx_error *print_plan(dx_problem *p, int ranks, FILE *to)
{
  char standing[4096];
  progress at = {0};
  dx_error *err;

  DX_TRY(dx_run_check(p));
  DX_TRY(check_init_from(p));
  DX_TRY(standing_folder(p->spec->output, standing, sizeof standing));
  DX_TRY_GOTO(err, out, look_into_folder(p, &at));
  fprintf(to, "%s\n", p->spec->everything);
  print_size(p, ranks, to);
  print_disk(p, standing, to);
  print_schedule(p, to);
  DX_TRY_GOTO(err, out, print_costs(p, (int64_t)ranks * p->team->threads, &at, to));
  fprintf(to, "output            %s: %s%s\n", p->spec->output, at.path ? "goes on from " : "from the start",
          at.path ? at.path : "");
out:
  free(at.path);
  return err;
}

dx_error *dx_run_plan(const dx_team *team, const dx_spec *spec, int ranks, FILE *to)
{
  dx_problem *p = NULL;
  dx_error *err;

  DX_TRY(dx_problem_create(team, spec, &p));
  err = print_plan(p, ranks, to);
  dx_problem_destroy(p);
  return err;
}
