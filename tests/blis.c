/* SPDX-License-Identifier: Apache-2.0 */
/* blis.c - pinning BLIS by name, one child per start, and the bits of its products. */
#include "kernel/kernel.h"

#include "tap.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { M = 67, N = 131, K = 259, RC = N + 3 };

/* What a child found; small enough for one write to a pipe. */
typedef struct {
  int code;           /* 0 or the error's */
  char text[200];     /* of the error, or the set that BLIS runs */
  double worst;       /* of the products, against double */
  int beside;         /* floats between the rows of C were touched */
  int threads;        /* of the process afterwards */
  unsigned long hash; /* of all bits of all products */
} report;

static unsigned long add_bits(unsigned long hash, const float *c, int64_t n)
{
  for (int64_t i = 0; i < n; i++) {
    unsigned bits;

    memcpy(&bits, c + i, sizeof bits);
    hash = (hash ^ bits) * 0x9E3779B97F4A7C15u;
  }
  return hash;
}

/* C = alpha op(A) op(B) + beta C, each stored along rows or columns. */
static void product(int turn_a, int turn_b, float alpha, float beta, report *r)
{
  static float a[M * K], b[K * N], c[M * RC];
  const int64_t ras = turn_a ? 1 : K, cas = turn_a ? M : 1, rbs = turn_b ? 1 : N, cbs = turn_b ? K : 1;

  for (int i = 0; i < M * K; i++) a[i] = (float)((i * 919 % 1000) / 500.0 - 1);
  for (int i = 0; i < K * N; i++) b[i] = (float)((i * 1009 % 1000) / 500.0 - 1);
  for (int i = 0; i < M * RC; i++) c[i] = 3;
  dx_gemm_blis(M, N, K, alpha, a, ras, cas, b, rbs, cbs, beta, c, RC);
  for (int i = 0; i < M; i++) {
    for (int j = 0; j < N; j++) {
      double sum = 0;

      for (int l = 0; l < K; l++) sum += (double)a[i * ras + l * cas] * b[l * rbs + j * cbs];
      r->worst = fmax(r->worst, fabs(c[i * RC + j] - (alpha * sum + beta * 3.0)));
    }
    for (int j = N; j < RC; j++) r->beside |= c[i * RC + j] != 3;
  }
  r->hash = add_bits(r->hash, c, M * RC);
}

/* 1 where the system does not tell. */
static int count_threads(void)
{
  DIR *d = opendir("/proc/self/task");
  int n = 0;

  if (!d) return 1;
  for (const struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static report child(const char *ours)
{
  report r = {0};
  dx_error *e = dx_blis_start(ours);

  if (e) {
    r.code = (int)dx_error_code(e);
    snprintf(r.text, sizeof r.text, "%.190s", dx_error_text(e));
    dx_error_free(e);
    return r;
  }
  snprintf(r.text, sizeof r.text, "%s", dx_blis_kernels());
  for (int how = 0; how < 4; how++) product(how & 1, how >> 1, 1, 0, &r);
  product(0, 0, -0.5F, 2, &r);
  r.threads = count_threads();
  return r;
}

/* Start BLIS in a child whose environment has BLIS_NUM_THREADS and BLIS_ARCH_TYPE as given. */
static report start(const char *ours, const char *threads, const char *type)
{
  report r = {.code = -1};
  int ends[2], status = 0;

  if (pipe(ends)) return r;
  fflush(stdout);
  const pid_t pid = fork();

  if (pid == 0) {
    setenv("BLIS_NUM_THREADS", threads, 1);
    setenv("OMP_NUM_THREADS", threads, 1);
    if (type) setenv("BLIS_ARCH_TYPE", type, 1);
    else unsetenv("BLIS_ARCH_TYPE");
    r = child(ours);
    _exit(write(ends[1], &r, sizeof r) != sizeof r);
  }
  close(ends[1]);
  const int whole = pid > 0 && read(ends[0], &r, sizeof r) == sizeof r;

  close(ends[0]);
  if (pid > 0) waitpid(pid, &status, 0);
  if (!whole || status) r = (report){.code = -1, .text = "the child died"};
  return r;
}

static void pinned(const char *ours, const char *blis)
{
  const report one = start(ours, "1", NULL), two = start(ours, "2", NULL), other = start(ours, "1", "0");

  if (one.code == DX_E_CONFIG && strstr(one.text, "was configured without")) {
    ok(1, "%s: this BLIS has no such set and says so # SKIP %s", ours, one.text);
    return;
  }
  ok(one.code == 0 && !strcmp(one.text, blis), "%s: BLIS runs its set %s (%s)", ours, blis, one.text);
  ok(one.worst < 1e-4 && !one.beside, "%s: products are right, off by %.1e", ours, one.worst);
  ok(two.code == 0 && two.hash == one.hash && two.threads == 1,
     "%s: one thread and the same bits under BLIS_NUM_THREADS=2", ours);
  ok(other.code == 0 && !strcmp(other.text, blis), "%s: whatever BLIS_ARCH_TYPE said before", ours);
}

static void chosen_by_blis(int sets)
{
  const report r = start(NULL, "1", NULL);

  ok(r.code == 0 && r.worst < 1e-4, "BLIS chooses %s", r.text);
  ok(sets == 1 || strcmp(r.text, "generic") != 0, "and not plain C where the processor has vectors");
}

int main(void)
{
  static const char *const blis[] = {"generic", "haswell", "skx"};
  const char *names[3];
  const int n = dx_kernels_available(names);

  ok(*dx_blis_version() != 0, "BLIS %s", dx_blis_version());
  for (int i = 0; i < n; i++) pinned(names[i], blis[i]);
  chosen_by_blis(n);
  const report r = start("fast", "1", NULL);

  ok(r.code == DX_E_CONFIG && strstr(r.text, "fast"), "an unknown set is refused: %s", r.text);
  return done();
}
