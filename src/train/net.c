/* SPDX-License-Identifier: Apache-2.0 */
/* train/net.c - see net.h. */
#include "train/net.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"
#include "comm/reduce.h"

/* Parts of the packing, for all threads of a node: more than a model has layers. */
enum { PARTS = 256 };

/* Packed weights: the ranks of a node make and read the same ones, where that is worth its barriers. */
typedef struct {
  float *floats;
  atomic_int *next; /* part that nobody has begun */
  size_t bytes;     /* shared, the counter's line of the cache before the floats; 0: our own */
  atomic_int own_next;
} packed_weights;

/* What one crew needs for its passes. */
typedef struct {
  dx_arena arena;
  void *acts;
} worker;

struct dx_net {
  const dx_team *team;
  const dx_model *model;
  void *state;
  dx_params params;
  const float *w;
  dx_pass_kind kind; /* that was reserved last */
  packed_weights packed;
  worker *worker; /* (threads) */
  dx_profile *profile; /* (threads, and their sum), or NULL */
};

dx_error *dx_net_create(const dx_team *team, const dx_model *model, const void *config,
                        const dx_model_spec *spec, dx_net **out)
{
  dx_net *n = calloc(1, sizeof *n);
  dx_error *err = NULL;

  if (!n) return DX_FAIL(INTERNAL, "no memory for a network");
  *n = (dx_net){.team = team, .model = model};
  DX_TRY_GOTO(err, out, model->create(config, spec, &n->params, &n->state));
  n->worker = calloc((size_t)team->threads, sizeof *n->worker);
  if (!n->worker) err = DX_FAIL(INTERNAL, "no memory for a network");
  for (int i = 0; i < team->threads && !err; i++)
    if (!(n->worker[i].acts = calloc(1, model->acts_size)))
      err = DX_FAIL(INTERNAL, "no memory for a network");
out:
  if (err) dx_net_destroy(n);
  else *out = n;
  return err;
}

static void free_packed(packed_weights *p)
{
  if (p->bytes) dx_comm_node_memory_free(p->next, p->bytes);
  else free(p->floats);
  *p = (packed_weights){0};
}

void dx_net_destroy(dx_net *n)
{
  if (!n) return;
  for (int i = 0; n->worker && i < n->team->threads; i++) {
    dx_arena_destroy(&n->worker[i].arena);
    free(n->worker[i].acts);
  }
  free(n->worker);
  free(n->profile);
  free_packed(&n->packed);
  if (n->state) n->model->destroy(n->state);
  dx_params_destroy(&n->params);
  free(n);
}

const dx_params *dx_net_params(const dx_net *n) { return &n->params; }

bool dx_net_shares(const dx_net *n) { return n->model->shares; }

size_t dx_net_bytes(const dx_net *n, dx_pass_kind kind, int64_t B, int crews)
{
  dx_arena a = {.members = dx_team_members(n->team, crews)};
  void *const acts = calloc(1, n->model->acts_size);

  if (!acts) return 0;
  n->model->place(n->state, B, kind, &a, acts);
  free(acts);
  return a.peak;
}

int64_t dx_net_packed(const dx_net *n) { return n->model->packed(n->state); }

/* Workspaces of so many crews. */
static dx_error *reserve(dx_net *n, int64_t B, int crews)
{
  const size_t need = dx_net_bytes(n, n->kind, B, crews);

  if (need == 0) return DX_FAIL(INTERNAL, "no memory to measure a network");
  for (int i = 0; i < n->team->threads; i++) {
    worker *const w = &n->worker[i];

    if (i >= crews || w->arena.size < need) dx_arena_destroy(&w->arena);
    if (i >= crews) continue;
    if (!w->arena.base) DX_TRY(dx_error_in(dx_arena_create(need, &w->arena), "a grain of %lld examples", (long long)B));
    w->arena.members = dx_team_members(n->team, crews);
    dx_arena_release(&w->arena, 0);
    n->model->place(n->state, B, n->kind, &w->arena, w->acts);
  }
  return NULL;
}

/* In equal parts beside the ranks of the node; whoever packs waits for all. */
static void take_share(const dx_comm *c, char *memory, size_t bytes)
{
  const int64_t size = dx_comm_node_size(c), rank = dx_comm_node_rank(c);
  const int64_t first = dx_share_first((int64_t)bytes, size, rank), last = dx_share_first((int64_t)bytes, size, rank + 1);

  dx_comm_node_memory_take(memory + first, (size_t)(last - first));
}

bool dx_net_packs_together(const dx_net *n) { return dx_net_packed(n) >= DX_BLOCKS_WORTH_THREADS * DX_BLOCK; }

