/* SPDX-License-Identifier: Apache-2.0 */
/* tests/together.c - what one of three ranks cannot do ends on all three, in that rank's words: every
   Collective function of train/ that can fail is made to fail on one rank, and then works again. */
#define _GNU_SOURCE /* memmem, memfd_create */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/random.h"
#include "experiment.h"
#include "io/file.h"
#include "io/h5.h"
#include "errors.h"
#include "node_memory.h"
#include "tap.h"
#include "train/checkpoint.h"
#include "train/estimate.h"
#include "train/evaluate.h"
#include "train/sample.h"

/* A share of a split is above what is held with data.memory=1: rows are read as they are wanted. */
enum { ROWS = 9000, D = 2, BATCH = 24, GRAIN = 4, RANK = 1 /* the one that fails */ };

static dx_comm *comm;
static dx_logger logger = {.level = DX_LOG_ERROR};
static dx_team team;
static char folder[64] = "/tmp/diffx-together-XXXXXX";

/* Memory that is not there is an answer, also under the address sanitizer. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static int lead(void) { return dx_comm_rank(comm) == 0; }
static int failing(void) { return dx_comm_rank(comm) == RANK; }

/* What holds on every rank is said by rank 0. */
#define all_ok(cond, ...)                                      \
  do {                                                         \
    int everywhere_ = (int)dx_comm_min_i64(comm, (cond) != 0); \
    if (lead()) ok(everywhere_, __VA_ARGS__);                  \
  } while (0)

/* For what must work. */
static void must(dx_error *e)
{
  if (!e) return;
  printf("Bail out! rank %d: %s\n", dx_comm_rank(comm), dx_error_text(e));
  exit(99);
}

/* All ranks got this code and the same text, with these words. Frees e. */
static int all_got(dx_error *e, dx_code code, const char *words)
{
  char *first = lead() ? strdup(e ? dx_error_text(e) : "no error") : NULL;
  int good = e && dx_error_code(e) == code && strstr(dx_error_text(e), words);

  must(dx_comm_broadcast_text(comm, &first));
  good = good && !strcmp(first, dx_error_text(e));
  if (!good) printf("# rank %d got: %s\n", dx_comm_rank(comm), e ? dx_error_text(e) : "no error");
  free(first);
  dx_error_free(e);
  return good;
}

static const char *in(const char *name) { return path_in(folder, name); }

/* Pieces of memory that we have in common with the other ranks of the node. */
static int node_memories(void)
{
  char line[512];
  int n = 0;
  FILE *const f = fopen("/proc/self/maps", "r");

  while (f && fgets(line, sizeof line, f)) n += strstr(line, "memfd:diffx") != NULL;
  if (f) fclose(f);
  return n;
}

/* --- data and experiments ----------------------------------------------------------------- */

static float number(int split, int64_t row, int j) { return (float)sin(1.1 * (double)row + j + 5 * split); }

/* A data file with one number of the train split replaced.  Rank 0 writes. */
static void write_data(const char *path, int64_t row, float x)
{
  const dx_h5_info info = {.type = DX_H5_F32, .rank = 2, .dim = {ROWS, D}};
  const dx_h5_storage storage = {.rows_per_chunk = 500};
  float *const rows = malloc(ROWS * D * sizeof *rows);
  dx_h5 *f;

  if (lead()) {
    must(dx_h5_create(&f));
    for (int split = 0; split < DX_SPLITS; split++) {
      for (int64_t i = 0; i < ROWS * D; i++) rows[i] = number(split, i / D, (int)(i % D));
      if (split == DX_TRAIN && row >= 0) rows[row * D] = x;
      must(dx_h5_write(f, split == DX_TRAIN ? "/train/x" : "/test/x", &info, rows, "1", "points", &storage));
    }
    must(dx_h5_save(f, path));
    dx_h5_close(f);
  }
  free(rows);
  dx_comm_barrier(comm);
}

