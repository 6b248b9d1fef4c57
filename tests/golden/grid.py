#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes grid.h: grids by the formulas of improved-diffusion's space_timesteps and of diffusers' schedulers, and what
SpacedDiffusion's betas make of them, in numpy and torch's double.    python3 grid.py >grid.h"""
import numpy as np
import torch


def sections(T, counts):
    """improved-diffusion, respace.py: steps from 0, as it counts."""
    size_per, extra, start, steps = T // len(counts), T % len(counts), 0, []
    for i, count in enumerate(counts):
        size = size_per + (1 if i < extra else 0)
        stride, at = 1 if count <= 1 else (size - 1) / (count - 1), 0.0
        for _ in range(count):
            steps.append(start + round(at))
            at += stride
        start += size
    return steps


def spaced(T, n, how):
    """diffusers, scheduling_ddim.py, rising."""
    if how == "linspace":
        return [int(x) for x in np.linspace(0, T - 1, n).round()]
    if how == "leading":
        return [int(x) for x in (np.arange(0, n) * (T // n)).round()]
    return [int(x) - 1 for x in np.round(np.arange(T, 0, -T / n))][::-1]


cases = [(1000, "10", "sections"), (1000, "10,15,20", "sections"), (4000, "100", "sections"), (1003, "7,1,50,200", "sections"), (300, "10,15,20", "sections"),
         (1000, "10", "leading"), (1000, "30", "leading"), (1000, "10", "trailing"), (1000, "30", "trailing"), (1000, "10", "linspace"), (1000, "37", "linspace")]
print("/* Made by grid.py. Steps from 1; sum is that of (i + 1) t_i; mid row: n / 2. */")
print("static const struct { int T; const char *counts, *spacing; int n, first[6], last; long sum; double beta2, post_last, log_mid; } golden_grid[] = {")
for T, counts, how in cases:
    c = [int(x) for x in counts.split(",")]
    steps = sections(T, c) if how == "sections" else spaced(T, c[0], how)
    betas = torch.linspace(1e-4 * 1000 / T, 0.02 * 1000 / T, T, dtype=torch.float64)
    abar, last, new = torch.cumprod(1 - betas, 0), 1.0, []
    for i in steps:  # SpacedDiffusion.__init__
        new.append(float(1 - abar[i] / last))
        last = abar[i]
    beta = torch.tensor(new, dtype=torch.float64)
    ab = torch.cumprod(1 - beta, 0)
    prev = torch.cat([torch.ones(1, dtype=torch.float64), ab[:-1]])
    post = beta * (1 - prev) / (1 - ab)
    k = len(steps) // 2
    mid = 0.5 * torch.log(beta[k]) + 0.5 * torch.log(post[k])  # LEARNED_RANGE at 0
    one = [i + 1 for i in steps]
    first = (one + [0] * 6)[:6]
    print(f'  {{{T}, "{counts}", "{how}", {len(one)}, {{{", ".join(map(str, first))}}}, {one[-1]}, '
          f'{sum((i + 1) * t for i, t in enumerate(one))}L, {float(beta[1])!r}, {float(post[-1])!r}, {float(mid)!r}}},')
print("};")
