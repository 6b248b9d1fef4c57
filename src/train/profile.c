/* SPDX-License-Identifier: Apache-2.0 */
/* train/profile.c - see profile.h. */
#include "train/profile.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "io/file.h"
#include "nn/panels.h"

enum {
  SIDE = 384,           /* of the matrices: 3 x 576 KiB lie in a core's second cache */
  STREAM = 8 << 20,     /* floats of each of two arrays: beyond the caches of a core */
  TRIES = 3
};
static const double TRY_SECONDS = 0.06;

/* --- the machine ------------------------------------------------------------------------- */

static float *ones(int64_t n)
{
  float *const x = dx_memory((size_t)n * sizeof *x);

  for (int64_t i = 0; x && i < n; i++) x[i] = 1;
  return x;
}

/* Operations per second of this thread, the best of some tries, by the faster of the products that layers use: of ones,
   whose panels are ones too. */
static double product_rate(const dx_kernels *k, const float *a, const float *b, float *c)
{
  double best = 0;

  for (int i = 0; i < 2 * TRIES; i++) {
    const double begin = dx_clock();
    int64_t n = 0;

    for (; dx_clock() - begin < TRY_SECONDS; n++)
      if (i % 2) dx_gemm_blis(SIDE, SIDE, SIDE, 1, a, SIDE, 1, b, SIDE, 1, 0, c, SIDE);
      else dx_panels_gemm(k, SIDE, SIDE, SIDE, a, SIDE, b, c, SIDE, NULL, DX_GEMM_SET);
    const double rate = 2.0 * SIDE * SIDE * SIDE * (double)n / (dx_clock() - begin);
    best = rate > best ? rate : best;
  }
  return best;
}

/* Bytes per second of this thread: two arrays read, one written. */
static double stream_rate(const dx_kernels *k, const float *x, float *y)
{
  double best = 0;

  for (int i = 0; i < TRIES; i++) {
    const double begin = dx_clock();

    k->add(STREAM, y, x, y);
    const double rate = 3.0 * sizeof *x * STREAM / (dx_clock() - begin);
    best = rate > best ? rate : best;
  }
  return best;
}

int64_t dx_roof_bytes(int threads) { return threads * 2 * (int64_t)sizeof(float) * STREAM; }

dx_error *dx_roof_measure(const dx_team *team, dx_roof *out)
{
  double flops = 0, bytes = 0;
  bool failed = false;

#pragma omp parallel num_threads(team->threads) reduction(+ : flops, bytes) reduction(|| : failed)
  {
    float *const x = ones(STREAM), *const y = ones(STREAM);

    dx_float_mode();
    failed = !x || !y;
#pragma omp barrier
    if (!failed) {
      bytes = stream_rate(&team->kernel, x, y);
      flops = product_rate(&team->kernel, x, x + SIDE * SIDE, y);
    }
    free(x);
    free(y);
  }
  if (failed) return DX_FAIL(INTERNAL, "no memory to measure the machine with");
  *out = (dx_roof){.flops = flops / team->threads, .bytes = bytes / team->threads};
  return NULL;
}

/* --- the report ---------------------------------------------------------------------------- */

static bool is_pass(const dx_profile_row *r) { return r->at < 0; }

/* What of the passes belongs to no layer: additions, upsampling, copies. */
static dx_profile_row rest_of(const dx_profile *p, bool backward)
{
  dx_profile_row rest = {.kind = "rest", .backward = backward, .at = -1};

  for (int i = 0; i < p->rows; i++) {
    const dx_profile_row *const r = &p->row[i];

    if (r->backward != backward) continue;
    rest.seconds += is_pass(r) ? r->seconds : -r->seconds;
    if (is_pass(r)) rest.calls = r->calls;
  }
  return rest;
}

/* Sums over layers, kind by kind, then the two rests; the longest first. */
static dx_profile *by_kind(const dx_profile *p)
{
  dx_profile *const kinds = calloc(1, sizeof *kinds);

  if (!kinds) return NULL;
  for (int i = 0; i < p->rows; i++) {
    dx_profile_row r = p->row[i];

    if (is_pass(&r)) continue;
    r.at = 0; /* one for all layers */
    dx_profile_add(kinds, &r);
  }
  for (int backward = 0; backward < 2; backward++) {
    const dx_profile_row rest = rest_of(p, backward);

    dx_profile_add(kinds, &rest);
  }
  return kinds;
}

static int slower(const void *a, const void *b)
{
  const double x = ((const dx_profile_row *)a)->seconds, y = ((const dx_profile_row *)b)->seconds;

  return x < y ? 1 : x > y ? -1 : 0;
}