/* The disk goes bad: a row of the file, found by its bytes, is not what it was.  Rank 0 writes. */
static void spoil(const char *path, dx_split split, int64_t row)
{
  const float x[D] = {number(split, row, 0), number(split, row, 1)};
  char *bytes = NULL, *at;
  size_t size;
  FILE *f;

  if (lead()) {
    must(dx_file_read(path, 1 << 24, &bytes, &size));
    at = memmem(bytes, size, x, sizeof x);
    f = fopen(path, "r+b"); /* in place: the ranks have this very file open */
    if (!at || !f || fseek(f, (long)(at - bytes), SEEK_SET) || fputc(~at[0], f) == EOF || fclose(f))
      must(DX_FAIL(IO, "%s cannot be spoilt", path));
    free(bytes);
  }
  dx_comm_barrier(comm);
}

static dx_experiment *experiment(const char *data, const char *extra)
{
  static const char text[] =
    "seed: 3\n"
    "process: {schedule: cosine, timesteps: 8}\n"
    "model: {kind: mlp, hidden: [16, 16]}\n"
    "train: {steps: 100, batch: 24, grain: 4, rate: 1.0e-3, clip: 1.0, ema: 0.9}\n"
    "evaluate: {examples: 60, grain: 4}\n"
    "sample: {count: 4000, grain: 200}\n";
  char file[512], *assignments[] = {file, (char *)extra};
  dx_experiment *e;

  snprintf(file, sizeof file, "data.file=%s", data);
  must(dx_experiment_create("together", text, strlen(text), assignments, extra ? 2 : 1, DX_DATA_READ, &e));
  return e;
}

/* An experiment with its problem and its trainer. */
typedef struct {
  dx_experiment *experiment;
  dx_problem *problem;
  dx_trainer *trainer;
  dx_state *state;
} job;

static void begin(job *j, const char *data, const char *extra)
{
  j->experiment = experiment(data, extra);
  must(dx_problem_create(&team, dx_experiment_spec(j->experiment), &j->problem));
  must(dx_trainer_create(j->problem, &j->trainer));
  j->state = dx_trainer_state(j->trainer);
}

static void end(job *j)
{
  dx_trainer_destroy(j->trainer);
  dx_problem_destroy(j->problem);
  dx_experiment_destroy(j->experiment);
}

static void steps(job *j, int n)
{
  dx_step_info info;

  for (int i = 0; i < n; i++) must(dx_trainer_step(j->trainer, false, &info));
}

static dx_error *step(job *j)
{
  dx_step_info info;

  return dx_trainer_step(j->trainer, false, &info);
}

/* Weights as they start, times a factor. */
static void set_weights(job *j, float factor)
{
  const int64_t n = j->state->floats;
  float *const w = calloc((size_t)n, sizeof *w);

  dx_params_start(dx_net_params(j->problem->net), j->problem->spec->seed, w);
  for (int64_t i = 0; i < n; i++) w[i] *= factor;
  dx_trainer_set_weights(j->trainer, w);
  free(w);
  must(dx_trainer_reload(j->trainer));
}

/* One number that depends on every bit of what training has come to. */
static double sum_of(const job *j)
{
  const dx_state *const s = j->state;
  double sum = (double)s->step;

  for (int64_t i = 0; i < s->floats; i++) sum += (double)s->w[i] * (double)(i + 1);
  for (int64_t i = 0; i < s->n; i++)
    sum += ((double)s->moment1[i] + 2 * (double)s->moment2[i] + 3 * (double)s->ema[0][i]) * (double)(i + 1);
  return sum;
}

/* --- one function after the other ----------------------------------------------------------- */

static void forming(void)
{
  dx_run_config run;
  dx_team other;

  dx_option_presets(dx_run_options, &run);
  run.threads = 1;
  snprintf(run.kernels, sizeof run.kernels, failing() ? "abacus" : "portable");
  all_ok(all_got(dx_team_form(comm, &logger, &run, &other), DX_E_CONFIG, "rank 1: run.kernels"),
         "dx_team_form: one rank has not these kernels");
  snprintf(run.kernels, sizeof run.kernels, "auto");
  must(dx_team_form(comm, &logger, &run, &team));
}

