/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_data.c - diffx data make and diffx data show. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

static dx_error *make(const dx_call *call)
{
  const dx_source *source;
  void *config = NULL;
  dx_comm *alone = NULL;
  dx_error *err;

  if (call->argc < 3 || strchr(call->argv[2], '='))
    return DX_FAIL(USAGE, "usage: diffx data make KIND OUT.h5 [key=value ...]; diffx list shows the kinds");
  DX_TRY(dx_source_configure(call->argv[1], call->argv + 3, call->argc - 3, &source, &config));
  err = dx_call_output(call, call->argv[2]);
  if (!err) err = dx_comm_start_alone(&alone);
  if (!err) err = dx_dataset_write(call->argv[2], source, config, alone);
  if (!err) dx_log_say(call->log, DX_LOG_INFO, "%s: use it with data.kind: file, data.file: %s", call->argv[2], call->argv[2]);
  dx_comm_stop(alone);
  free(config);
  return err;
}

dx_error *dx_cmd_data(const dx_call *call)
{
  const char *const verb = call->argc > 0 ? call->argv[0] : "";

  if (!strcmp(verb, "make")) return make(call);
  if (strcmp(verb, "show")) return DX_FAIL(USAGE, "usage: diffx data make KIND OUT.h5 [key=value ...], or diffx data show FILE.h5");
  if (call->argc != 2) return DX_FAIL(USAGE, "diffx data show takes one file: diffx data show FILE.h5");
  return dx_dataset_show(call->argv[1], stdout);
}
