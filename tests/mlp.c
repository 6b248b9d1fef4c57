/* SPDX-License-Identifier: Apache-2.0 */
/* The whole MLP with the simple loss against PyTorch (golden/mlp.py made golden/mlp.txt). */
#include "diffusion/objective.h"
#include "nn/model.h"
#include "tap.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 5, D = 2, T = 1000, MOST = 1024 };

static void sines(float *x, int64_t n, double scale, double phase)
{
  for (int64_t i = 0; i < n; i++) x[i] = (float)(scale * (double)(float)sin((double)i * 0.7 + phase));
}

/* Relative error of n numbers against the file's entry of that name, by norm. */
static double against(FILE *f, const char *name, const float *x, int64_t n)
{
  char found[64];
  long count;
  double diff = 0, size = 0, v;

  if (fscanf(f, "%63s %ld", found, &count) != 2 || strcmp(found, name) || count != n) return INFINITY;
  for (int64_t i = 0; i < n; i++) {
    if (fscanf(f, "%lf", &v) != 1) return INFINITY;
    diff += ((double)x[i] - v) * ((double)x[i] - v);
    size += v * v;
  }
  return sqrt(diff / size);
}

int main(void)
{
  const dx_model *const mlp = dx_model_find("mlp");
  struct { dx_ints hidden; double dropout; } config = {.hidden = {2, {24, 20}}};
  const dx_model_spec spec = {.sample = {1, 1, 1, D}, .out_channels = D, .timesteps = T};
  const float time[B] = {0, 16, 499, 998, 999};
  const int32_t t[B] = {1, 17, 500, 999, 1000};
  float x[B * D], eps[B * D], y[B * D], gy[B * D], gx[B * D], loss[B];
  dx_params params = {0};
  dx_arena count = {0}, arena;
  dx_kernels k;
  dx_terms terms[B];
  void *model, *acts = calloc(1, mlp->acts_size);
  char path[4096];

  snprintf(path, sizeof path, "%s/tests/golden/mlp.txt", getenv("srcdir") ? getenv("srcdir") : ".");
  FILE *f = fopen(path, "r");
  ok(f != NULL, "golden/mlp.txt is there");
  if (!f || mlp->create(&config, &spec, &params, &model)) return 1;
  dx_kernels_ref(&k);
  mlp->place(model, B, DX_PASS_TRAIN, &count, acts);
  if (dx_arena_create(count.peak, &arena)) return 1;
  mlp->place(model, B, DX_PASS_TRAIN, &arena, acts);
  float *w = calloc((size_t)params.floats, sizeof *w), *gw = calloc((size_t)params.floats, sizeof *gw);
  float *packed = calloc((size_t)mlp->packed(model), sizeof *packed);
  for (int i = 0; i < params.count; i++)
    sines(w + params.entry[i].where.at, params.entry[i].where.n, i % 2 ? 0.25 : 0.5, i / 2 + (i % 2 ? 10 : 0));
  sines(x, B * D, 1, 20);
  sines(eps, B * D, 1, 30);

  const dx_pass p = {.kernel = &k, .w = w, .packed = packed, .gw = gw, .work = &arena};
  const dx_condition c = {.time = time};
  mlp->pack(model, &k, DX_PASS_TRAIN, w, packed, 0, 1);
  mlp->forward(model, &p, B, x, &c, acts, y);
  const dx_process_config pc = {.schedule = "linear", .timesteps = T, .decoder_variance = "auto"};
  const dx_schedule *const linear = dx_schedule_find("linear");
  void *linear_config = calloc(1, linear->config_size);
  dx_process process;
  dx_option_presets(linear->options, linear_config);
  if (dx_process_create(&pc, linear, linear_config, DX_VARIANCE_LARGE, &process)) return 1;
  const dx_objective o = {.process = &process, .kernel = &k, .predict = dx_predict_find("noise"), .dim = D,
                          .reverse = dx_reverse_find("fixed-large"), .loss = dx_loss_find("simple"), .decoder = {.variance = 1}};
  float room[D];
  double weight[B];
  dx_level level[B];
  for (int i = 0; i < B; i++) {
    weight[i] = 1.0 / B;
    level[i] = dx_objective_level(&o, t[i]);
  }
  dx_objective_loss(&o, B, t, level, x, eps, y, weight, terms, gy, room); /* x0 is of no account here */
  mlp->backward(model, &p, B, acts, gy, gx);
  for (int i = 0; i < B; i++) loss[i] = (float)terms[i].loss;

  double e;
  e = against(f, "out", y, B * D);
  ok(e < 1e-6, "prediction, relative error %.1e", e);
  e = against(f, "loss", loss, B);
  ok(e < 1e-6, "loss, relative error %.1e", e);
  e = against(f, "x", gx, B * D);
  ok(e < 1e-6, "gradient of the input, relative error %.1e", e);
  for (int i = 0; i < params.count; i++) {
    e = against(f, params.entry[i].name, gw + params.entry[i].where.at, params.entry[i].where.n);
    ok(e < 1e-6, "gradient of %s, relative error %.1e", params.entry[i].name, e);
  }
  fclose(f);
  free(w);
  free(gw);
  free(packed);
  free(acts);
  free(linear_config);
  dx_process_destroy(&process);
  dx_arena_destroy(&arena);
  dx_params_destroy(&params);
  mlp->destroy(model);
  return done();
}
