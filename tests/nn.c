/* SPDX-License-Identifier: Apache-2.0 */
/* Every layer and model: backward against finite differences of forward, and equal bits of an
   example in any slot of a pass. Sizes are odd; one linear layer is large enough for BLIS. */
#include "base/random.h"
#include "nn/conv.h"
#include "nn/linear.h"
#include "nn/model.h"
#include "tap.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static void fill(float *x, int64_t n, uint64_t index)
{
  const dx_stream s = {.seed = 3, .purpose = DX_FOR_TEST, .index = index};
  double *z = malloc((size_t)n * sizeof *z);

  dx_stream_normals(&s, n, z);
  for (int64_t i = 0; i < n; i++) x[i] = (float)z[i];
  free(z);
}

static double dot(int64_t n, const float *a, const float *b)
{
  double s = 0;

  for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
  return s;
}

/* Dropout is on in every check: the same places give the same mask. */
static uint32_t place[] = {11, 3, 4, 5, 6, 9, 11};
static int32_t label[] = {1, 0, 2, 2, 1, 0, 1};
static const dx_draw draw = {.seed = 4, .step = 2, .place = place};

/* A model under test, with all that its passes need. */
typedef struct {
  const dx_model *kind;
  void *model, *acts;
  dx_params params;
  dx_arena arena;
  dx_kernels k;
  float *w, *gw, *packed, *x, *y, *gx, *c, *time;
  int64_t B, in, out;
  dx_crew *crew;
} rig;

static double loss(rig *r)
{
  const dx_pass p = {.kernel = &r->k, .w = r->w, .packed = r->packed, .gw = r->gw, .work = &r->arena, .crew = r->crew,
                     .draw = &draw};
  const dx_condition c = {.time = r->time, .label = label};

  r->kind->pack(r->model, &r->k, DX_PASS_TRAIN, r->w, r->packed, 0, 1);
  r->kind->forward(r->model, &p, r->B, r->x, &c, r->acts, r->y);
  return dot(r->B * r->out, r->y, r->c);
}

/* With scratch for a crew of so many. */
static void build_for(int members, rig *r, const dx_model *kind, const void *config, dx_shape sample, int64_t B)
{
  const dx_model_spec spec = {.sample = sample, .out_channels = sample.c, .timesteps = 10, .classes = 3};
  dx_arena count = {.members = members};
  const char *names[3];

  *r = (rig){.kind = kind, .B = B, .in = dx_shape_dim(sample), .out = dx_shape_dim(sample)};
  if (dx_kernels_select(names[dx_kernels_available(names) - 1], &r->k)) abort(); /* the fastest: kernels.c compares the sets */
  if (kind->create(config, &spec, &r->params, &r->model)) abort();
  r->acts = calloc(1, kind->acts_size);
  kind->place(r->model, B, DX_PASS_TRAIN, &count, r->acts);
  if (dx_arena_create(count.peak, &r->arena)) abort();
  r->arena.members = members;
  kind->place(r->model, B, DX_PASS_TRAIN, &r->arena, r->acts);
  const size_t n = (size_t)r->params.floats * sizeof(float);
  r->w = malloc(n);
  r->gw = calloc(1, n);
  r->packed = malloc((size_t)kind->packed(r->model) * sizeof(float));
  r->x = malloc((size_t)(B * r->in) * sizeof(float));
  r->gx = malloc((size_t)(B * r->in) * sizeof(float));
  r->y = malloc((size_t)(B * r->out) * sizeof(float));
  r->c = malloc((size_t)(B * r->out) * sizeof(float));
  r->time = malloc((size_t)B * sizeof(float));
  dx_params_start(&r->params, 5, r->w);
  fill(r->x, B * r->in, 1);
  fill(r->c, B * r->out, 2);
  for (int64_t i = 0; i < B; i++) r->time[i] = (float)(i * 3 % 10);
}

static void build(rig *r, const dx_model *kind, const void *config, dx_shape sample, int64_t B)
{
  build_for(1, r, kind, config, sample, B);
}

