/* SPDX-License-Identifier: Apache-2.0 */
/* tests/near.h - are two numbers equal up to a share of the second? */
#ifndef DX_TESTS_NEAR_H
#define DX_TESTS_NEAR_H
#include <math.h>
#include <stdbool.h>

/* False for NaN. Zero is near zero alone. */
static inline bool near(double found, double expected, double share)
{
  return fabs(found - expected) <= share * fabs(expected);
}
#endif