static void problems(const char *good)
{
  const char *const bad = in("nan.h5");
  dx_experiment *e = experiment(good, NULL), *nan_file, *none = experiment(in("no.h5"), NULL);
  dx_spec spec = *dx_experiment_spec(e);
  dx_problem *p;

  write_data(bad, ROWS / 2, NAN);
  nan_file = experiment(bad, NULL);
  all_ok(all_got(dx_problem_create(&team, dx_experiment_spec(nan_file), &p), DX_E_DATA, "rank 1: nan.h5: /train/x has NaN in row 4500"),
         "dx_problem_create: NaN in one rank's rows");
  all_ok(all_got(dx_problem_create(&team, dx_experiment_spec(none), &p), DX_E_IO, "no.h5"), "and no file at all");
  if (failing()) spec.process.timesteps = 1;
  all_ok(all_got(dx_problem_create(&team, &spec, &p), DX_E_CONFIG, "rank 1: process.timesteps is 1"),
         "and a process that one rank cannot have");
  spec.process.timesteps = 8;
  must(dx_problem_create(&team, &spec, &p));
  if (failing()) p->dim = (int64_t)1 << 46;
  dx_trainer *t;
  all_ok(all_got(dx_trainer_create(p, &t), DX_E_INTERNAL, "rank 1: no memory for the "),
         "dx_trainer_create: no memory on one rank");
  p->dim = D;
  must(dx_trainer_create(p, &t));
  dx_trainer_destroy(t);
  dx_problem_destroy(p);
  dx_experiment_destroy(e);
  dx_experiment_destroy(nan_file);
  dx_experiment_destroy(none);
}

/* One row of the data is finite and of no use: it overflows in the network, on one rank, in step 3. */
static void one_nan(void)
{
  const int64_t done = 2, place = BATCH / 3 + 2;
  const dx_stream time = {.seed = 3, .purpose = DX_FOR_TIME, .step = (uint64_t)done, .index = (uint64_t)place};
  uint32_t word[4];
  dx_permutation order;
  char words[160];
  job j;

  dx_permutation_init(&order, ROWS, 3, 0);
  const int64_t row = (int64_t)dx_permutation_at(&order, (uint64_t)(done * BATCH + place));
  write_data(in("huge.h5"), row, 1e38f);
  begin(&j, in("huge.h5"), NULL);
  set_weights(&j, 1000);
  steps(&j, (int)done);
  const double before = sum_of(&j);
  dx_stream_words(&time, 0, word);
  snprintf(words, sizeof words, "rank 1: step 3: the loss of example %d of the batch, on rank 1 at timestep t = %d, is ", (int)place,
           1 + (int)dx_below(word[0], 8));
  all_ok(all_got(step(&j), DX_E_NUMERIC, words), "dx_trainer_step: %snot finite", words);
  all_ok(sum_of(&j) == before && j.state->step == done, "and weights, moments and average are those of before");
  end(&j);
}

/* Every loss is finite in double, the gradient is not in float32. */
static void infinite_gradient(const char *good)
{
  job j, other;

  begin(&j, good, NULL);
  steps(&j, 3);
  set_weights(&j, 1e10f);
  const double before = sum_of(&j);
  all_ok(all_got(step(&j), DX_E_NUMERIC, "step 4: the gradient's norm is "), "and a gradient that is not finite");
  all_ok(sum_of(&j) == before && j.state->step == 3, "and all is as before");
  end(&j);

  /* back to the first step, with the rows of the fourth on their way: it is that of a new trainer */
  begin(&j, good, NULL);
  set_weights(&j, 1e10f);
  all_ok(all_got(step(&j), DX_E_NUMERIC, "step 1: the gradient's norm is "), "in the first step too");
  set_weights(&j, 1);
  steps(&j, 1);
  begin(&other, good, NULL);
  steps(&other, 1);
  all_ok(sum_of(&j) == sum_of(&other), "and with good weights the step is made as if nothing had been");
  end(&j);
  end(&other);
}

