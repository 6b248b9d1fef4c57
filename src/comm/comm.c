/* SPDX-License-Identifier: Apache-2.0 */
/* comm/comm.c - see comm.h. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "comm/comm.h"

#include <fcntl.h>
#include <limits.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dx_comm {
  MPI_Comm mpi, node;
  int rank, size, node_rank, node_size, nodes;
  int *leader;                 /* (size) */
  int sharers, place;          /* ranks with our affinity mask, our place among them */
  int *count, *offset;         /* room for the int counts of one exchange */
  char host[256];
};

struct dx_exchange {
  const dx_comm *comm;
  MPI_Request request;
  int *counts;                 /* 4 x size: send counts, offsets, receive counts, offsets */
};

_Noreturn void dx_comm_panic(const dx_comm *c, dx_code code, const char *what)
{
  fprintf(stderr, "diffx: error: rank %d: %s\n", c ? c->rank : -1, what);
  fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, (int)code);
  abort();
}

static int narrow(int64_t n)
{
  if (n < 0 || n > INT_MAX) dx_comm_panic(NULL, DX_E_INTERNAL, "a count is too large for MPI");
  return (int)n;
}

/* Ranks of this node, and those among them bound to the same cores. */
static void look_at_node(dx_comm *c)
{
  cpu_set_t mine, *all;
  int leader;

  MPI_Comm_split_type(c->mpi, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &c->node);
  MPI_Comm_size(c->node, &c->node_size);
  MPI_Comm_rank(c->node, &c->node_rank);
  CPU_ZERO(&mine);
  if (sched_getaffinity(0, sizeof mine, &mine)) CPU_SET(0, &mine);
  c->sharers = 0;
  all = malloc((size_t)c->node_size * sizeof *all);
  if (!all) dx_comm_panic(c, DX_E_INTERNAL, "out of memory at start");
  MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, c->node);
  for (int i = 0; i < c->node_size; i++) {
    if (!CPU_EQUAL(&mine, &all[i])) continue;
    c->sharers++;
    if (i < c->node_rank) c->place++;
  }
  free(all);
  leader = c->rank;
  MPI_Bcast(&leader, 1, MPI_INT, 0, c->node);
  MPI_Allgather(&leader, 1, MPI_INT, c->leader, 1, MPI_INT, c->mpi);
  c->nodes = 0;
  for (int i = 0; i < c->size; i++) c->nodes += c->leader[i] == i;
}

/* Cores in the mask of a process; 0 where the system does not tell. */
static int cores_of(pid_t process)
{
  cpu_set_t mask;

  CPU_ZERO(&mask);
  return sched_getaffinity(process, sizeof mask, &mask) ? 0 : CPU_COUNT(&mask);
}

void dx_comm_cores(int *ours, int *launcher)
{
  *ours = cores_of(0);
  *launcher = cores_of(getppid());
  if (*launcher < *ours) *launcher = *ours;
}

static dx_comm *create(void)
{
  dx_comm *const c = calloc(1, sizeof *c);

  if (!c) return NULL;
  *c = (dx_comm){.mpi = MPI_COMM_NULL, .node = MPI_COMM_NULL, .size = 1, .node_size = 1, .nodes = 1, .sharers = 1};
  if (gethostname(c->host, sizeof c->host - 1)) strcpy(c->host, "unknown");
  return c;
}

dx_error *dx_comm_start_alone(dx_comm **out)
{
  *out = create();
  return *out ? NULL : DX_FAIL(INTERNAL, "out of memory at start");
}

bool dx_comm_alone(const dx_comm *c) { return c->mpi == MPI_COMM_NULL; }

bool dx_comm_launched(int *ranks, int *rank)
{
  static const char *const names[][2] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                         {"PMI_SIZE", "PMI_RANK"}};
  *ranks = 1;
  *rank = 0;
  for (int i = 0; i < 2; i++)
    if (getenv(names[i][0]) && getenv(names[i][1])) {
      *ranks = atoi(getenv(names[i][0]));
      *rank = atoi(getenv(names[i][1]));
      return true;
    }
  return false;
}

