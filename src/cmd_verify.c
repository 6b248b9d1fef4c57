/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_verify.c - diffx verify: is this installation right, on this machine? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "train/verify.h"

dx_error *dx_cmd_verify(const dx_call *call)
{
  static const char nothing[] = "name: verify\ndata: {kind: gaussian}\n";
  dx_experiment *e = NULL;
  dx_team team = {0};
  int failed = 0;
  dx_error *err;

  DX_TRY_GOTO(err, out, dx_experiment_create("verify", nothing, strlen(nothing), call->argv, call->argc, DX_DATA_READ, &e));
  DX_TRY_GOTO(err, out, dx_team_form(call->comm, call->log, &dx_experiment_spec(e)->run, &team));
  if (dx_comm_rank(call->comm) == 0)
    printf("%d ranks x %d threads, kernels %s\n", dx_comm_size(call->comm), team.threads, team.kernels);
  DX_TRY_GOTO(err, out, dx_verify(&team, stdout, &failed));
  if (failed) err = DX_FAIL(NUMERIC, "this installation is not right: %d checks failed", failed);
out:
  dx_team_part(&team);
  dx_experiment_destroy(e);
  return err;
}
