/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/schedule_sigmoid.c - Jabri et al. 2022, algorithm 1: abar is a part of a falling sigmoid.

     u_t = (start + (end - start) t / T) / tau,  s(u) = 1 / (1 + e^-u)
     abar_t = (s(u_T) - s(u_t)) / (s(u_T) - s(u_0)),  beta_t = min(1 - abar_t / abar_{t-1}, 0.999)

   With j steps left before t, s(u_T) - s(u) = s(u_T) s(-u) (1 - e^-(u_T - u)), so

     1 - abar_t / abar_{t-1} = (s(u_t) - s(u_{t-1})) / (s(u_T) - s(u_{t-1}))
                             = s(u_t) expm1(-(u_t - u_{t-1})) / (s(u_T) expm1(-(u_T - u_{t-1}))),

   which loses no digits where beta is small. */
#include "diffusion/schedule.h"

#include "base/math.h"

typedef struct { double start, end, tau; } config;

static const dx_option options[] = {
  DX_OPTION(config, start, "-3", -50, 50, "where on the sigmoid abar begins"),
  DX_OPTION(config, end, "3", -50, 50, "where on the sigmoid abar ends; above process.start"),
  DX_OPTION(config, tau, "1", 0.01, 100, "temperature: the sigmoid is the steeper the smaller it is"),
  DX_OPTION_END
};

static const double limit = 0.999;

static double sigmoid(double u) { return 1 / (1 + dx_exp(-u)); }

static dx_error *fill(const void *config_, int64_t T, double *beta)
{
  const config *c = config_;
  const double first = c->start / c->tau, last = c->end / c->tau, step = (last - first) / (double)T;

  if (!(c->end > c->start))
    return DX_FAIL(CONFIG, "process.end is %g; allowed: above process.start, which is %g", c->end, c->start);
  for (int64_t i = 0; i < T; i++) {
    const double u = first + (double)(i + 1) * step, left = (double)(T - i) * step;
    const double b = sigmoid(u) * dx_expm1(-step) / (sigmoid(last) * dx_expm1(-left));

    beta[i] = b < limit ? b : limit;
  }
  return NULL;
}

const dx_schedule dx_schedule_sigmoid = {
  .name = "sigmoid", .help = "abar is a part of a falling sigmoid (Jabri et al. 2022)",
  .options = options, .config_size = sizeof(config), .fill = fill,
};