static void checkpoints(const char *good)
{
  const char *const file = in("in-the-way"), *const saved = in("step-00000002.h5");
  job j, other;
  double at_2;

  begin(&j, good, NULL);
  steps(&j, 2);
  if (lead()) must(dx_file_write_atomic(file, "a file", 6));
  all_ok(all_got(dx_checkpoint_save(j.trainer, j.problem, file, 3), DX_E_IO, "rank 0: cannot write "),
         "dx_checkpoint_save: rank 0 cannot write");
  all_ok(all_got(dx_checkpoint_save(j.trainer, j.problem, in("nowhere"), 3), DX_E_IO, "nowhere/step-00000002.h5"),
         "and has no folder");
  all_ok(!dx_file_exists(saved), "and nothing is left of it");
  must(dx_checkpoint_save(j.trainer, j.problem, folder, 3));
  all_ok(dx_file_exists(saved), "then it is written");
  at_2 = sum_of(&j);
  steps(&j, 1);
  const double at_3 = sum_of(&j);

  all_ok(all_got(dx_checkpoint_load(in("no.h5"), j.trainer, j.problem), DX_E_IO, "rank 0: "), "dx_checkpoint_load: no file");
  const int64_t floats = j.state->floats;
  if (failing()) j.state->floats = (int64_t)1 << 50;
  all_ok(all_got(dx_checkpoint_load(saved, j.trainer, j.problem), DX_E_INTERNAL, "rank 1: no memory"), "no memory on one rank");
  j.state->floats = floats;
  begin(&other, in("huge.h5"), NULL);
  all_ok(all_got(dx_checkpoint_load(saved, other.trainer, other.problem), DX_E_DATA, "was made with other data"), "other data");
  end(&other);
  all_ok(sum_of(&j) == at_3, "and the state is what it was");

  must(dx_checkpoint_load(saved, j.trainer, j.problem));
  all_ok(sum_of(&j) == at_2, "then it is read, into a trainer that has gone on");
  steps(&j, 1);
  all_ok(sum_of(&j) == at_3, "which makes the same step again");

  const dx_param_entry *const e = &dx_net_params(j.problem->net)->entry[2];
  const float *const w = j.state->w + e->where.at;
  must(dx_checkpoint_load(saved, j.trainer, j.problem));
  if (lead()) {
    char *bytes = NULL;
    size_t size;

    must(dx_file_read(saved, 1 << 24, &bytes, &size));
    char *const at = memmem(bytes, size, w, 64);
    if (!at) must(DX_FAIL(IO, "no weights in %s", saved));
    at[5] = (char)(at[5] ^ 1);
    must(dx_file_write_atomic(saved, bytes, size));
    free(bytes);
  }
  dx_comm_barrier(comm);
  all_ok(all_got(dx_checkpoint_load(saved, j.trainer, j.problem), DX_E_DATA, "step-00000002.h5"), "one bit of a weight is another");
  end(&j);
}

/* Numbers of a file that would lead out of bounds. */
static void odd_checkpoints(const char *good)
{
  const dx_model_spec odd[] = {{.sample = {1, 1, -1, 2}, .out_channels = 2}, {.sample = {1, (int64_t)1 << 33, 1, 2}, .out_channels = 2},
                               {.sample = {1, 1, 1, 2}, .out_channels = (int64_t)1 << 40}, {.sample = {1, 1, 1, 2}, .out_channels = 2, .classes = -1}};
  const char *const saved = in("step-00000001.h5"), *const sizes = in("sizes.h5");
  job j;

  begin(&j, good, "train.t_sampling=importance");
  steps(&j, 1);
  must(dx_checkpoint_save(j.trainer, j.problem, folder, 3));
  must(dx_checkpoint_load(saved, j.trainer, j.problem));
  j.state->history.count[3] = DX_HISTORY + 1;
  must(dx_checkpoint_save(j.trainer, j.problem, folder, 3));
  all_ok(all_got(dx_checkpoint_load(saved, j.trainer, j.problem), DX_E_DATA, "/t_sampling/count has 11 for t = 4; allowed: 0 to 10"),
         "dx_checkpoint_load: more losses than are kept");
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    dx_error *e = NULL;

    if (lead()) must(dx_checkpoint_write_weights(sizes, "seed: 1", &odd[i], dx_net_params(j.problem->net), j.state->w));
    if (lead()) e = dx_checkpoint_open(sizes, NULL);
    all_ok(!lead() || (e && dx_error_code(e) == DX_E_DATA && strstr(dx_error_text(e), "the model is made for samples of ")), "%s",
           lead() && e ? dx_error_text(e) : "no error");
    dx_error_free(e);
  }
  end(&j);
}