static void tear_down(rig *r)
{
  r->kind->destroy(r->model);
  dx_params_destroy(&r->params);
  dx_arena_destroy(&r->arena);
  free(r->acts);
  free(r->w);
  free(r->gw);
  free(r->packed);
  free(r->x);
  free(r->gx);
  free(r->y);
  free(r->c);
  free(r->time);
}

/* Largest error of the slope along n random directions in v, relative to the slope's scale. */
static double slope_error(rig *r, float *v, const float *g, int64_t n, double h)
{
  double worst = 0;
  float *keep = malloc((size_t)n * sizeof *keep), *d = malloc((size_t)n * sizeof *d);

  memcpy(keep, v, (size_t)n * sizeof *v);
  for (uint64_t trial = 0; trial < 8; trial++) {
    fill(d, n, 100 + trial);
    const double norm = sqrt(dot(n, d, d)), gnorm = sqrt(dot(n, g, g));

    for (int64_t i = 0; i < n; i++) v[i] = (float)((double)keep[i] + h * (double)d[i] / norm);
    const double up = loss(r);
    for (int64_t i = 0; i < n; i++) v[i] = (float)((double)keep[i] - h * (double)d[i] / norm);
    const double down = loss(r);
    memcpy(v, keep, (size_t)n * sizeof *v);
    worst = fmax(worst, fabs((up - down) / (2 * h) - dot(n, g, d) / norm) / gnorm);
  }
  free(keep);
  free(d);
  return worst;
}

/* The parameters of the mlp's time: the first layer's column of t/T alone. */
static void check_time_weights(rig *r, const char *what)
{
  const dx_param first = r->params.entry[0].where;
  int probed = 0, off = 0; /* a step over a ReLU's kink is off for good reason: few are */

  for (int64_t o = 0; o < r->params.entry[0].dim[0]; o += 3, probed++) {
    const int64_t at = first.at + o * (r->in + 1) + r->in;
    const float keep = r->w[at], h = 2e-3f;

    r->w[at] = keep + h;
    const double up = loss(r);
    r->w[at] = keep - h;
    const double down = loss(r);
    r->w[at] = keep;
    off += fabs((up - down) / (2 * (double)h) - (double)r->gw[at]) > 2e-3;
  }
  ok(probed > 40 && off * 20 <= probed, "%s: gradient of the time's weights, %d of %d off", what, off, probed);
}

static void check_model(const dx_model *kind, const void *config, const char *what, dx_shape sample)
{
  rig r;

  build(&r, kind, config, sample, 7);
  loss(&r);
  const dx_pass p = {.kernel = &r.k, .w = r.w, .packed = r.packed, .gw = r.gw, .work = &r.arena, .draw = &draw};
  float *gy = malloc((size_t)(r.B * r.out) * sizeof *gy);

  memcpy(gy, r.c, (size_t)(r.B * r.out) * sizeof *gy);
  r.kind->backward(r.model, &p, r.B, r.acts, gy, r.gx);
  const double by_w = slope_error(&r, r.w, r.gw, r.params.floats, 1e-2), by_x = slope_error(&r, r.x, r.gx, r.B * r.in, 1e-3);
  ok(by_w < 2e-3, "%s: gradient of the parameters, off by %.1e", what, by_w);
  ok(by_x < 5e-3, "%s: gradient of the input, off by %.1e", what, by_x);

  if (!strcmp(what, "mlp")) check_time_weights(&r, what);

  /* the same example in another slot */
  const float *last = r.y + (r.B - 1) * r.out;
  float *before = malloc((size_t)r.out * sizeof *before);
  loss(&r);
  memcpy(before, last, (size_t)r.out * sizeof *before);
  memcpy(r.x, r.x + (r.B - 1) * r.in, (size_t)r.in * sizeof *r.x);
  r.time[0] = r.time[r.B - 1];
  loss(&r);
  ok(!memcmp(before, r.y, (size_t)r.out * sizeof *before), "%s: the same bits in another slot", what);
  free(before);
  free(gy);
  tear_down(&r);
}

