/* SPDX-License-Identifier: Apache-2.0 */
/* tests/grid.c - grids of steps and their processes: those of improved-diffusion and diffusers; what is refused. */
#include "diffusion/grid.h"
#include "diffusion/variance.h"
#include "golden/grid.h"
#include "make_process.h"
#include "near.h"
#include "tap.h"

#include <string.h>

enum { T_MAX = 4000 };

static void golden(void)
{
  for (size_t i = 0; i < sizeof golden_grid / sizeof *golden_grid; i++) {
    dx_process p = process_of("linear", golden_grid[i].T, DX_VARIANCE_LARGE);
    const int n = golden_grid[i].n;
    dx_grid g = {0};
    dx_error *e = dx_grid_create(&p, golden_grid[i].counts, golden_grid[i].spacing, DX_VARIANCE_LARGE, &g);
    long sum = 0;
    int good = !e && g.steps == n && g.t[n - 1] == golden_grid[i].last;

    for (int k = 0; good && k < n; k++) {
      sum += (k + 1) * (long)g.t[k];
      good = k >= 6 || g.t[k] == golden_grid[i].first[k];
    }
    ok(good && sum == golden_grid[i].sum, "%s of %d, %s: its steps", golden_grid[i].counts, golden_grid[i].T, golden_grid[i].spacing);
    const dx_reverse *const range = dx_reverse_find("learned-range");
    ok(good && near(g.process.beta[1], golden_grid[i].beta2, 1e-10) && near(g.process.post_var[n - 1], golden_grid[i].post_last, 1e-10) &&
         near(range->line(&g.process, n / 2).base, golden_grid[i].log_mid, 1e-10), "and the process from one to the next");
    dx_error_free(e);
    dx_grid_destroy(&g);
    dx_process_destroy(&p);
  }
}

/* A grid of all steps is the process itself. */
static void whole(const char *schedule, bool zero)
{
  dx_process_config c = {.timesteps = 60, .zero_terminal = zero};
  dx_grid g = {0}, few = {0};

  snprintf(c.schedule, sizeof c.schedule, "%s", schedule);
  dx_process p = make_process(&c, DX_VARIANCE_LARGE);
  dx_error *e = dx_grid_create(&p, "none", "sections", DX_VARIANCE_LARGE, &g), *f = dx_grid_create(&p, "2", "linspace", DX_VARIANCE_SMALL, &few);
  int good = !e && !f && g.steps == 60;

  for (int i = 0; good && i < 60; i++) good = g.t[i] == i + 1;
  ok(good && !memcmp(g.process.memory, p.memory, 11 * 60 * sizeof *p.memory), "%s%s: all steps are the process, bit for bit", schedule, zero ? " to zero" : "");
  ok(good && near(few.process.abar[0], p.abar[0], 1e-15) && (zero ? few.process.beta[1] == 1 && few.process.abar[1] == 0
                                                                  : fabs(few.process.abar[1] - p.abar[59]) < 1e-15), "two steps, its ends");
  dx_error_free(e);
  dx_error_free(f);
  dx_grid_destroy(&g);
  dx_grid_destroy(&few);
  dx_process_destroy(&p);
}

static void refused(const char *counts, const char *spacing, const char *words)
{
  int64_t t[100], n;
  dx_error *e = dx_grid_steps(counts, spacing, 100, t, &n);

  ok(e && dx_error_code(e) == DX_E_CONFIG && strstr(dx_error_text(e), words), "refused: %s", e ? dx_error_text(e) : counts);
  dx_error_free(e);
}

int main(void)
{
  golden();
  whole("linear", false);
  whole("cosine", false);
  whole("cosine", true);
  refused("10,", "sections", "is 10,; allowed: none, a number of steps, or numbers");
  refused("10;5", "sections", "is 10;5; allowed: none");
  refused("ten", "sections", "is ten; allowed: none");
  refused("0", "sections", "is 0; allowed: none");
  refused("-3", "leading", "is -3; allowed: none");
  refused("1", "sections", "is 1; allowed: from 2 to 100");
  refused("101", "trailing", "is 101; allowed: from 2 to 100");
  refused("99999999999999999999", "sections", "allowed: from 2 to 100");
  refused("9223372036854775807,5", "sections", "allowed: from 2 to 100");
  refused("60,5", "sections", "is 60,5, but section 1 of 2 has 50 steps");
  refused("5,5", "leading", "is 5,5, but evaluate.spacing is leading, which takes one number");
  return done();
}
