/* SPDX-License-Identifier: Apache-2.0 */
/* train/problem.c - see problem.h. */
#include "train/problem.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/math.h"

int64_t dx_problem_timesteps(const dx_spec *s)
{
  return dx_predict_find(s->objective.predict)->preconditioned ? 1 : s->process.timesteps;
}

dx_model_spec dx_problem_model(const dx_problem *p)
{
  return (dx_model_spec){.sample = p->info->sample, .out_channels = p->info->sample.c * dx_objective_width(&p->objective),
                         .timesteps = dx_problem_timesteps(p->spec), .classes = p->info->classes};
}

static dx_error *create_predictor(dx_problem *p)
{
  const dx_spec *const s = p->spec;
  const dx_model_spec m = dx_problem_model(p);

  if (s->model) return dx_net_create(p->team, s->model, s->model_config, &m, &p->net);
  if (p->info->mixture.count == 0)
    return DX_FAIL(CONFIG, "model.kind is exact, but the density of data.kind %s is not known in closed "
                   "form; allowed: gaussian, mixture8", s->data.kind);
  if (s->train.steps > 0)
    return DX_FAIL(CONFIG, "train.steps is %lld, but model.kind exact has nothing to train; allowed: 0",
                   (long long)s->train.steps);
  return dx_exact_create(&p->info->mixture, p->info->shift, p->info->scale, &p->process, &p->exact);
}

static dx_error *check_flip(const dx_problem *p)
{
  if (!p->spec->data.flip || !strcmp(p->info->modality, "image")) return NULL;
  return DX_FAIL(CONFIG, "data.flip is true, but %s holds %s; only images can be mirrored", p->info->name,
                 p->info->modality);
}

static dx_error *create_local(dx_problem *p)
{
  const dx_spec *const s = p->spec;
  const char *key;

  DX_TRY(dx_process_create(&s->process, s->schedule, s->schedule_config,
                           dx_reverse_find(s->objective.variance)->fixed, &p->process));
  DX_TRY(dx_objective_check(&s->objective, &s->process, &p->process, &key));
  DX_TRY(dx_error_in(dx_grid_create(&p->process, s->evaluate.respace, s->evaluate.spacing,
                                    dx_reverse_find(s->objective.variance)->fixed, &p->grid), "evaluate.respace"));
  p->objective = (dx_objective){.process = &p->process, .kernel = &p->team->kernel,
                                .predict = dx_predict_find(s->objective.predict),
                                .reverse = dx_reverse_find(s->objective.variance), .loss = s->loss,
                                .loss_config = s->loss_config, .dim = p->dim, .channels = p->info->sample.c};
  if (p->objective.predict->preconditioned) p->process.sigma_data = ((const dx_edm_config *)s->loss_config)->sigma_data;
  const dx_decoder_kind kind = dx_problem_decoder_kind(p);
  p->objective.decoder = dx_problem_decoder(
      p, dx_decoder_variance(&p->process, kind == DX_DECODER_OPTIMAL ? DX_DECODER_CLIPPED : kind, 0));
  return create_predictor(p);
}

dx_error *dx_problem_create(const dx_team *team, const dx_spec *spec, dx_problem **out)
{
  dx_problem *p = calloc(1, sizeof *p);
  dx_error *err = p ? NULL : DX_FAIL(INTERNAL, "no memory for an experiment");

  DX_TRY(dx_comm_agree(team->comm, err));
  *p = (dx_problem){.spec = spec, .team = team};
  DX_TRY_GOTO(err, out, dx_dataset_open(&spec->data, spec->data_kind, team->comm, &p->data));
  p->info = dx_dataset_info_of(p->data);
  p->dim = dx_shape_dim(p->info->sample);
  DX_TRY_GOTO(err, out, check_flip(p));
  err = dx_comm_agree(team->comm, create_local(p));
out:
  if (err) dx_problem_destroy(p);
  else *out = p;
  return err;
}

void dx_problem_destroy(dx_problem *p)
{
  if (!p) return;
  dx_net_destroy(p->net);
  dx_exact_destroy(p->exact);
  free(p->room);
  dx_grid_destroy(&p->grid);
  dx_process_destroy(&p->process);
  dx_dataset_close(p->data);
  free(p);
}

