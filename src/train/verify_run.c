/* SPDX-License-Identifier: Apache-2.0 */
/* train/verify_run.c - checks of verify.h that run the program's own machinery over all
   ranks and threads: the sum along the tree, and an evaluation whose answer is known. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/reduce.h"
#include "train/evaluate.h"
#include "train/verify.h"

/* Long enough that ranks of a node share vectors. 13: the tree is then another order than one from left to right over the
   shares of 2 to 16 ranks. */
enum { LEAVES = 13, FLOATS = DX_BLOCKS_WORTH_THREADS * DX_BLOCK + 333, LEVELS = 4 };

/* Numbers of very different size, so that every other order of the sum shows. */
static float element(int64_t leaf, int64_t i)
{
  return (float)((leaf * 7919 + i * 104729) % 10007) * (leaf % 3 ? 1e-4f : 3.0f);
}

static float by_definition(int64_t first, int level, int64_t i)
{
  if (level == 0) return element(first, i);

  const int64_t half = (int64_t)1 << (level - 1);
  const float left = by_definition(first, level - 1, i);
  return first + half < LEAVES ? left + by_definition(first + half, level - 1, i) : left;
}

dx_error *dx_check_reduction(const dx_team *team, dx_verdict *v)
{
  const int ranks = dx_comm_size(team->comm);
  int64_t *const first = calloc((size_t)ranks + 1, sizeof *first), at, n;
  const dx_reduce_plan plan = {.leaves = LEAVES, .floats = FLOATS, .folders = team->threads, .threads = team->threads,
                               .first_rank_leaf = first};
  dx_reduce *r = NULL;
  const float *slice;
  dx_error *err = dx_comm_agree(team->comm, first ? NULL : DX_FAIL(INTERNAL, "no memory for a check"));

  if (err) goto out;
  for (int i = 0; i < ranks; i++) dx_team_share(team, LEAVES, i, &first[i], &first[i + 1]);
  DX_TRY_GOTO(err, out, dx_reduce_create(team->comm, &plan, team->kernel.add, &r));
  dx_reduce_start(r);
  for (int t = 0; t < team->threads; t++) {
    int64_t from, to;

    dx_reduce_range(r, t, &from, &to);
    for (int64_t leaf = from; leaf < to; leaf++) {
      float *const g = dx_reduce_leaf(r, t);

      for (int64_t i = 0; i < FLOATS; i++) g[i] = element(leaf, i);
      dx_reduce_done(r, t, leaf);
    }
  }
  dx_reduce_finish(r, &slice, &at, &n);
  for (int64_t i = 0; i < n; i++)
    dx_verdict_add(v, (double)slice[i], (double)by_definition(0, LEVELS, at + i), 0, "element %lld", (long long)(at + i));
  if (n == 0) dx_verdict_add(v, 0, 0, 0, "no slice on this rank");
out:
  dx_reduce_destroy(r);
  free(first);
  return err;
}

/* An experiment of Gaussian data and the exact predictor, by presets. */
static void gaussian_spec(dx_spec *s, void *data_kind, const dx_schedule *schedule, void *schedule_config)
{
  dx_option_presets(dx_data_options, &s->data);
  dx_option_presets(dx_source_find("gaussian")->options, data_kind);
  dx_option_presets(dx_process_options, &s->process);
  dx_option_presets(schedule->options, schedule_config);
  dx_option_presets(dx_objective_options, &s->objective);
  dx_option_presets(dx_train_options, &s->train);
  dx_option_presets(dx_evaluate_options, &s->evaluate);
  dx_option_presets(dx_run_options, &s->run);
  snprintf(s->data.kind, sizeof s->data.kind, "gaussian");
  snprintf(s->process.schedule, sizeof s->process.schedule, "linear");
  snprintf(s->objective.variance, sizeof s->objective.variance, "fixed-large");
  s->name = "verify";
  s->seed = 1;
  s->schedule = schedule;
  s->loss = dx_loss_find("simple");
  s->schedule_config = schedule_config;
  s->data_kind = data_kind;
  s->train.steps = 0;
}

/* Each term against its closed form, within 4 of its own standard errors; and the total. */
static void compare_terms(const dx_problem *p, const dx_evaluation *e, dx_verdict *v)
{
  const dx_decoder d = dx_problem_decoder(p, e->head.decoder_variance);
  const double s2 = p->info->mixture.sigma[0] * p->info->mixture.sigma[0] / (p->info->scale * p->info->scale);
  double total = dx_process_prior(&p->process, p->dim, (double)p->dim * s2);

  for (int64_t t = 1; t <= p->process.timesteps; t++) {
    const double expected = dx_process_vb_expected(&p->process, &d, t, p->dim, dx_exact_gaussian_mse(&p->process, t, s2));

    dx_verdict_add(v, e->vb[t - 1], expected, 4 * e->vb_stderr[t - 1], "L_%lld [nats]", (long long)t - 1);
    total += expected;
  }
  dx_verdict_add(v, e->head.total, total, 4 * e->head.total_stderr, "total [nats]");
}

dx_error *dx_check_evaluation(const dx_team *team, dx_verdict *v)
{
  const dx_source *const source = dx_source_find("gaussian");
  const dx_schedule *const schedule = dx_schedule_find("linear");
  void *const data = calloc(1, source->config_size), *const config = calloc(1, schedule->config_size + 1);
  dx_problem *p = NULL;
  dx_evaluation e = {0};
  dx_spec spec = {0};
  dx_error *err = dx_comm_agree(team->comm, data && config ? NULL : DX_FAIL(INTERNAL, "no memory for a check"));

  if (err) goto out;
  gaussian_spec(&spec, data, schedule, config);
  DX_TRY_GOTO(err, out, dx_problem_create(team, &spec, &p));
  DX_TRY_GOTO(err, out, dx_evaluate(p, &(dx_evaluation_task){0}, &e));
  if (dx_comm_rank(team->comm) == 0) compare_terms(p, &e, v);
  else dx_verdict_add(v, e.head.total, e.head.total, 0, "rank 0 compares");
out:
  dx_evaluation_free(&e);
  dx_problem_destroy(p);
  free(data);
  free(config);
  return err;
}
