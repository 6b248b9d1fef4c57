/* SPDX-License-Identifier: Apache-2.0 */
/* diffusion/grid.c - see grid.h. */
#include "diffusion/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* a / b to the nearest whole number, halves to the even one. */
static int64_t divide(int64_t a, int64_t b)
{
  const int64_t q = a / b, twice = 2 * (a % b);

  return q + (twice > b || (twice == b && q % 2));
}

/* x >= 0 to the nearest whole number, halves to the even one. */
static int64_t nearest(double x)
{
  const double below = floor(x), rest = x - below;
  const int64_t q = (int64_t)below;

  return q + (rest > 0.5 || (rest == 0.5 && q % 2));
}

int64_t dx_grid_linspace(int64_t T, int64_t n, int64_t i) { return i + 1 < n ? 1 + divide(i * (T - 1), n - 1) : T; }

static void linspace(int64_t T, int64_t n, int64_t *t)
{
  for (int64_t i = 0; i < n; i++) t[i] = dx_grid_linspace(T, n, i);
}

static void leading(int64_t T, int64_t n, int64_t *t)
{
  for (int64_t i = 0; i < n; i++) t[i] = 1 + i * (T / n);
}

static void trailing(int64_t T, int64_t n, int64_t *t)
{
  for (int64_t i = 0; i < n; i++) t[i] = divide((i + 1) * T, n);
}

/* One section of `size` steps that begins behind step `before`. The stride is added up, as space_timesteps does, so that its
   rounding is theirs. */
static void section(int64_t before, int64_t size, int64_t n, int64_t *t)
{
  const double stride = n > 1 ? (double)(size - 1) / (double)(n - 1) : 1;
  double at = 0;

  for (int64_t i = 0; i < n; i++, at += stride) t[i] = before + 1 + nearest(at);
}

enum { SECTIONS = 64 };

/* "10,15,20"; false where it is no such list. */
static bool parse(const char *text, int64_t *count, int *sections)
{
  char *end;

  for (*sections = 0; *sections < SECTIONS; text = end + 1) {
    count[*sections] = strtoll(text, &end, 10);
    if (end == text || count[(*sections)++] < 1) return false;
    while (*end == ' ') end++;
    if (!*end) return true;
    if (*end != ',') return false;
  }
  return false;
}

static dx_error *in_sections(const char *counts, int64_t T, const int64_t *count, int sections, int64_t *t)
{
  int64_t before = 0, n = 0;

  for (int i = 0; i < sections; i++) {
    const int64_t size = T / sections + (i < T % sections);

    if (count[i] > size)
      return DX_FAIL(CONFIG, "is %s, but section %d of %d has %lld steps; allowed: at most as many", counts, i + 1, sections, (long long)size);
    section(before, size, count[i], t + n);
    n += count[i];
    before += size;
  }
  return NULL;
}

dx_error *dx_grid_steps(const char *counts, const char *spacing, int64_t T, int64_t *t, int64_t *n)
{
  int64_t count[SECTIONS], sum = 0;
  int sections;

  *n = T;
  if (!strcmp(counts, "none")) {
    linspace(T, T, t);
    return NULL;
  }
  if (!parse(counts, count, &sections))
    return DX_FAIL(CONFIG, "is %s; allowed: none, a number of steps, or numbers of steps in equal sections, such as 10,15,20", counts);
  for (int i = 0; i < sections; i++) sum = count[i] < T - sum ? sum + count[i] : count[i] == T - sum ? T : T + 1;
  if (sum < 2 || sum > T) return DX_FAIL(CONFIG, "is %s; allowed: from 2 to %lld steps in all", counts, (long long)T);
  *n = sum;
  if (!strcmp(spacing, "sections")) return in_sections(counts, T, count, sections, t);
  if (sections > 1)
    return DX_FAIL(CONFIG, "is %s, but evaluate.spacing is %s, which takes one number; allowed: sections", counts, spacing);
  if (!strcmp(spacing, "leading")) leading(T, sum, t);
  else if (!strcmp(spacing, "trailing")) trailing(T, sum, t);
  else linspace(T, sum, t);
  return NULL;
}

dx_error *dx_grid_create(const dx_process *p, const char *counts, const char *spacing, dx_variance variance, dx_grid *out)
{
  dx_grid g = {.t = calloc((size_t)p->timesteps, sizeof *g.t)};
  dx_error *err = g.t ? NULL : DX_FAIL(INTERNAL, "no memory for a grid of steps");

  if (!err) err = dx_grid_steps(counts, spacing, p->timesteps, g.t, &g.steps);
  if (!err) err = dx_process_respace(p, g.steps, g.t, variance, &g.process);
  if (err) dx_grid_destroy(&g);
  else *out = g;
  return err;
}

void dx_grid_destroy(dx_grid *g)
{
  if (!g) return;
  dx_process_destroy(&g->process);
  free(g->t);
  *g = (dx_grid){0};
}