/* mpiexec takes the ranks' output through a pipe and passes it on to its own, which is our parent's. */
bool dx_comm_terminal(void)
{
  char name[64];
  int ranks, rank;

  if (isatty(STDERR_FILENO)) return true;
  if (!dx_comm_launched(&ranks, &rank)) return false;
  snprintf(name, sizeof name, "/proc/%ld/fd/%d", (long)getppid(), STDERR_FILENO);
  const int fd = open(name, O_WRONLY | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return false;
  const bool yes = isatty(fd);
  close(fd);
  return yes;
}

dx_error *dx_comm_start(int *argc, char ***argv, dx_comm **out)
{
  int got;
  dx_comm *c = create();

  MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &got);
  if (!c) dx_comm_panic(NULL, DX_E_INTERNAL, "out of memory at start");
  if (got < MPI_THREAD_FUNNELED)
    dx_comm_panic(NULL, DX_E_INTERNAL, "this MPI gives no MPI_THREAD_FUNNELED");
  MPI_Comm_dup(MPI_COMM_WORLD, &c->mpi);
  MPI_Comm_rank(c->mpi, &c->rank);
  MPI_Comm_size(c->mpi, &c->size);
  c->count = calloc((size_t)c->size, sizeof *c->count);
  c->offset = calloc((size_t)c->size, sizeof *c->offset);
  c->leader = calloc((size_t)c->size, sizeof *c->leader);
  if (!c->count || !c->offset || !c->leader) dx_comm_panic(c, DX_E_INTERNAL, "out of memory at start");
  look_at_node(c);
  *out = c;
  return NULL;
}

void dx_comm_stop(dx_comm *c)
{
  if (!c) return;
  const bool alone = dx_comm_alone(c);

  if (!alone) {
    MPI_Comm_free(&c->node);
    MPI_Comm_free(&c->mpi);
  }
  free(c->count);
  free(c->offset);
  free(c->leader);
  free(c);
  if (!alone) MPI_Finalize();
}

int dx_comm_rank(const dx_comm *c) { return c->rank; }
int dx_comm_size(const dx_comm *c) { return c->size; }
int dx_comm_node_size(const dx_comm *c) { return c->node_size; }
int dx_comm_node_rank(const dx_comm *c) { return c->node_rank; }
int dx_comm_leader(const dx_comm *c, int rank) { return c->leader ? c->leader[rank] : 0; }
int dx_comm_nodes(const dx_comm *c) { return c->nodes; }
const char *dx_comm_host(const dx_comm *c) { return c->host; }

void dx_comm_sharers(const dx_comm *c, int *sharers, int *place)
{
  *sharers = c->sharers;
  *place = c->place;
}

void dx_comm_version(char *text, int room)
{
  char whole[MPI_MAX_LIBRARY_VERSION_STRING];
  int n;

  MPI_Get_library_version(whole, &n); /* allowed before MPI_Init */
  whole[strcspn(whole, ",\n")] = '\0';
  snprintf(text, (size_t)room, "%s", whole);
}

dx_error *dx_comm_agree(const dx_comm *c, dx_error *mine)
{
  int who[2] = {mine ? c->rank : c->size, mine != NULL}, head[2] = {0, 0};
  dx_error *verdict;
  char *text;

  if (c->size == 1) return mine;
  MPI_Allreduce(MPI_IN_PLACE, who, 2, MPI_INT, MPI_MIN, c->mpi);
  const int first = who[0], all = who[1];
  if (first == c->size) return NULL; /* nobody failed */

  if (c->rank == first) {
    if (!all) mine = dx_error_in(mine, "rank %d", c->rank);
    head[0] = (int)dx_error_code(mine);
    head[1] = (int)strlen(dx_error_text(mine)) + 1;
  }
  MPI_Bcast(head, 2, MPI_INT, first, c->mpi);
  text = calloc(1, (size_t)head[1]);
  if (!text) dx_comm_panic(c, DX_E_INTERNAL, "out of memory while agreeing on an error");
  if (c->rank == first) memcpy(text, dx_error_text(mine), (size_t)head[1]);
  MPI_Bcast(text, head[1], MPI_CHAR, first, c->mpi);
  dx_error_free(mine);
  verdict = dx_error_copy((dx_code)head[0], text);
  free(text);
  return verdict;
}

