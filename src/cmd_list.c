/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_list.c - diffx list and diffx --version. */
#include <stdio.h>

#include "base/version.h"
#include "commands.h"
#include "diffusion/times.h"
#include "io/h5.h"

dx_error *dx_cmd_list(const dx_call *call)
{
  const char *names[3], *const other = dx_kernels_other();
  const int sets = dx_kernels_available(names);

  if (call->argc) return DX_FAIL(USAGE, "diffx list takes no argument, not %s", call->argv[0]);
  puts("data (data.kind)");
  for (int i = 0; dx_source_at(i); i++) printf("  %-14s %s\n", dx_source_at(i)->name, dx_source_at(i)->help);
  puts("formats (diffx data import)");
  for (int i = 0; dx_importer_at(i); i++) printf("  %-14s %s\n", dx_importer_at(i)->name, dx_importer_at(i)->help);
  puts("schedules (process.schedule)");
  for (int i = 0; dx_schedule_at(i); i++) printf("  %-14s %s\n", dx_schedule_at(i)->name, dx_schedule_at(i)->help);
  puts("predictions (objective.predict)");
  for (int i = 0; dx_predict_at(i); i++) printf("  %-14s %s\n", dx_predict_at(i)->name, dx_predict_at(i)->help);
  puts("reverse variances (objective.variance)");
  for (int i = 0; dx_reverse_at(i); i++) printf("  %-14s %s\n", dx_reverse_at(i)->name, dx_reverse_at(i)->help);
  puts("losses (objective.loss)");
  for (int i = 0; dx_loss_at(i); i++) printf("  %-14s %s\n", dx_loss_at(i)->name, dx_loss_at(i)->help);
  puts("draws of t (train.t_sampling)");
  for (int i = 0; dx_times_at(i); i++) printf("  %-14s %s\n", dx_times_at(i)->name, dx_times_at(i)->help);
  puts("models (model.kind)");
  printf("  %-14s %s\n", "exact", "the Bayes-optimal prediction, for data whose density is known; nothing is trained");
  for (int i = 0; dx_model_at(i); i++) printf("  %-14s %s\n", dx_model_at(i)->name, dx_model_at(i)->help);
  puts("samplers (sample.sampler)");
  for (int i = 0; dx_sampler_at(i); i++) printf("  %-14s %s\n", dx_sampler_at(i)->name, dx_sampler_at(i)->help);
  puts("kernel sets that this processor runs (run.kernels)");
  for (int i = 0; i < sets; i++) printf("  %s\n", names[i]);
  if (other) printf("  %-14s of other bits than the rest, so only when it is named\n", other);
  return NULL;
}

dx_error *dx_cmd_version(const dx_call *call)
{
  const char *names[3];
  char mpi[128], cpu[128];
  const int sets = dx_kernels_available(names);

  (void)call;
  dx_comm_version(mpi, sizeof mpi);
  dx_cpu_describe(cpu, sizeof cpu);
  DX_TRY(dx_blis_start(NULL));
  printf("diffx %s (commit %s)\n", dx_version(), dx_commit());
  printf("%s, HDF5 %s, BLIS %s\n", mpi, dx_h5_version(), dx_blis_version());
  printf("kernels %s+%s on %s\n", names[sets - 1], dx_blis_kernels(), cpu);
  return NULL;
}