/* model.recompute: backward finds again what forward did not keep, to the bit, and in less memory. */
static void check_recompute(const dx_model *kind, void *config, const char *what, dx_shape sample)
{
  rig r[2];

  for (int i = 0; i < 2; i++) {
    dx_error *const e = dx_option_read(dx_option_find(kind->options, "recompute"), i ? "true" : "false", config);

    if (e) abort();
    build(&r[i], kind, config, sample, 7);
    loss(&r[i]);
    const dx_pass p = {.kernel = &r[i].k, .w = r[i].w, .packed = r[i].packed, .gw = r[i].gw, .work = &r[i].arena, .draw = &draw};
    kind->backward(r[i].model, &p, 7, r[i].acts, r[i].c, r[i].gx);
    ok(r[i].arena.used <= r[i].arena.size && r[i].arena.peak == r[i].arena.size, "%s, %s: the passes take what was planned: %zu bytes", what,
       i ? "recomputed" : "kept", r[i].arena.size);
  }
  const size_t all[2] = {r[0].arena.size + 4 * (size_t)kind->packed(r[0].model), r[1].arena.size + 4 * (size_t)kind->packed(r[1].model)};
  ok(all[1] < all[0], "%s: with packed weights recomputing takes %zu bytes, keeping %zu", what, all[1], all[0]);
  ok(!memcmp(r[0].y, r[1].y, (size_t)(7 * r[0].out) * 4) && !memcmp(r[0].gx, r[1].gx, (size_t)(7 * r[0].in) * 4) &&
       !memcmp(r[0].gw, r[1].gw, (size_t)r[0].params.floats * 4), "%s: recomputing gives the same bits", what);
  tear_down(&r[0]);
  tear_down(&r[1]);
  dx_option_presets((const dx_option[]){*dx_option_find(kind->options, "recompute"), DX_OPTION_END}, config);
}

/* Both passes, by a crew of so many. */
static void pass_with(rig *r, int members)
{
  dx_crew crew;

  dx_crew_ready(&crew);
#pragma omp parallel num_threads(members)
  {
    if (omp_get_thread_num() == 0) {
      crew.members = omp_get_num_threads();
      r->crew = &crew;
      loss(r);
      const dx_pass p = {.kernel = &r->k, .w = r->w, .packed = r->packed, .gw = r->gw, .work = &r->arena,
                         .crew = &crew, .draw = &draw};
      r->kind->backward(r->model, &p, r->B, r->acts, r->c, r->gx);
      dx_crew_dismiss(&crew);
    } else {
      dx_crew_help(&crew, omp_get_thread_num());
    }
  }
}

/* Threads that share a pass: the same bits however many they are, and in the memory that was planned. */
static void check_crew(const dx_model *kind, const void *config, const char *what, dx_shape sample, int64_t B)
{
  static const int members[] = {1, 2, 5};
  rig r[3];

  for (int i = 0; i < 3; i++) {
    build_for(members[i], &r[i], kind, config, sample, B);
    pass_with(&r[i], members[i]);
    ok(!memcmp(r[0].y, r[i].y, (size_t)(B * r[0].out) * 4) && !memcmp(r[0].gx, r[i].gx, (size_t)(B * r[0].in) * 4) &&
         !memcmp(r[0].gw, r[i].gw, (size_t)r[0].params.floats * 4), "%s: a crew of %d gives the same bits", what, members[i]);
  }
  for (int i = 0; i < 3; i++) tear_down(&r[i]);
}