/* Collective on the node */
static dx_error *reserve_packed(dx_net *n)
{
  enum { HEAD = 64 };
  const size_t bytes = (size_t)dx_net_packed(n) * sizeof(float);
  packed_weights *const p = &n->packed;

  if (p->floats) return NULL;
  p->next = dx_net_packs_together(n) ? dx_comm_node_memory(n->team->comm, HEAD + bytes) : NULL;
  if (p->next) {
    take_share(n->team->comm, (char *)p->next, HEAD + bytes);
    p->bytes = HEAD + bytes;
    p->floats = (float *)((char *)p->next + HEAD);
    return NULL;
  }
  p->next = &p->own_next;
  p->floats = dx_memory(bytes);
  return p->floats ? NULL : DX_FAIL(INTERNAL, "no memory for packed weights of %zu bytes", bytes);
}

void dx_net_rest(dx_net *n)
{
  for (int i = 0; i < n->team->threads; i++) dx_arena_destroy(&n->worker[i].arena);
  free_packed(&n->packed);
}

/* The parts that are left, one after the other. */
static void pack(dx_net *n)
{
  int part;

  dx_float_mode(); /* this may be the first that a thread computes */
  while ((part = atomic_fetch_add(n->packed.next, 1)) < PARTS)
    n->model->pack(n->state, &n->team->kernel, n->kind, n->w, n->packed.floats, part, PARTS);
}

void dx_net_load(dx_net *n, const float *w)
{
  const dx_comm *const c = n->team->comm;
  const bool shared = n->packed.bytes > 0;

  n->w = w;
  if (shared) dx_comm_node_barrier(c); /* nobody reads the old ones any more, and parts are counted anew */
#pragma omp parallel num_threads(n->team->threads) if (n->params.floats >= DX_BLOCKS_WORTH_THREADS * DX_BLOCK)
  pack(n);
  if (shared) dx_comm_node_barrier(c);
  if (!shared || dx_comm_node_rank(c) == 0) atomic_store(n->packed.next, 0); /* read again after the next barrier */
}

dx_error *dx_net_ready(dx_net *n, dx_pass_kind kind, int64_t B, int crews, const float *w)
{
  n->kind = kind;
  dx_error *err = reserve(n, B, crews), *const packed = reserve_packed(n); /* both, whatever becomes of one */

  if (err) dx_error_free(packed);
  else err = packed;
  err = dx_comm_agree(n->team->comm, err);
  if (err) dx_net_rest(n); /* alike on all ranks again */
  else dx_net_load(n, w);
  return err;
}

static dx_pass pass_of(const dx_net *n, int crew, const dx_draw *draw, float *gw)
{
  if (n->profile) n->profile[crew].members = dx_crew_size(&n->team->crew[crew]);
  return (dx_pass){.kernel = &n->team->kernel, .w = n->w, .packed = n->packed.floats, .gw = gw,
                   .work = &n->worker[crew].arena, .crew = &n->team->crew[crew], .draw = draw,
                   .profile = n->profile ? &n->profile[crew] : NULL};
}

static dx_profile_row whole(bool backward) { return (dx_profile_row){.kind = "pass", .backward = backward, .at = -1}; }

dx_error *dx_net_watch(dx_net *n)
{
  assert(!n->profile);
  n->profile = calloc((size_t)n->team->threads + 1, sizeof *n->profile);
  return n->profile ? NULL : DX_FAIL(INTERNAL, "no memory for a profile");
}

const dx_profile *dx_net_profile(dx_net *n)
{
  if (!n->profile) return NULL;
  dx_profile *const sum = &n->profile[n->team->threads];

  *sum = (dx_profile){0};
  for (int i = 0; i < n->team->threads; i++) {
    for (int k = 0; k < n->profile[i].rows; k++) dx_profile_add(sum, &n->profile[i].row[k]);
    sum->lost += n->profile[i].lost;
  }
  return sum;
}

void dx_net_forward(dx_net *n, int crew, int64_t B, const dx_draw *draw, const float *time, const int32_t *label,
                    const float *x, float *y)
{
  const dx_pass p = pass_of(n, crew, draw, NULL);
  const dx_condition c = {.time = time, .label = label};
  const double begin = dx_profile_begin(p.profile);

  n->model->forward(n->state, &p, B, x, &c, n->worker[crew].acts, y);
  dx_profile_end(p.profile, whole(false), begin);
}

void dx_net_backward(dx_net *n, int crew, int64_t B, const dx_draw *draw, float *gy, float *gw, float *gx)
{
  const dx_pass p = pass_of(n, crew, draw, gw);

  assert(n->kind == DX_PASS_TRAIN);
  const double begin = dx_profile_begin(p.profile);

  n->model->backward(n->state, &p, B, n->worker[crew].acts, gy, gx);
  dx_profile_end(p.profile, whole(true), begin);
}