static bool at_once(void *ctx)
{
  (void)ctx;
  return true;
}

static const dx_patience patient = {0}, hasty = {.stopping = at_once};

static void evaluations(const char *good)
{
  dx_evaluation e;
  job j;

  begin(&j, good, NULL);
  const dx_evaluation_task task = {.w = j.state->w};
  if (failing()) j.problem->dim = (int64_t)1 << 46;
  all_ok(all_got(dx_evaluate(j.problem, &task, &e), DX_E_INTERNAL, "rank 1: no memory for an evaluation"),
         "dx_evaluate: no memory on one rank");
  j.problem->dim = D;
  all_ok(all_got(dx_evaluate(j.problem, &(dx_evaluation_task){.w = j.state->w, .wait = lead() ? hasty : patient}, &e), DX_E_STOPPED, "stopped during an evaluation"),
         "and rank 0 wants to stop");
  must(dx_evaluate(j.problem, &task, &e));
  all_ok(e.head.examples == 60 && isfinite(e.head.total), "then it is done");
  dx_evaluation_free(&e);
  end(&j);
}

static void estimates(const char *good)
{
  job j;

  begin(&j, good, "objective.variance=optimal");
  const double before = j.problem->process.var[4];
  if (failing()) j.problem->dim = (int64_t)1 << 46;
  all_ok(all_got(dx_estimate_variance(j.problem, j.state->w, DX_USER_SAMPLER, &patient), DX_E_INTERNAL, "rank 1: no memory for an evaluation"),
         "dx_estimate_variance: no memory on one rank");
  j.problem->dim = D;
  all_ok(all_got(dx_estimate_variance(j.problem, j.state->w, DX_USER_SAMPLER, lead() ? &patient : &hasty), DX_E_STOPPED, "stopped during an evaluation") &&
           j.problem->process.var[4] == before, "and stopped by ranks that are not the first");
  must(dx_estimate_variance(j.problem, j.state->w, DX_USER_SAMPLER, &patient));
  all_ok(j.problem->process.var[4] > j.problem->process.post_var[4] && j.problem->process.var[4] != before, "then they are there");
  end(&j);
}

static void limit_files(rlim_t bytes)
{
  struct rlimit r;

  if (getrlimit(RLIMIT_FSIZE, &r)) must(DX_FAIL(INTERNAL, "no limit of files"));
  r.rlim_cur = bytes < r.rlim_max ? bytes : r.rlim_max;
  if (setrlimit(RLIMIT_FSIZE, &r)) must(DX_FAIL(INTERNAL, "no limit of files"));
}

/* Ranks of a node have weights, packed weights and gradients of a large network in common where the system can do it, and
   give them back together. */
static void common_memory(const char *good)
{
  enum { STEPS = 60 }; /* so many that a rank which does not wait for the others' parts is found */
  const int can = dx_comm_min_i64(comm, system_shares_memory()) != 0;
  dx_predictor predictor;
  job j;

  begin(&j, good, "model.hidden=[16,16]");
  all_ok(node_memories() == 0, "a small network's arrays are each rank's own");
  end(&j);
  begin(&j, good, "model.hidden=[520,520]");
  steps(&j, STEPS);
  const double sum = sum_of(&j);
  all_ok(node_memories() == 3 * can, "those of a large one are the node's: weights, packed weights, gradients");
  dx_trainer_rest(j.trainer);
  all_ok(node_memories() == 2 * can, "a trainer at rest has given packed weights back");
  all_ok(all_got(dx_problem_predictor(j.problem, j.state->w, failing() ? (int64_t)1 << 40 : GRAIN, DX_MANY_ITEMS, &predictor), DX_E_INTERNAL,
                 "a grain of"), "nobody waits for a rank that has no memory");
  all_ok(node_memories() == 2 * can, "and nobody keeps any");
  must(dx_trainer_reload(j.trainer));
  steps(&j, 1);
  all_ok(node_memories() == 3 * can, "they are taken again");
  end(&j);
  all_ok(node_memories() == 0, "nothing is left of it");
  limit_files(lead() ? 4096 : RLIM_INFINITY);
  begin(&j, good, "model.hidden=[520,520]");
  all_ok(node_memories() == 0, "where it cannot be, each rank has its own");
  limit_files(RLIM_INFINITY);
  steps(&j, STEPS);
  all_ok(sum_of(&j) == sum, "for the same bits");
  end(&j);
}