static void check_linear(int64_t in, int64_t out, dx_activation activation)
{
  enum { B = 5 };
  dx_params params = {0};
  dx_linear l;
  dx_kernels k;
  dx_arena arena;
  int64_t packed = 0;
  double worst = 0, size = 0;

  dx_kernels_ref(&k);
  if (dx_linear_init(&l, &params, &packed, "fc", in, out, activation)) abort();
  if (dx_arena_create((size_t)(2 * in * out + 64) * sizeof(float), &arena)) abort();
  float *w = malloc((size_t)params.floats * 4), *gw = calloc((size_t)params.floats, 4), *pk = malloc((size_t)packed * 4);
  float *x = malloc((size_t)(B * in) * 4), *y = malloc((size_t)(B * out) * 4), *gy = malloc((size_t)(B * out) * 4);
  float *gx = malloc((size_t)(B * in) * 4), *c = malloc((size_t)(B * out) * 4);

  dx_params_start(&params, 9, w);
  fill(x, B * in, 1);
  fill(c, B * out, 2);
  dx_linear_pack(&l, &k, w, pk);
  const dx_pass p = {.kernel = &k, .w = w, .packed = pk, .gw = gw, .work = &arena};
  dx_linear_forward(&l, &p, B, x, y);
  for (int64_t i = 0; i < B * out; i += 1 + out / 7) { /* against the definition */
    double s = (double)w[l.b.at + i % out];

    for (int64_t j = 0; j < in; j++) s += (double)x[i / out * in + j] * (double)w[l.w.at + i % out * in + j];
    if (activation == DX_RELU && s < 0) s = 0;
    worst = fmax(worst, fabs(s - (double)y[i]));
  }
  ok(worst < 2e-5, "linear %lld -> %lld: y = x W^T + b, off by %.1e", (long long)in, (long long)out, worst);
  memcpy(gy, c, (size_t)(B * out) * 4);
  dx_linear_backward(&l, &p, B, x, y, gy, gx);
  worst = 0;
  for (int64_t i = 0; i < out; i += 1 + out / 5)
    for (int64_t j = 0; j < in; j += 1 + in / 5) {
      double s = 0;

      for (int64_t b = 0; b < B; b++)
        if (activation == DX_PLAIN || y[b * out + i] > 0) s += (double)c[b * out + i] * (double)x[b * in + j];
      worst = fmax(worst, fabs(s - (double)gw[l.w.at + i * in + j]));
      size = fmax(size, fabs(s));
    }
  ok(worst < 1e-5 * (1 + size), "linear %lld -> %lld: gradient of W, off by %.1e", (long long)in, (long long)out, worst);
  worst = 0;
  for (int64_t j = 0; j < in; j += 1 + in / 9) {
    double s = 0;

    for (int64_t i = 0; i < out; i++)
      if (activation == DX_PLAIN || y[i] > 0) s += (double)c[i] * (double)w[l.w.at + i * in + j];
    worst = fmax(worst, fabs(s - (double)gx[j]));
  }
  ok(worst < 2e-5, "linear %lld -> %lld: gradient of x, off by %.1e", (long long)in, (long long)out, worst);
  free(w);
  free(gw);
  free(pk);
  free(x);
  free(y);
  free(gy);
  free(gx);
  free(c);
  dx_arena_destroy(&arena);
  dx_params_destroy(&params);
}