void dx_comm_barrier(const dx_comm *c)
{
  if (c->size > 1) MPI_Barrier(c->mpi);
}

void dx_comm_broadcast(const dx_comm *c, void *bytes, size_t size)
{
  const size_t most = (size_t)1 << 30;
  char *p = bytes;

  for (size_t at = 0; at < size && c->size > 1; at += most)
    MPI_Bcast(p + at, narrow((int64_t)(size - at < most ? size - at : most)), MPI_BYTE, 0, c->mpi);
}

dx_error *dx_comm_broadcast_text(const dx_comm *c, char **text)
{
  int64_t n = c->rank == 0 && *text ? (int64_t)strlen(*text) + 1 : 0;
  dx_error *err = NULL;

  dx_comm_broadcast(c, &n, sizeof n);
  if (c->rank) {
    *text = n ? malloc((size_t)n) : NULL;
    if (n && !*text) err = DX_FAIL(INTERNAL, "no memory for a text of %lld bytes", (long long)n);
  }
  DX_TRY(dx_comm_agree(c, err));
  dx_comm_broadcast(c, *text, (size_t)n);
  return NULL;
}

void dx_comm_node_barrier(const dx_comm *c)
{
  if (c->node_size > 1) MPI_Barrier(c->node);
}

void dx_comm_node_broadcast(const dx_comm *c, void *bytes, int size)
{
  if (c->node_size > 1) MPI_Bcast(bytes, size, MPI_BYTE, 0, c->node);
}

bool dx_comm_node_all(const dx_comm *c, bool mine)
{
  int all = mine;

  if (c->node_size > 1) MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_LAND, c->node);
  return all;
}

void dx_comm_node_gather(const dx_comm *c, const void *mine, int size, void *all)
{
  if (c->node_size == 1) memcpy(all, mine, (size_t)size);
  else MPI_Allgather(mine, size, MPI_BYTE, all, size, MPI_BYTE, c->node);
}

uint64_t dx_comm_sum_u64(const dx_comm *c, uint64_t mine)
{
  if (c->size > 1) MPI_Allreduce(MPI_IN_PLACE, &mine, 1, MPI_UINT64_T, MPI_SUM, c->mpi);
  return mine;
}

int64_t dx_comm_max_i64(const dx_comm *c, int64_t mine)
{
  if (c->size > 1) MPI_Allreduce(MPI_IN_PLACE, &mine, 1, MPI_INT64_T, MPI_MAX, c->mpi);
  return mine;
}

int64_t dx_comm_min_i64(const dx_comm *c, int64_t mine)
{
  if (c->size > 1) MPI_Allreduce(MPI_IN_PLACE, &mine, 1, MPI_INT64_T, MPI_MIN, c->mpi);
  return mine;
}

/* The widest MPI type of that many bytes: MPI's counts are ints. */
static MPI_Datatype type_of(size_t unit, int64_t *factor)
{
  *factor = 1;
  if (unit == sizeof(double)) return MPI_DOUBLE;
  if (unit == sizeof(float)) return MPI_FLOAT;
  *factor = (int64_t)unit;
  return MPI_BYTE;
}