static void samples(const char *good)
{
  const char *const path = in("samples.h5");
  double seconds;
  job j;

  begin(&j, good, NULL);
  if (failing()) j.problem->dim = (int64_t)1 << 46;
  all_ok(all_got(dx_sample(j.problem, j.state->w, 0, 0, path, NULL, NULL, &seconds), DX_E_INTERNAL, "rank 1: no memory for 4000 samples"),
         "dx_sample: no memory on one rank");
  j.problem->dim = D;
  all_ok(all_got(dx_sample(j.problem, j.state->w, 0, 0, in("nowhere/samples.h5"), NULL, NULL, &seconds), DX_E_IO, "rank 0: cannot write "),
         "and rank 0 cannot write");
  all_ok(all_got(dx_sample(j.problem, j.state->w, 0, 0, path, lead() ? NULL : at_once, NULL, &seconds), DX_E_STOPPED,
                 "stopped while samples were drawn") && !dx_file_exists(path), "dx_sample: stopped by a rank that is not the first");
  must(dx_sample(j.problem, j.state->w, 0, 0, path, NULL, NULL, &seconds));
  all_ok(dx_file_exists(path), "then they are drawn");
  end(&j);
}

/* The disk goes bad under one rank's rows while the run goes on. */
static void bad_disk(void)
{
  const char *const train = in("bad-train.h5"), *const test = in("bad-test.h5");
  char words[128];
  dx_evaluation e;
  double seconds;
  job j;

  write_data(train, -1, 0);
  begin(&j, train, "data.memory=1");
  spoil(train, DX_TRAIN, ROWS / 3 + 1);
  snprintf(words, sizeof words, "rank 1: %s: cannot read /train/x", train);
  all_ok(all_got(step(&j), DX_E_DATA, words),
         "dx_trainer_step: one rank cannot read its rows any more");
  end(&j);
  write_data(test, -1, 0);
  begin(&j, test, "data.memory=1");
  steps(&j, 1);
  spoil(test, DX_TEST, ROWS / 3 + 1);
  snprintf(words, sizeof words, "rank 1: %s: cannot read /test/x", test);
  all_ok(all_got(dx_evaluate(j.problem, &(dx_evaluation_task){.w = j.state->w, .step = 1}, &e), DX_E_DATA, words), "dx_evaluate: the same");
  all_ok(all_got(dx_sample(j.problem, j.state->w, 1, 0, in("never.h5"), NULL, NULL, &seconds), DX_E_DATA, words), "dx_sample: the same");
  must(dx_trainer_reload(j.trainer));
  steps(&j, 1);
  all_ok(j.state->step == 2, "and a step, which needs other rows, is still made");
  end(&j);
}

static void remove_folder(void)
{
  char command[128];

  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (lead() && system(command)) printf("# %s is left\n", folder);
}

int main(int argc, char **argv)
{
  const char *const good = "good.h5";
  char path[128];
  int bad;

  must(dx_comm_start(&argc, &argv, &comm));
  if (lead() && !mkdtemp(folder)) must(DX_FAIL(IO, "no folder"));
  dx_comm_broadcast(comm, folder, sizeof folder);
  snprintf(path, sizeof path, "%s/%s", folder, good);
  forming();
  write_data(path, -1, 0);
  problems(path);
  one_nan();
  infinite_gradient(path);
  checkpoints(path);
  odd_checkpoints(path);
  evaluations(path);
  estimates(path);
  common_memory(path);
  samples(path);
  bad_disk();
  remove_folder();
  bad = lead() ? done() : 0;
  dx_team_part(&team);
  dx_comm_stop(comm);
  return bad;
}
