/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_predict.c - diffx predict RUN|CHECKPOINT IN.h5 OUT.h5. */
#include <string.h>

#include "base/clock.h"
#include "commands.h"
#include "train/checkpoint.h"
#include "train/predict.h"

dx_error *dx_cmd_predict(const dx_call *call_)
{
  dx_call call = *call_;
  const double begin = dx_clock();
  dx_trained t = {0};
  dx_team team = {0};
  dx_predict_job job = {.team = &team};
  dx_net *net = NULL;
  char words[32], weights[DX_WEIGHTS_NAME];
  dx_error *err;

  dx_call_ema(&call, weights);
  if (call.argc < 3 || strchr(call.argv[1], '=') || strchr(call.argv[2], '='))
    return DX_FAIL(USAGE, "usage: diffx predict RUN|CHECKPOINT IN.h5 OUT.h5 [--ema[=RATE]] [key=value ...]");
  for (int i = 3; i < call.argc; i++) /* evaluate and sample start with other weights than predict does */
    if (!strncmp(call.argv[i], "evaluate.weights=", 17) || !strncmp(call.argv[i], "sample.weights=", 15))
      return DX_FAIL(USAGE, "%s is of no use to predict: it takes the raw weights, or the average by --ema[=RATE]", call.argv[i]);
  job.in = call.argv[1];
  job.out = call.argv[2];
  call.argv[2] = call.argv[0]; /* the checkpoint, then assignments */
  call.argv += 2;
  call.argc -= 2;
  DX_TRY_GOTO(err, out, dx_call_trained(&call, DX_DATA_UNREAD, &t));
  const dx_spec *const s = dx_experiment_spec(t.experiment);
  job.spec = s;
  job.step = t.step;
  job.model = t.model;
  job.model.timesteps = dx_problem_timesteps(s);
  if (!s->model) {
    err = DX_FAIL(CONFIG, "model.kind is exact, which has no network; allowed: the checkpoint of one");
    goto out;
  }
  DX_TRY_GOTO(err, out, dx_trained_has_shape(&t));
  DX_TRY_GOTO(err, out, dx_trained_ema(call.comm, &t, weights));
  job.ema = t.ema;
  DX_TRY_GOTO(err, out, dx_call_output(&call, job.out, "prediction"));
  DX_TRY_GOTO(err, out, dx_team_form(call.comm, call.log, &s->run, &team));
  DX_TRY_GOTO(err, out, dx_comm_agree(call.comm, dx_net_create(&team, s->model, s->model_config, &job.model, &net)));
  err = dx_comm_rank(call.comm) == 0 ? dx_checkpoint_fits(t.file, t.floats, dx_net_params(net)) : NULL;
  DX_TRY_GOTO(err, out, dx_comm_agree(call.comm, err));
  DX_TRY_GOTO(err, out, dx_predict_rows(&job, net, t.w));
  dx_log_say(call.log, DX_LOG_INFO, "predicted by %s weights in %s: %s", weights, dx_clock_words(dx_clock() - begin, words), job.out);
out:
  dx_net_destroy(net);
  dx_team_part(&team);
  dx_trained_free(&t);
  return err;
}
