/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/kernel.c - which kernel sets this processor can run, and how its floats are set. */
#include "kernel/kernel.h"

#include <fenv.h>
#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#ifdef DX_X86
#include <cpuid.h>
#include <immintrin.h>
#else
#include <sys/utsname.h>
#endif
#ifdef DX_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

static bool can_portable(void) { return true; }

#ifdef DX_X86
static bool can_avx2(void)
{
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool can_avx512(void)
{
  return can_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

#ifdef DX_AMX
/* Linux keeps the tiles of a thread, 8 KiB, only for a process that asked for them: once, for all its threads. */
static bool may_use_tiles(void)
{
  enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */

  return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

__attribute__((target("xsave"))) static bool system_saves_tiles(void)
{
  enum { TILES = 3 << 17 }; /* their configuration and data */

  return (_xgetbv(0) & TILES) == TILES;
}

static bool can_amx(void)
{
  enum { BF16 = 1 << 22, TILE = 1 << 24, OSXSAVE = 1 << 27 };
  unsigned a = 0, b = 0, c = 0, d = 0;

  if (!can_avx512()) return false;
  __cpuid(1, a, b, c, d);
  if (!(c & OSXSAVE)) return false;
  __cpuid_count(7, 0, a, b, c, d);
  return d & BF16 && d & TILE && system_saves_tiles() && may_use_tiles();
}
#endif

/* Slowest first; each set stands on ref. */
static const struct {
  const char *name;
  bool (*can)(void);
  void (*fill)(dx_kernels *k);
  bool same_bits; /* as ref */
} sets[] = {
  {"portable", can_portable, dx_kernels_ref, true},
#ifdef DX_X86
  {"avx2", can_avx2, dx_kernels_avx2, true},
  {"avx512", can_avx512, dx_kernels_avx512, true},
#endif
#ifdef DX_AMX
  {"amx", can_amx, dx_kernels_amx, false},
#endif
};
enum { SETS = sizeof sets / sizeof *sets };

int dx_kernels_available(const char *names[3])
{
  int n = 0;

  for (int i = 0; i < SETS; i++)
    if (sets[i].same_bits && sets[i].can()) names[n++] = sets[i].name;
  return n;
}

const char *dx_kernels_other(void)
{
  for (int i = 0; i < SETS; i++)
    if (!sets[i].same_bits && sets[i].can()) return sets[i].name;
  return NULL;
}

dx_error *dx_kernels_select(const char *name, dx_kernels *k)
{
  char can[64] = "";

  for (int i = 0; i < SETS; i++)
    if (!strcmp(name, sets[i].name) && sets[i].can()) {
      dx_kernels_ref(k);
      sets[i].fill(k);
      return NULL;
    }
  for (int i = 0; i < SETS; i++)
    if (sets[i].can()) {
      if (*can) strcat(can, ", ");
      strcat(can, sets[i].name);
    }
  return DX_FAIL(CONFIG, "no kernel set %s here; processor, system and build give %s, and auto takes the best", name, can);
}

#ifdef DX_X86
typedef struct { char vendor[13]; unsigned family, model; } maker;

static maker made_by(void)
{
  unsigned a = 0, b = 0, c = 0, d = 0;
  maker m = {0};

  __cpuid(0, a, b, c, d);
  memcpy(m.vendor, &b, 4);
  memcpy(m.vendor + 4, &d, 4);
  memcpy(m.vendor + 8, &c, 4);
  __cpuid(1, a, b, c, d);
  const unsigned base = a >> 8 & 15;
  m.family = base == 15 ? base + (a >> 20 & 255) : base;
  m.model = (a >> 4 & 15) | (base == 6 || base == 15 ? (a >> 16 & 15) << 4 : 0);
  return m;
}

/* Ice Lake servers by their model; all that are younger have tile registers. */
bool dx_cpu_is_wide(void)
{
  const maker m = made_by();
  unsigned a = 0, b = 0, c = 0, d = 0;

  if (strcmp(m.vendor, "GenuineIntel") || !can_avx512()) return false;
  __cpuid_count(7, 0, a, b, c, d);
  return d >> 24 & 1 || (m.family == 6 && (m.model == 106 || m.model == 108));
}

/* BLIS goes by vendor, family, model and features. */
void dx_cpu_describe(char *text, int room)
{
  const char *can[3];
  const int n = dx_kernels_available(can);
  const maker m = made_by();

  snprintf(text, (size_t)room, "%s family %u model %u %s%s", m.vendor, m.family, m.model, can[n - 1],
           dx_cpu_is_wide() ? " wide" : "");
}

#else
bool dx_cpu_is_wide(void) { return false; }

void dx_cpu_describe(char *text, int room)
{
  struct utsname u;

  snprintf(text, (size_t)room, "%s portable", uname(&u) == 0 ? u.machine : "unknown");
}
#endif

void dx_float_mode(void)
{
  fesetenv(FE_DFL_ENV);
#ifdef DX_X86
  _mm_setcsr(0x1f80); /* all exceptions masked, to nearest, no flush to zero */
#endif
}

const char *dx_float_mode_wrong(void)
{
  volatile double least = DBL_MIN, denormal = DBL_TRUE_MIN, up = 0x1p60, half = 0.5;
  volatile float least_f = FLT_MIN, half_f = 0.5F;

  if (fegetround() != FE_TONEAREST) return "rounding is not to nearest";
  if (least * half == 0 || least_f * half_f == 0) return "denormal results are flushed to zero";
  if (denormal * up == 0) return "denormal inputs are read as zero";
  return NULL;
}