double dx_problem_bits(const dx_problem *p) { return 1 / ((double)p->dim * DX_LN2); }

int64_t dx_problem_train_examples(const dx_problem *p, int64_t wanted)
{
  const int64_t there = p->info->count[DX_TRAIN];

  return wanted < there ? wanted : there;
}

const dx_params *dx_problem_params(const dx_problem *p) { return p->net ? dx_net_params(p->net) : NULL; }

int64_t dx_problem_floats(const dx_problem *p) { return p->net ? dx_net_params(p->net)->floats : 0; }

uint64_t dx_problem_weights_hash(const dx_problem *p, const float *w)
{
  return dx_hash(w, (size_t)dx_problem_floats(p) * sizeof *w, 0);
}

/* What a perfect network would say, its best variance beside it where that is learned. */
static void predict_exact(void *ctx, int crew, int64_t n, const int32_t *t, const dx_level *level, const int32_t *label,
                          const float *xt, float *out)
{
  const dx_problem *const p = ctx;
  float *const target = p->room + crew * 2 * p->room_rows * p->dim, *const var = target + n * p->dim;

  (void)label;
  if (dx_objective_width(&p->objective) == 1) {
    dx_exact_predict(p->exact, p->objective.predict, n, t, level, xt, out, NULL);
    return;
  }
  dx_exact_predict(p->exact, p->objective.predict, n, t, level, xt, target, var);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i * p->dim; j < (i + 1) * p->dim; j++)
      var[j] = (float)dx_log(dx_reverse_best(&p->process, t[i] - 1, var[j]));
  dx_objective_join(&p->objective, n, t, target, var, out);
}

static void predict_net(void *ctx, int crew, int64_t n, const int32_t *t, const dx_level *level, const int32_t *label,
                        const float *xt, float *out)
{
  const dx_problem *const p = ctx;
  float *const x = p->room ? p->room + crew * 2 * p->room_rows * p->dim : NULL;
  const int64_t D = p->dim;
  float time[n];

  for (int64_t i = 0; i < n; i++)
    time[i] = dx_objective_input(&p->objective, t[i], level ? level[i] : dx_objective_level(&p->objective, t[i]), xt + i * D,
                                 x ? x + i * D : NULL);
  dx_net_forward(p->net, crew, n, NULL, time, label, x ? x : xt, out);
}

static dx_error *reserve_room(dx_problem *p, int64_t B)
{
  if (B <= p->room_rows || !(p->exact || p->objective.predict->preconditioned)) return NULL;
  free(p->room);
  p->room = malloc((size_t)(2 * B * p->dim * p->team->threads) * sizeof(float));
  p->room_rows = p->room ? B : 0;
  return p->room ? NULL : DX_FAIL(INTERNAL, "no memory for predictions");
}

dx_error *dx_problem_predictor(dx_problem *p, const float *w, int64_t B, int64_t items, dx_predictor *out)
{
  DX_TRY(dx_comm_agree(p->team->comm, reserve_room(p, B)));
  *out = (dx_predictor){.predict = p->exact ? predict_exact : predict_net, .ctx = p,
                        .crews = dx_team_crews(p->team, items, p->net && dx_net_shares(p->net))};
  return p->exact ? NULL : dx_net_ready(p->net, DX_PASS_INFER, B, out->crews, w);
}

dx_objective dx_problem_clipped(const dx_problem *p)
{
  dx_objective o = p->objective;

  o.clip = p->info->has_range;
  o.lo = (float)((p->info->lo - p->info->shift) / p->info->scale);
  o.hi = (float)((p->info->hi - p->info->shift) / p->info->scale);
  return o;
}

dx_decoder_kind dx_problem_decoder_kind(const dx_problem *p)
{
  return dx_decoder_kind_of(&p->spec->process, p->info->raw == DX_RAW_U8, p->objective.reverse->line != NULL);
}

/* A cell's probability has no unit, so 8-bit data need no log |scale|. */
dx_decoder dx_problem_decoder(const dx_problem *p, double variance)
{
  const bool bytes = p->info->raw == DX_RAW_U8;

  return (dx_decoder){.variance = variance, .log_scale = bytes ? 0 : dx_log(p->info->scale), .bytes = bytes,
                      .learned = dx_problem_decoder_kind(p) == DX_DECODER_LEARNED};
}