/* Forward against the definition; backward is its adjoint: <gy, W x> = <gx, x> = <gw, w> + ... */
static void check_conv(dx_conv_kind kind, dx_shape s, int64_t out, const char *what)
{
  dx_params params = {0};
  dx_conv l;
  dx_kernels k;
  dx_arena arena, count = {0};
  int64_t packed = 0;
  double worst = 0;

  dx_kernels_ref(&k);
  if (dx_conv_init(&l, &params, &packed, "conv", kind, s.c, out)) abort();
  dx_conv_work(&l, s, &count);
  if (dx_arena_create(count.peak, &arena)) abort();
  const dx_shape o = dx_conv_out(&l, s);
  const int64_t nx = dx_shape_count(s), ny = dx_shape_count(o), size = kind == DX_CONV_1 ? 1 : 3;
  const int64_t stride = s.h / o.h, pad = kind != DX_CONV_1 && kind != DX_CONV_3_HALF;
  float *w = malloc((size_t)params.floats * 4), *gw = calloc((size_t)params.floats, 4), *pk = malloc((size_t)packed * 4);
  float *x = malloc((size_t)nx * 4), *gx = malloc((size_t)nx * 4), *each = malloc((size_t)(s.b * out) * 4);
  float *y = malloc((size_t)ny * 4), *gy = malloc((size_t)ny * 4), *base = malloc((size_t)ny * 4), *geach = malloc((size_t)(s.b * out) * 4);

  dx_params_start(&params, 9, w);
  fill(x, nx, 1), fill(gy, ny, 2), fill(base, ny, 3), fill(each, s.b * out, 4);
  dx_conv_pack(&l, &(dx_pass){.kernel = &k, .w = w}, DX_PASS_TRAIN, pk);
  const dx_pass p = {.kernel = &k, .w = w, .packed = pk, .gw = gw, .work = &arena};
  dx_conv_forward(&l, &p, s, x, (dx_conv_base){.pixels = base, .example = each}, y);
  for (int64_t i = 0; i < ny; i++) {
    const int64_t c = i % out, col = i / out % o.w, row = i / out / o.w % o.h, b = i / dx_shape_dim(o);
    double sum = (double)w[l.b.at + c] + (double)base[i] + (double)each[b * out + c];

    for (int64_t u = 0; u < size; u++)
      for (int64_t v = 0; v < size; v++)
        for (int64_t ch = 0; ch < s.c; ch++) {
          const int64_t r = row * stride + u - pad, q = col * stride + v - pad;

          if (r < 0 || q < 0 || r >= s.h || q >= s.w) continue;
          sum += (double)x[((b * s.h + r) * s.w + q) * s.c + ch] * (double)w[l.w.at + ((c * size + u) * size + v) * s.c + ch];
        }
    worst = fmax(worst, fabs(sum - (double)y[i]));
    y[i] = (float)(sum - (double)w[l.b.at + c] - (double)base[i] - (double)each[b * out + c]); /* W x alone */
  }
  ok(worst < 1e-5, "%s: y = base + b + W x, off by %.1e", what, worst);
  dx_conv_backward(&l, &p, s, x, gy, gx, geach);
  const double size_y = sqrt(dot(ny, y, y) * dot(ny, gy, gy)), product = dot(ny, gy, y);
  ok(fabs(product - dot(nx, gx, x)) < 1e-6 * size_y, "%s: gradient of x is the adjoint", what);
  ok(fabs(product - dot(l.w.n, gw + l.w.at, w + l.w.at)) < 1e-6 * size_y, "%s: gradient of W is the adjoint", what);
  worst = 0;
  for (int64_t c = 0; c < out; c++) {
    double sum = 0, by_example = 0;

    for (int64_t i = c; i < ny; i += out) sum += (double)gy[i];
    for (int64_t b = 0; b < s.b; b++) by_example += (double)geach[b * out + c];
    worst = fmax(worst, fmax(fabs(sum - by_example), fabs(sum - (double)gw[l.b.at + c])));
  }
  ok(worst < 1e-4, "%s: gradients of the bias and of what examples add, off by %.1e", what, worst);
  float *const all[] = {w, gw, pk, x, gx, each, y, gy, base, geach};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  dx_arena_destroy(&arena);
  dx_params_destroy(&params);
}

/* A layer with numbers for its passes over an x of shape s. */
typedef struct {
  dx_conv l;
  dx_shape s, o;
  dx_params params;
  dx_kernels k;
  dx_arena arena;
  float *w, *gw, *pk, *x, *gx, *y, *gy;
} conv_case;

static float *random_floats(int64_t n, uint32_t which)
{
  float *const x = calloc((size_t)n, sizeof *x);

  if (!x) abort();
  if (which) fill(x, n, which);
  return x;
}