void dx_comm_gather(const dx_comm *c, const void *mine, int64_t n, void *all, const int64_t *counts,
                    const int64_t *offsets, size_t unit)
{
  int64_t f;
  const MPI_Datatype type = type_of(unit, &f);

  if (c->size == 1) {
    memcpy((char *)all + offsets[0] * (int64_t)unit, mine, (size_t)n * unit);
    return;
  }
  for (int r = 0; r < c->size && c->rank == 0; r++) {
    c->count[r] = narrow(counts[r] * f);
    c->offset[r] = narrow(offsets[r] * f);
  }
  MPI_Gatherv(mine, narrow(n * f), type, all, c->count, c->offset, type, 0, c->mpi);
}

void dx_comm_all_gather(const dx_comm *c, const void *mine, int64_t n, void *all,
                        const int64_t *counts, const int64_t *offsets, size_t unit)
{
  int64_t f;
  const MPI_Datatype type = type_of(unit, &f);
  char *const place = (char *)all + offsets[c->rank] * (int64_t)unit;

  if (c->size == 1) {
    if (place != mine) memcpy(place, mine, (size_t)n * unit);
    return;
  }
  for (int r = 0; r < c->size; r++) {
    c->count[r] = narrow(counts[r] * f);
    c->offset[r] = narrow(offsets[r] * f);
  }
  MPI_Allgatherv(place == mine ? MPI_IN_PLACE : mine, narrow(n * f), type, all, c->count, c->offset,
                 type, c->mpi);
}

void dx_comm_slices(const dx_comm *c, const dx_slice *send, int sends, const dx_slice *receive,
                    int receives, void *requests)
{
  MPI_Request *const r = requests;
  int n = 0;

  for (int i = 0; i < receives; i++)
    MPI_Irecv(receive[i].floats, narrow(receive[i].count), MPI_FLOAT, receive[i].rank, receive[i].tag,
              c->mpi, &r[n++]);
  for (int i = 0; i < sends; i++)
    MPI_Isend(send[i].floats, narrow(send[i].count), MPI_FLOAT, send[i].rank, send[i].tag, c->mpi,
              &r[n++]);
  MPI_Waitall(n, r, MPI_STATUSES_IGNORE);
}

size_t dx_comm_request_size(void) { return sizeof(MPI_Request); }

dx_error *dx_exchange_create(const dx_comm *c, dx_exchange **out)
{
  dx_exchange *x = calloc(1, sizeof *x);
  int *counts = calloc(4 * (size_t)c->size, sizeof *counts);

  if (!x || !counts) {
    free(x);
    free(counts);
    return DX_FAIL(INTERNAL, "no memory for an exchange between ranks");
  }
  *x = (dx_exchange){.comm = c, .request = MPI_REQUEST_NULL, .counts = counts};
  *out = x;
  return NULL;
}

void dx_exchange_start(dx_exchange *x, const void *send, const int64_t *send_counts,
                       const int64_t *send_offsets, void *receive, const int64_t *receive_counts,
                       const int64_t *receive_offsets)
{
  const int size = x->comm->size;

  if (size == 1) {
    memcpy((char *)receive + receive_offsets[0], (const char *)send + send_offsets[0], (size_t)send_counts[0]);
    return;
  }
  int *const sc = x->counts, *const so = sc + size, *const rc = so + size, *const ro = rc + size;

  for (int r = 0; r < size; r++) {
    sc[r] = narrow(send_counts[r]);
    so[r] = narrow(send_offsets[r]);
    rc[r] = narrow(receive_counts[r]);
    ro[r] = narrow(receive_offsets[r]);
  }
  MPI_Ialltoallv(send, sc, so, MPI_BYTE, receive, rc, ro, MPI_BYTE, x->comm->mpi, &x->request);
}

void dx_exchange_finish(dx_exchange *x)
{
  if (x->comm->size > 1) MPI_Wait(&x->request, MPI_STATUS_IGNORE);
}

void dx_exchange_destroy(dx_exchange *x)
{
  if (!x) return;
  dx_exchange_finish(x);
  free(x->counts);
  free(x);
}
