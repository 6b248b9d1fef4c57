/* SPDX-License-Identifier: Apache-2.0 */
/* comm/comm.h - the ranks of a run: start, stop, agree, and a few exchanges.

   Every function here is Collective unless it says Local. MPI keeps its
   default handler, which ends the whole job; so these calls return no errors
   but verdicts. Only the main thread calls them. */
#ifndef DX_COMM_COMM_H
#define DX_COMM_COMM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/share.h"

typedef struct dx_comm dx_comm;

dx_error *dx_comm_start(int *argc, char ***argv, dx_comm **out) DX_MUST_CHECK;
/* One rank without MPI: for commands that must start at once, anywhere.  Local */
dx_error *dx_comm_start_alone(dx_comm **out) DX_MUST_CHECK;
bool dx_comm_alone(const dx_comm *c); /* Local: made so */
/* Ranks and place that the launcher has given this process; false, 1 and 0 without one.  Local */
bool dx_comm_launched(int *ranks, int *rank);
/* Does what we write to stderr come out on a terminal, maybe by way of the launcher?  Local */
bool dx_comm_terminal(void);
void dx_comm_stop(dx_comm *c); /* NULL is fine */

int dx_comm_rank(const dx_comm *c);                /* Local */
int dx_comm_size(const dx_comm *c);                /* Local */
int dx_comm_node_size(const dx_comm *c);           /* Local: ranks on this node */
int dx_comm_nodes(const dx_comm *c);               /* Local: nodes of the job */
const char *dx_comm_host(const dx_comm *c);        /* Local */
void dx_comm_version(char *text, int room);        /* Local; starts nothing: "Open MPI v4.1.4" */

/* Ranks of this node whose affinity mask equals ours, and our place among them:
   they share its cores. */
void dx_comm_sharers(const dx_comm *c, int *sharers, int *place); /* Local */
/* Cores that this process may use, and those of this node that its launcher may: more where it bound us.  Local */
void dx_comm_cores(int *ours, int *launcher);

/* The ranks of this node among themselves. */
int dx_comm_node_rank(const dx_comm *c);           /* Local */
int dx_comm_leader(const dx_comm *c, int rank);    /* Local: the first rank of that rank's node */
void dx_comm_node_barrier(const dx_comm *c);
void dx_comm_node_broadcast(const dx_comm *c, void *bytes, int size); /* from the first of them */
bool dx_comm_node_all(const dx_comm *c, bool mine);
void dx_comm_node_gather(const dx_comm *c, const void *mine, int size, void *all); /* to each, in order of node rank */
/* Memory that the ranks of this node share: bytes of zeros, or NULL on all of them where a node has one rank or the system
   cannot do it. Everybody gives it back for himself. */
void *dx_comm_node_memory(const dx_comm *c, size_t bytes);
void dx_comm_node_memory_free(void *p, size_t bytes); /* Local; NULL is fine */
/* Before this rank touches a part that is new, or was at rest: its whole huge pages come now, beside this rank, where the
   system can do it. What stands there stays. Nobody may touch that part meanwhile, or small pages stay.  Local */
void dx_comm_node_memory_take(void *p, size_t bytes);
/* Nobody of the node needs what stands on these whole pages any more: they go back to the system, and are zeros when next
   touched. Where there is no such call all stays as it is.  Local */
void dx_comm_node_memory_rest(void *p, size_t bytes);

/* Every rank hands in its own result (NULL or an error) and gets the same
   verdict back, that of the lowest rank that failed, with "rank R: " before it
   unless all have failed. Takes ownership of mine. */
dx_error *dx_comm_agree(const dx_comm *c, dx_error *mine) DX_MUST_CHECK;

void dx_comm_barrier(const dx_comm *c);
void dx_comm_broadcast(const dx_comm *c, void *bytes, size_t size); /* from rank 0 */
/* Rank 0's NUL-ended text to all: *text is malloc'd on the others (NULL stays NULL). */
dx_error *dx_comm_broadcast_text(const dx_comm *c, char **text) DX_MUST_CHECK;
uint64_t dx_comm_sum_u64(const dx_comm *c, uint64_t mine); /* modulo 2^64: any order, one answer */
int64_t dx_comm_max_i64(const dx_comm *c, int64_t mine);
int64_t dx_comm_min_i64(const dx_comm *c, int64_t mine);

/* Blocks of bytes; counts and offsets in units of `unit` bytes, one per rank.
   A count of zero is fine on any rank. */
void dx_comm_gather(const dx_comm *c, const void *mine, int64_t n, void *all,
                    const int64_t *counts, const int64_t *offsets, size_t unit); /* to rank 0 */
/* mine may already stand at its place in all. */
void dx_comm_all_gather(const dx_comm *c, const void *mine, int64_t n, void *all,
                        const int64_t *counts, const int64_t *offsets, size_t unit);

/* Slices of float vectors sent and received, all at once; every send has its receive on
   the other side with the same tag. Not to oneself. requests: room for sends + receives
   of dx_comm_request_size bytes each, so that a step allocates nothing. */
typedef struct { float *floats; int64_t count; int rank, tag; } dx_slice;
void dx_comm_slices(const dx_comm *c, const dx_slice *send, int sends, const dx_slice *receive,
                    int receives, void *requests);
size_t dx_comm_request_size(void); /* Local */

/* All-to-all of byte blocks, in the background: start, do other work, finish. The
   buffers and the count arrays must stand until then. One exchange at a time per handle. */
typedef struct dx_exchange dx_exchange;
dx_error *dx_exchange_create(const dx_comm *c, dx_exchange **out) DX_MUST_CHECK; /* Local */
void dx_exchange_start(dx_exchange *x, const void *send, const int64_t *send_counts,
                       const int64_t *send_offsets, void *receive, const int64_t *receive_counts,
                       const int64_t *receive_offsets); /* bytes */
void dx_exchange_finish(dx_exchange *x); /* nothing under way: returns at once */
void dx_exchange_destroy(dx_exchange *x);

/* The watchdog: while armed, a rank that says nothing for limit seconds (0: any time) ends the
   job with status 6, naming the rank and the last thing it said. Its thread also calls
   tick (NULL: nothing) every 30 s, whatever the rank is busy with.  Local */
void dx_watch_start(const dx_comm *c, double limit_seconds, void (*tick)(void *ctx), void *ctx);
void dx_watch_say(const char *operation);                    /* a literal; cheap */
void dx_watch_stop(void);

/* End the whole job now: for what cannot be told in an orderly way.  Local */
_Noreturn void dx_comm_panic(const dx_comm *c, dx_code code, const char *what);
#endif
