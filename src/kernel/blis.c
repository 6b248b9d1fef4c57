/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/blis.c - the door to BLIS, and the only file that sees its header. */
#include "kernel/kernel.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic push /* hundreds of static functions that we do not use */
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <blis.h>
#pragma GCC diagnostic pop

/* BLIS has a name for each set of every processor, but kernels only for those it was
   configured with, and aborts when asked for others. */
static const struct { const char *ours, *blis; bool built; } sets[] = {
#ifdef BLIS_CONFIG_GENERIC
  {"portable", "generic", true},
#else
  {"portable", "generic", false},
#endif
#ifdef BLIS_CONFIG_HASWELL
  {"avx2", "haswell", true},
#else
  {"avx2", "haswell", false},
#endif
#ifdef BLIS_CONFIG_SKX
  {"avx512", "skx", true},
  {"amx", "skx", true},
#else
  {"avx512", "skx", false},
  {"amx", "skx", false},
#endif
};
enum { SETS = sizeof sets / sizeof *sets };

const char *dx_blis_version(void) { return bli_info_get_version_str(); }
const char *dx_blis_kernels(void) { return bli_arch_string(bli_arch_query_id()); }

/* The place of ours in sets, or -1. */
static int find(const char *ours)
{
  for (int i = 0; i < SETS; i++)
    if (!strcmp(sets[i].ours, ours)) return i;
  return -1;
}

/* BLIS takes the set from BLIS_ARCH_TYPE when it starts: a number that differs between
   releases, and a name is read as 0. */
static dx_error *pin(const char *name)
{
  char number[16];

  for (int id = 0; id < BLIS_NUM_ARCHS; id++) {
    if (strcmp(bli_arch_string((arch_t)id), name)) continue;
    snprintf(number, sizeof number, "%d", id);
    if (setenv("BLIS_ARCH_TYPE", number, 1)) return DX_FAIL(INTERNAL, "no memory for the environment");
    return NULL;
  }
  return DX_FAIL(CONFIG, "kernels: BLIS %s knows no set %s", dx_blis_version(), name);
}

static dx_error *not_built(int i)
{
  char has[64] = "";

  for (int j = 0; j < SETS; j++)
    if (sets[j].built) {
      strcat(has, " ");
      strcat(has, sets[j].ours);
    }
  return DX_FAIL(CONFIG, "kernels %s: this BLIS (%s) was configured without its set %s; it can be pinned to:%s",
                 sets[i].ours, dx_blis_version(), sets[i].blis, *has ? has : " none");
}

/* BLIS goes by maker and family, and runs plain C on a processor that is younger than itself:
   there the set that fits ours is ten times as fast. On Intel it counts the units of 512 bits by the name in
   words, which virtual machines hide, and then leaves half of them idle. -1 where BLIS knows better. */
static int better_than_choice(void)
{
#ifdef DX_X86
  const bool known = (__builtin_cpu_is("intel") && !dx_cpu_is_wide()) || __builtin_cpu_is("amdfam15h") ||
                     __builtin_cpu_is("amdfam17h") || __builtin_cpu_is("amdfam19h");
  const char *can[3];
  const int n = dx_kernels_available(can), i = find(can[n - 1]);

  return known || getenv("BLIS_ARCH_TYPE") || i < 0 || !sets[i].built ? -1 : i;
#else
  return -1;
#endif
}

dx_error *dx_blis_start(const char *ours)
{
  const int i = ours ? find(ours) : better_than_choice();

  if (ours && i < 0) return DX_FAIL(CONFIG, "kernels %s: no such set", ours);
  if (i >= 0 && !sets[i].built) return not_built(i);
  if (i >= 0) DX_TRY(pin(sets[i].blis));
  (void)bli_init();
  if (i >= 0 && strcmp(dx_blis_kernels(), sets[i].blis))
    return DX_FAIL(CONFIG, "kernels %s: BLIS runs its set %s, not %s: it was started before diffx could choose",
                   sets[i].ours, dx_blis_kernels(), sets[i].blis);
  return NULL;
}

void dx_gemm_blis(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t ras, int64_t cas,
                  const float *b, int64_t rbs, int64_t cbs, float beta, float *c, int64_t rc)
{
  rntm_t one_thread = BLIS_RNTM_INITIALIZER;

  bli_rntm_set_num_threads(1, &one_thread);
  /* Releases before 1.0 take pointers to what they only read without const. */
  bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, (dim_t)m, (dim_t)n, (dim_t)k, &alpha, (float *)a,
               (inc_t)ras, (inc_t)cas, (float *)b, (inc_t)rbs, (inc_t)cbs, &beta, c, (inc_t)rc, 1, NULL,
               &one_thread);
}
