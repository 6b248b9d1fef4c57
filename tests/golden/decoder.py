#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the discretised Gaussian: improved-diffusion's formula in float64 numpy.

   tests/golden/decoder.py > tests/golden/decoder.h
"""
import math

import numpy as np


def beta_tilde_2():
    """The clipped decoder's variance: linear schedule, T = 1000."""
    beta = np.linspace(1e-4, 0.02, 1000)
    abar = np.cumprod(1 - beta)
    return beta[1] * (1 - abar[0]) / (1 - abar[1])


def cdf(z):
    return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z ** 3)))


def log_likelihood(x, mean, log_sigma):
    upper, lower = (cdf(math.exp(-log_sigma) * (x - mean + s / 255)) for s in (1, -1))
    inside = np.log(np.clip(upper - lower, 1e-12, None))
    low, high = (np.log(np.clip(p, 1e-12, None)) for p in (upper, 1 - lower))
    return np.where(x < -0.999, low, np.where(x > 0.999, high, inside))


def main():
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* tests/golden/decoder.h - written by tests/golden/decoder.py; nats. */")
    print("\nstatic const struct { double variance; int value; float x0hat; double log_likelihood; } golden_decoder[] = {")
    clipped = beta_tilde_2()
    for variance in (clipped, 1e-4, 0.0123, 0.5):
        for value in (0, 1, 77, 128, 254, 255):
            x = np.float64(np.float32((value - 127.5) / 127.5))
            for off in (0, 2 / 255, -1.25 / 255, 0.03, -0.4):
                mean = np.float32(x + off)
                got = log_likelihood(x, np.float64(mean), 0.5 * math.log(variance))
                print(f"  {{{float(variance)!r}, {value}, {float(mean)!r}f, {float(got)!r}}},")
    print("};")


if __name__ == "__main__":
    main()