static conv_case conv_create(dx_conv_kind kind, dx_shape s, int64_t out, const char *set)
{
  conv_case t = {.s = s};
  dx_arena count = {0};
  int64_t packed = 0;

  if (dx_kernels_select(set, &t.k) || dx_conv_init(&t.l, &t.params, &packed, "conv", kind, s.c, out)) abort();
  dx_conv_work(&t.l, s, &count);
  if (dx_arena_create(count.peak, &t.arena)) abort();
  t.o = dx_conv_out(&t.l, s);
  t.w = random_floats(t.params.floats, 0), t.gw = random_floats(t.params.floats, 0), t.pk = random_floats(packed, 0);
  t.x = random_floats(dx_shape_count(s), 1), t.gx = random_floats(dx_shape_count(s), 0);
  t.y = random_floats(dx_shape_count(t.o), 0), t.gy = random_floats(dx_shape_count(t.o), 2);
  dx_params_start(&t.params, 9, t.w);
  dx_conv_pack(&t.l, &(dx_pass){.kernel = &t.k, .w = t.w}, DX_PASS_TRAIN, t.pk);
  return t;
}

static void conv_run(conv_case *t)
{
  const dx_pass p = {.kernel = &t->k, .w = t->w, .packed = t->pk, .gw = t->gw, .work = &t->arena};

  memset(t->gw, 0, (size_t)t->params.floats * sizeof *t->gw);
  dx_conv_forward(&t->l, &p, t->s, t->x, (dx_conv_base){0}, t->y);
  dx_conv_backward(&t->l, &p, t->s, t->x, t->gy, t->gx, NULL);
}

static void conv_destroy(conv_case *t)
{
  float *const all[] = {t->w, t->gw, t->pk, t->x, t->gx, t->y, t->gy};

  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  dx_arena_destroy(&t->arena);
  dx_params_destroy(&t->params);
}

/* y, gx and gw in double. */
static void conv_exact(const conv_case *t, double *y, double *gx, double *gw)
{
  const dx_shape s = t->s, o = t->o;
  const int64_t size = t->l.kind == DX_CONV_1 ? 1 : 3, stride = s.h / o.h;
  const int64_t pad = t->l.kind == DX_CONV_1 || t->l.kind == DX_CONV_3_HALF ? 0 : 1;

  for (int64_t i = 0; i < dx_shape_count(o); i++) {
    const int64_t c = i % o.c, col = i / o.c % o.w, row = i / o.c / o.w % o.h, b = i / dx_shape_dim(o);

    y[i] = (double)t->w[t->l.b.at + c];
    for (int64_t uv = 0; uv < size * size; uv++) {
      const int64_t r = row * stride + uv / size - pad, q = col * stride + uv % size - pad;

      if (r < 0 || q < 0 || r >= s.h || q >= s.w) continue;
      const int64_t at = ((b * s.h + r) * s.w + q) * s.c, to = (c * size * size + uv) * s.c;
      for (int64_t ch = 0; ch < s.c; ch++) {
        y[i] += (double)t->x[at + ch] * (double)t->w[t->l.w.at + to + ch];
        gx[at + ch] += (double)t->gy[i] * (double)t->w[t->l.w.at + to + ch];
        gw[to + ch] += (double)t->gy[i] * (double)t->x[at + ch];
      }
    }
  }
}

static double relative(int64_t n, const float *got, const double *want)
{
  double off = 0, size = 0;

  for (int64_t i = 0; i < n; i++) {
    off += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
    size += want[i] * want[i];
  }
  return sqrt(off / size);
}

/* Root of the mean square of the error, relative to that of the value. */
static void check_conv_error(dx_conv_kind kind, dx_shape s, int64_t out, const char *set)
{
  conv_case t = conv_create(kind, s, out, set);
  const int64_t ny = dx_shape_count(t.o), nx = dx_shape_count(s);
  double *y = calloc((size_t)ny, sizeof *y), *gx = calloc((size_t)nx, sizeof *gx), *gw = calloc((size_t)t.l.w.n, sizeof *gw);

  if (!y || !gx || !gw) abort();
  conv_run(&t);
  conv_exact(&t, y, gx, gw);
  const double ey = relative(ny, t.y, y), ex = relative(nx, t.gx, gx), ew = relative(t.l.w.n, t.gw + t.l.w.at, gw);

  ok(ey < 2e-6 && ex < 2e-6 && ew < 2e-6, "conv kind %d, %lld -> %lld, %lld x %lld, %s: errors y %.1e gx %.1e gw %.1e", (int)kind,
     (long long)s.c, (long long)out, (long long)s.h, (long long)s.w, set, ey, ex, ew);
  free(y);
  free(gx);
  free(gw);
  conv_destroy(&t);
}

