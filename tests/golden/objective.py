#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden losses, terms of the bound and gradients by PyTorch's autograd in double.

    python3 objective.py > objective.h            needs torch

Two pixels of three channels; t counts from 1. Every prediction with every variance that is fixed or learned and
every loss that goes with it. Nothing here shares code with diffx: the network's output is turned into x0hat and a
log variance, L_t is written down from its definition, and autograd does the rest.
"""
import math

import torch

torch.set_default_dtype(torch.float64)
T, D, C = 1000, 6, 3
BETA = torch.linspace(1e-4, 0.02, T)
ABAR = torch.cumprod(1 - BETA, 0)
BEFORE = torch.cat([torch.ones(1), ABAR[:-1]])
POST = BETA * (1 - BEFORE) / (1 - ABAR)
POST_LOG = torch.log(torch.cat([POST[1:2], POST[1:]]))
X0 = {0: torch.tensor([0.3, -1.2, 0.7, 0.05, 1.9, -0.4]),
      1: torch.tensor([0, 255, 128, 3, 77, 200]) / 127.5 - 1}
X0 = {k: x.float().double() for k, x in X0.items()}
EPS = torch.tensor([-0.5, 1.1, 0.2, -1.6, 0.75, 0.3]).float().double()
OFF = torch.tensor([0.2, -0.3, 0.11, 0.05, -0.4, 0.6])
VARIANCE = torch.tensor([0.3, -0.8, 1.2, 0.1, -0.25, 0.6])
SCALE = 0.75


def target_of(predict, t, x0, xt, eps):
    a, b = ABAR[t].sqrt(), (1 - ABAR[t]).sqrt()
    if predict == "noise":
        return eps
    if predict == "x0":
        return x0
    if predict == "v":
        return a * eps - b * x0
    c1 = BETA[t] * BEFORE[t].sqrt() / (1 - ABAR[t])
    return c1 * x0 + (1 - BEFORE[t]) * (1 - BETA[t]).sqrt() / (1 - ABAR[t]) * xt


def x0_of(predict, t, xt, out):
    a, b = ABAR[t].sqrt(), (1 - ABAR[t]).sqrt()
    if predict == "noise":
        return (xt - b * out) / a
    if predict == "x0":
        return out
    if predict == "v":
        return a * xt - b * out
    c1 = BETA[t] * BEFORE[t].sqrt() / (1 - ABAR[t])
    return (out - (1 - BEFORE[t]) * (1 - BETA[t]).sqrt() / (1 - ABAR[t]) * xt) / c1


def cdf(z):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z ** 3)))


def term(t, x0, x0hat, log_var, bits):
    """L_t of each number in nats."""
    if t > 0:
        c1 = BETA[t] * BEFORE[t].sqrt() / (1 - ABAR[t])
        return 0.5 * (-1 + log_var - POST_LOG[t] + torch.exp(POST_LOG[t] - log_var) + (c1 * (x0 - x0hat)) ** 2 * torch.exp(-log_var))
    if not bits:
        return 0.5 * (math.log(2 * math.pi) + log_var + (x0 - x0hat) ** 2 * torch.exp(-log_var)) + math.log(SCALE)
    s = torch.exp(-0.5 * log_var)
    hi, lo = cdf(s * (x0 - x0hat + 1 / 255)), cdf(s * (x0 - x0hat - 1 / 255))
    p = torch.where(x0 < -0.999, hi, torch.where(x0 > 0.999, 1 - lo, hi - lo))
    return -torch.log(p.clamp(min=1e-12))


def weight(loss, predict, t):
    """Of (target - out)^2, as the papers say it for each prediction."""
    snr = ABAR[t] / (1 - ABAR[t])
    if loss == "min-snr":
        least = snr.clamp(max=5.0)
        mean = BETA[t] * BEFORE[t].sqrt() / (1 - ABAR[t])
        return {"noise": least / snr, "x0": least, "v": least / (snr + 1), "mean": least / mean ** 2}[predict]
    if loss == "p2":
        mean = BETA[t] * BEFORE[t].sqrt() / (1 - ABAR[t])
        return {"noise": 1, "x0": snr, "v": ABAR[t], "mean": snr / mean ** 2}[predict] / (1 + snr)
    return 1


def one(predict, variance, loss, t, bits):
    x0, learned = X0[bits], variance.startswith("learned")
    xt = ABAR[t].sqrt() * x0 + (1 - ABAR[t]).sqrt() * EPS
    target = target_of(predict, t, x0, xt, EPS)
    size = 0.02 if t == 0 else 1
    out = (target + size * OFF).float().double().requires_grad_()
    number = (VARIANCE + (POST_LOG[t] if variance == "learned" else 0)).float().double().requires_grad_()
    log_var = {"fixed-small": POST_LOG[t], "fixed-large": torch.log(BETA[t]) if t else POST_LOG[0], "learned": number,
               "learned-range": (number + 1) / 2 * torch.log(BETA[t]) + (1 - (number + 1) / 2) * POST_LOG[t]}[variance]
    log_var = log_var + torch.zeros(D)
    vb = term(t, x0, x0_of(predict, t, xt, out), log_var, bits).sum()
    square = weight(loss, predict, t) * ((target - out) ** 2).mean()
    if loss == "vlb":
        cost = T * vb / (D * math.log(2))
    elif loss == "hybrid":
        stopped = term(t, x0, x0_of(predict, t, xt, out.detach()), log_var, bits).sum()
        cost = square + 0.001 * T * stopped / (D * math.log(2))
    else:
        cost = square
    cost.backward()
    grads = [out.grad[j].item() for j in range(D)] + [number.grad[j].item() if learned else 0 for j in range(D)]
    values = [out[j].item() for j in range(D)] + [number[j].item() if learned else 0 for j in range(D)]
    return cost.item(), vb.item(), values, grads


def rows():
    for predict in ("noise", "x0", "v", "mean"):
        for variance in ("fixed-small", "fixed-large", "learned", "learned-range"):
            for loss in ("vlb", "hybrid") if variance.startswith("learned") else ("simple", "vlb", "min-snr", "p2"):
                for t, bits in ((0, 0), (0, 1), (1, 0), (699, 0)):
                    cost, vb, values, grads = one(predict, variance, loss, t, bits)
                    numbers = ["{" + ", ".join(f"{x:.17g}" for x in v) + "}" for v in (values, grads)]
                    yield f'  {{"{predict}", "{variance}", "{loss}", {t + 1}, {bits}, {cost:.17g}, {vb:.17g},\n   {numbers[0]},\n   {numbers[1]}}},'


print("/* SPDX-License-Identifier: Apache-2.0 */")
print("/* tests/golden/objective.h - written by tests/golden/objective.py; t counts from 1. */")
for name, x in (("x0", X0[0]), ("bytes", X0[1]), ("eps", EPS)):
    print(f"static const float golden_{name}[{D}] = {{" + ", ".join(f"{v:.9g}f" if "." in f"{v:.9g}" else f"{v:.9g}" for v in x.tolist()) + "};")
print(f"static const double golden_scale = {SCALE};")
print("/* out: predictions, then numbers of the variance; grad: of the loss by them. */")
print("static const struct { const char *predict, *variance, *loss; int t, bytes; double loss_value, vb, out[12], grad[12]; } "
      "golden_objective[] = {")
for r in rows():
    print(r)
print("};")
