#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden bits per dimension as improved-diffusion's calc_bpd_loop defines them, written down from the formulas in PyTorch.

    python3 bpd.py > bpd.h                        needs torch

Two images of 2 x 2 x 3 bytes, 24 steps, and a "network" of remainders that C computes to the same bits. For prediction of
noise and of x0, each kind of variance, with x0hat clipped and not: vb, xstart_mse and mse of every step (t from 1, mean of
the images), prior and total.
"""
import math

import torch

torch.set_default_dtype(torch.float64)
T, N, D, C = 24, 2, 12, 3
BETA = torch.linspace(1e-4 * 1000 / T, 0.02 * 1000 / T, T)
ABAR = torch.cumprod(1 - BETA, 0)
BEFORE = torch.cat([torch.ones(1), ABAR[:-1]])
POST = BETA * (1 - BEFORE) / (1 - ABAR)
POST_LOG = torch.log(torch.cat([POST[1:2], POST[1:]]))
C1 = BETA * BEFORE.sqrt() / (1 - ABAR)
C2 = (1 - BEFORE) * (1 - BETA).sqrt() / (1 - ABAR)


def numbers(t, seed, size):
    """[N, D]: the same remainders as in tests/objective.c, as float32."""
    return torch.tensor([[((t * 31 + n * 17 + d * 7919 + seed * 101) % 997 / 498.5 - 1) * size for d in range(D)]
                         for n in range(N)]).float().double()


X0 = (torch.tensor([[(n * 97 + d * 53) % 256 for d in range(D)] for n in range(N)]) / 127.5 - 1).float().double()


def normal_kl(m1, l1, m2, l2):
    return 0.5 * (-1 + l2 - l1 + torch.exp(l1 - l2) + (m1 - m2) ** 2 * torch.exp(-l2))


def cdf(z):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z ** 3)))


def log_likelihood(x, mean, log_scale):
    inv = torch.exp(-log_scale)
    plus, minus = cdf(inv * (x - mean + 1 / 255)), cdf(inv * (x - mean - 1 / 255))
    small = 1e-12
    return torch.where(x < -0.999, torch.log(plus.clamp(min=small)),
                       torch.where(x > 0.999, torch.log((1 - minus).clamp(min=small)), torch.log((plus - minus).clamp(min=small))))


def step(predict, variance, clip, t):
    noise, out, v = numbers(t, 1, 2), None, numbers(t, 3, 1)
    xt = ABAR[t].sqrt() * X0 + (1 - ABAR[t]).sqrt() * noise
    out = (noise if predict == "noise" else X0) + numbers(t, 2, 0.25 if predict == "noise" else 0.4)
    out = out.float().double()
    log_var = {"fixed-small": POST_LOG[t], "fixed-large": torch.log(torch.cat([POST[1:2], BETA[1:]]))[t],
               "learned": (v + POST_LOG[t]).float().double(),
               "learned-range": (v + 1) / 2 * torch.log(BETA[t]) + (1 - (v + 1) / 2) * POST_LOG[t]}[variance]
    log_var = log_var + torch.zeros(N, D)
    xstart = (1 / ABAR[t]).sqrt() * xt - (1 / ABAR[t] - 1).sqrt() * out if predict == "noise" else out
    if clip:
        xstart = xstart.clamp(-1, 1)
    if t == 0:
        vb = -log_likelihood(X0, xstart, 0.5 * log_var)
    else:
        vb = normal_kl(C1[t] * X0 + C2[t] * xt, POST_LOG[t], C1[t] * xstart + C2[t] * xt, log_var)
    eps = ((1 / ABAR[t]).sqrt() * xt - xstart) / (1 / ABAR[t] - 1).sqrt()
    return vb.mean() / math.log(2), ((xstart - X0) ** 2).mean(), ((eps - noise) ** 2).mean()


print("/* SPDX-License-Identifier: Apache-2.0 */")
print("/* tests/golden/bpd.h - written by tests/golden/bpd.py; rows from t = 1. */")
print(f"enum {{ BPD_T = {T}, BPD_N = {N}, BPD_D = {D} }};")
print("static const struct { const char *predict, *variance; int clip; double prior, total, vb[BPD_T], x0_mse[BPD_T], mse[BPD_T]; } "
      "golden_bpd[] = {")
prior = normal_kl(ABAR[-1].sqrt() * X0, torch.log(1 - ABAR[-1]), torch.zeros(1), torch.zeros(1)).mean().item() / math.log(2)
for predict in ("noise", "x0"):
    for variance in ("fixed-small", "fixed-large", "learned", "learned-range"):
        for clip in (0, 1):
            rows = [[x.item() for x in step(predict, variance, clip, t)] for t in range(T)]
            columns = [", ".join(f"{r[k]:.10g}" for r in rows) for k in range(3)]
            print(f'  {{"{predict}", "{variance}", {clip}, {prior:.12g}, {prior + sum(r[0] for r in rows):.12g},')
            print(",\n".join("   {" + c + "}" for c in columns) + "},")
print("};")