/* The first example in the last slot of another pass, of another size: the same y and gx, bit for bit. */
static void check_conv_slots(dx_conv_kind kind, dx_shape s, int64_t out, const char *set)
{
  conv_case a = conv_create(kind, s, out, set), b = conv_create(kind, (dx_shape){s.b + 3, s.h, s.w, s.c}, out, set);
  const int64_t nx = dx_shape_dim(s), ny = dx_shape_dim(a.o), last = b.s.b - 1;

  memcpy(b.x + last * nx, a.x, (size_t)nx * sizeof *a.x);
  memcpy(b.gy + last * ny, a.gy, (size_t)ny * sizeof *a.gy);
  conv_run(&a);
  conv_run(&b);
  ok(!memcmp(a.y, b.y + last * ny, (size_t)ny * sizeof *a.y) && !memcmp(a.gx, b.gx + last * nx, (size_t)nx * sizeof *a.gx),
     "conv kind %d, %lld -> %lld, %lld x %lld, %s: the same bits in another slot", (int)kind, (long long)s.c, (long long)out,
     (long long)s.h, (long long)s.w, set);
  conv_destroy(&a);
  conv_destroy(&b);
}

/* All ways, and sizes that are no whole number of tiles, vectors, panels or blocks. */
static void check_convs(void)
{
  static const struct { dx_conv_kind kind; dx_shape s; int64_t out; } how[] = {
    {DX_CONV_1, {3, 7, 7, 40}, 70},         {DX_CONV_1, {2, 28, 28, 33}, 17},  {DX_CONV_3, {2, 28, 28, 32}, 48},
    {DX_CONV_3, {3, 14, 14, 64}, 64},       {DX_CONV_3, {5, 7, 7, 128}, 96},   {DX_CONV_3, {8, 4, 4, 256}, 72},
    {DX_CONV_3, {2, 13, 11, 37}, 70},       {DX_CONV_3, {2, 3, 2, 19}, 33},    {DX_CONV_3, {2, 20, 17, 3}, 40},
    {DX_CONV_3, {2, 20, 17, 40}, 3},        {DX_CONV_3, {3, 7, 7, 3}, 3},      {DX_CONV_3_DIRECT, {3, 14, 14, 32}, 32},
    {DX_CONV_3_DIRECT, {2, 9, 5, 40}, 3},   {DX_CONV_3_HALF, {3, 14, 14, 32}, 40}, {DX_CONV_3_HALF_1, {3, 28, 14, 24}, 24},
    {DX_CONV_3, {9, 16, 16, 40}, 40},       {DX_CONV_3, {2, 8, 8, 512}, 96},   {DX_CONV_3, {2, 4, 4, 96}, 512},
    {DX_CONV_3, {3, 12, 12, 24}, 24}}; /* 45 tiles: another slot begins at another place of a panel */
  const char *sets[3];
  const int n = dx_kernels_available(sets);

  for (size_t i = 0; i < sizeof how / sizeof *how; i++)
    for (int j = n > 1; j < n; j++) {
      check_conv_error(how[i].kind, how[i].s, how[i].out, sets[j]);
      check_conv_slots(how[i].kind, how[i].s, how[i].out, sets[j]);
    }
}

static void set(const dx_model *m, void *config, const char *key, const char *value)
{
  const dx_option *const o = dx_option_find(m->options, key);
  dx_error *const e = o ? dx_option_read(o, value, config) : NULL;

  ok(o && !e, "%s: %s is %s", m->name, key, value);
  dx_error_free(e);
}

static void check_points(const dx_model *m)
{
  void *config = calloc(1, m->config_size);

  dx_option_presets(m->options, config);
  set(m, config, "dropout", "0.3");
  check_model(m, config, m->name, (dx_shape){1, 1, 1, 2});
  check_model(m, config, m->name, (dx_shape){1, 2, 3, 3});
  free(config);
}