/* "down.0.conv1" of the parameter down.0.conv1.w; "-" where there is none. */
static void name_of(const dx_params *p, int64_t at, char name[64])
{
  snprintf(name, 64, "-");
  for (int64_t i = 0; i < p->count; i++)
    if (p->entry[i].where.at == at) {
      snprintf(name, 64, "%s", p->entry[i].name);
      char *const dot = strrchr(name, '.');
      if (dot) *dot = 0;
      return;
    }
}

/* The time that the roof allows / the time taken. */
static double share_of_roof(const dx_roof *roof, const dx_profile_row *r)
{
  const double cores = r->flops / roof->flops, memory = r->bytes / roof->bytes;

  return r->seconds > 0 ? (cores > memory ? cores : memory) / r->seconds : 0;
}

static double all_seconds(const dx_profile *p)
{
  double sum = 0;

  for (int i = 0; i < p->rows; i++) sum += is_pass(&p->row[i]) ? p->row[i].seconds : 0;
  return sum;
}

static void say_kinds(const dx_profile_report *r, dx_logger *log, dx_profile *kinds)
{
  const double all = all_seconds(r->sum);
  bool saves = false; /* products, by Winograd's way */

  qsort(kinds->row, (size_t)kinds->rows, sizeof *kinds->row, slower);
  dx_log_say(log, DX_LOG_INFO, "profile of %lld steps on this rank: gradients %.3f s, samples, sums and update %.3f s; a thread's roof "
             "%.1f GF/s and %.1f GB/s", (long long)r->steps, r->compute, r->exchange, 1e-9 * r->roof.flops, 1e-9 * r->roof.bytes);
  dx_log_say(log, DX_LOG_INFO, "  %-14s %-8s %9s %10s %6s %8s %8s %6s", "kind", "pass", "calls", "thread s", "%", "GF/s", "GB/s", "roof");
  for (int i = 0; i < kinds->rows; i++) {
    const dx_profile_row *const k = &kinds->row[i];

    if (k->seconds <= 0) continue;
    dx_log_say(log, DX_LOG_INFO, "  %-14s %-8s %9lld %10.3f %6.1f %8.1f %8.1f %5.0f%%", k->kind, k->backward ? "backward" : "forward",
               (long long)k->calls, k->seconds, 100 * k->seconds / all, 1e-9 * k->flops / k->seconds, 1e-9 * k->bytes / k->seconds,
               100 * share_of_roof(&r->roof, k));
    saves |= !strcmp(k->kind, "conv winograd");
  }
  if (saves) dx_log_say(log, DX_LOG_INFO, "  conv winograd counts the products of a direct convolution, of which it saves three in four: more than 100%% is right");
  if (r->sum->lost) dx_log_say(log, DX_LOG_WARN, "%d calls of layers found no row in the profile", r->sum->lost);
}

/* One line of the file: a layer, or the rest. */
static void write_row(FILE *to, const dx_profile_report *r, const dx_profile_row *k)
{
  char name[64] = "-";

  if (k->at >= 0) name_of(r->params, k->at, name);
  fprintf(to, "%s,%s,%s,%lld,%.9f,%.0f,%.0f,%.4f\n", name, k->kind, k->backward ? "backward" : "forward", (long long)k->calls,
          k->seconds, k->flops, k->bytes, share_of_roof(&r->roof, k));
}

static dx_error *write_layers(const dx_profile_report *r, const char *path)
{
  char *text = NULL;
  size_t size = 0;
  FILE *const to = open_memstream(&text, &size);
  dx_error *err;

  if (!to) return DX_FAIL(INTERNAL, "no memory for a profile");
  fprintf(to, "# threads %d, steps %lld, gradients %.6f s, rest of the steps %.6f s, roof of a thread %.6e flop/s %.6e byte/s\n",
          r->threads, (long long)r->steps, r->compute, r->exchange, r->roof.flops, r->roof.bytes);
  fprintf(to, "layer,kind,pass,calls,seconds,flops,bytes,roof_share\n");
  for (int i = 0; i < r->sum->rows; i++)
    if (!is_pass(&r->sum->row[i])) write_row(to, r, &r->sum->row[i]);
  for (int backward = 0; backward < 2; backward++) {
    const dx_profile_row rest = rest_of(r->sum, backward);

    write_row(to, r, &rest);
  }
  err = fclose(to) ? DX_FAIL(INTERNAL, "no memory for a profile") : dx_file_write_atomic(path, text, size);
  free(text);
  return err;
}

dx_error *dx_profile_tell(const dx_profile_report *r, dx_logger *log, const char *path)
{
  dx_profile *const kinds = by_kind(r->sum);
  dx_error *err;

  if (!kinds) return DX_FAIL(INTERNAL, "no memory for a profile");
  say_kinds(r, log, kinds);
  free(kinds);
  err = write_layers(r, path);
  if (!err) dx_log_say(log, DX_LOG_INFO, "each layer: %s; analysis/profile.py draws it", path);
  return err;
}
