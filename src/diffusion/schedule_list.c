/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_list.c - the betas one by one, as the experiment gives them. */
#include "diffusion/schedule.h"

#include <stdlib.h>
#include <string.h>

typedef struct { char betas[65536]; } config;

static const dx_option options[] = {
  DX_OPTION(config, betas, NULL, 0, 0, "beta of every step, as one text of process.timesteps numbers, with commas or blanks between"),
  DX_OPTION_END
};

static dx_error *fill(const void *config_, int64_t T, double *beta)
{
  const char *at = ((const config *)config_)->betas;
  int64_t n = 0;

  for (at += strspn(at, ", \t\n"); *at; at += strspn(at, ", \t\n")) {
    char *end;
    const double b = strtod(at, &end);

    if (end == at || !strchr(", \t\n", *end))
      return DX_FAIL(CONFIG, "process.betas: number %lld is \"%.*s\"; allowed: a number above 0, at most 1", (long long)n + 1,
                     (int)(strcspn(at, ", \t\n") < 40 ? strcspn(at, ", \t\n") : 40), at);
    if (n < T) beta[n] = b;
    n++;
    at = end;
  }
  if (n != T)
    return DX_FAIL(CONFIG, "process.betas has %lld numbers; allowed: as many as process.timesteps, which is %lld",
                   (long long)n, (long long)T);
  return NULL;
}

const dx_schedule dx_schedule_list = {
  .name = "list", .help = "the betas one by one (process.betas)",
  .options = options, .config_size = sizeof(config), .fill = fill,
};