/* Settings after one another: each network has all those before it as well. */
static void check_unets(const dx_model *m)
{
  static const char *const how[][2] = {
    {"channels", "8"}, {"multipliers", "[1, 2]"}, {"norm_groups", "4"}, {"attention", "[3]"}, {"dropout", "0.3"}, {"blocks", "1"},
    {"", "unet by default"}, {"mid", "none"}, {"", "unet without a middle"}, {"multipliers", "[2, 1]"}, {"", "unet that joins to the width of its blocks"},
    {"mid", "attention"}, {"multipliers", "[1, 2]"}, {"down", "resample"}, {"up", "resample"}, {"classes", "3"}, {"", "unet, resampled, classes"},
    {"time", "scale"}, {"head_channels", "4"}, {"", "unet, scale, heads"},
    {"conv", "direct"}, {"", "unet, direct convolutions"}, {"conv", "auto"},
    /* the time's layers through BLIS */
    {"channels", "136"}, {"", "unet, wide"}};
  void *config = calloc(1, m->config_size);

  dx_option_presets(m->options, config);
  for (size_t i = 0; i < sizeof how / sizeof *how; i++)
    if (*how[i][0]) set(m, config, how[i][0], how[i][1]);
    else {
      check_model(m, config, how[i][1], (dx_shape){1, 4, 6, 3});
      check_recompute(m, config, how[i][1], (dx_shape){1, 4, 6, 3});
      check_crew(m, config, how[i][1], (dx_shape){1, 4, 6, 3}, 3);
    }
  set(m, config, "channels", "16");
  set(m, config, "attention", "[18]");
  check_crew(m, config, "unet, one image of some blocks of tiles", (dx_shape){1, 36, 36, 3}, 1);
  check_crew(m, config, "unet, images of many blocks of tiles", (dx_shape){1, 36, 36, 3}, 3);
  free(config);
}

int main(void)
{
  check_linear(3, 33, DX_RELU);   /* narrow */
  check_linear(17, 2, DX_PLAIN);
  check_linear(31, 45, DX_RELU);
  if (dx_blis_start(NULL)) abort();
  check_linear(700, 400, DX_RELU); /* BLIS */
  check_conv(DX_CONV_1, (dx_shape){3, 5, 7, 3}, 5, "conv 1x1");
  check_conv(DX_CONV_3, (dx_shape){2, 5, 7, 3}, 5, "conv 3x3");
  check_conv(DX_CONV_3, (dx_shape){2, 1, 1, 4}, 3, "conv 3x3 of one pixel");
  check_conv(DX_CONV_3, (dx_shape){2, 21, 19, 5}, 17, "conv 3x3 in blocks");
  check_conv(DX_CONV_3, (dx_shape){2, 5, 7, 9}, 37, "conv 3x3 by tiles");
  check_conv(DX_CONV_3, (dx_shape){9, 14, 13, 40}, 16, "conv 3x3 by blocks of tiles");
  check_conv(DX_CONV_3, (dx_shape){3, 1, 2, 8}, 33, "conv 3x3 by tiles, two pixels");
  check_conv(DX_CONV_3_DIRECT, (dx_shape){2, 5, 7, 9}, 37, "conv 3x3, direct");
  check_conv(DX_CONV_3, (dx_shape){3, 6, 5, 9}, 3, "conv 3x3 by shifts");
  check_conv(DX_CONV_3_HALF, (dx_shape){3, 6, 4, 3}, 5, "conv 3x3 to half");
  check_conv(DX_CONV_3_HALF_1, (dx_shape){2, 2, 10, 2}, 7, "conv 3x3 to half, zeros around");
  check_convs();
  for (int i = 0; dx_model_at(i); i++)
    if (strcmp(dx_model_at(i)->name, "unet")) check_points(dx_model_at(i));
    else check_unets(dx_model_at(i));
  return done();
}
