#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of Karras et al. 2022, algorithm 2: diffusers' KarrasVeScheduler in double, on the sigmas of their eq. 5, with the
closed-form denoiser of a mixture of two Gaussians. X is in EDM's scale, before the first step and after each.

    python3 heun.py > heun.h            needs torch, diffusers
"""
import torch
import diffusers.schedulers.deprecated.scheduling_karras_ve as karras

torch.set_default_dtype(torch.float64)
D, weight, mean, width = 6, (0.3, 0.7), (-0.8, 0.5), (0.1, 0.25)
print("/* SPDX-License-Identifier: Apache-2.0 */\n/* tests/golden/heun.h - written by tests/golden/heun.py. */")
print("enum { HEUN_D = 6, HEUN_STEPS = 18 };")


def row(x):
    return "{" + ", ".join(f"{v:.17g}" for v in x.tolist()) + "}"


def denoised(x, sigma):
    """E[x0 | x0 + sigma n = x]."""
    v = [w * w + sigma**2 for w in width]
    p = torch.stack([w * torch.exp(-((x - m) ** 2) / (2 * s)) / s**0.5 for w, m, s in zip(weight, mean, v)])
    each = torch.stack([m + w * w / s * (x - m) for w, m, s in zip(width, mean, v)])
    return (p * each).sum(0) / p.sum(0)


def draw(steps, lowest, highest, rho, churn, start, stop, noise):
    s = karras.KarrasVeScheduler(s_noise=noise, s_churn=churn, s_min=start, s_max=stop)
    s.num_inference_steps = steps
    ends = highest ** (1 / rho), lowest ** (1 / rho)
    sigma = [(ends[0] + i / (steps - 1) * (ends[1] - ends[0])) ** rho for i in range(steps)] + [0.0]
    x = highest * torch.tensor([-1.5, -0.4, -0.05, 0.1, 0.8, 2.0])
    path = [x]
    for i, (now, then) in enumerate(zip(sigma, sigma[1:])):
        z = torch.sin(1.3 * i + 0.9 * torch.arange(D) + 0.2) * 1.4
        karras.randn_tensor = lambda shape, generator, z=z: z
        hat, up = s.add_noise_to_input(x, now)
        out = s.step((denoised(hat, up) - hat) / up, up, then, hat)
        x = out.prev_sample
        if then:
            x = s.step_correct((denoised(x, then) - x) / then, up, then, hat, x, out.derivative).prev_sample
        path.append(x)
    return sigma, path


cases = [(18, 0.002, 80, 7, 0, 0, 1e6, 1), (18, 0.002, 80, 7, 30, 0.01, 1, 1.007), (18, 0.02, 40, 3, 4, 0.05, 20, 1.003)]
print("static const struct { const char *const settings[17]; double sigma[HEUN_STEPS], x[HEUN_STEPS + 1][HEUN_D]; } golden_heun[] = {")
keys = ("steps", "sigma_min", "sigma_max", "rho", "churn", "churn_min", "churn_max", "churn_noise")
for case in cases:
    sigma, path = draw(*case)
    pairs = ", ".join(f'"{k}", "{v:g}"' for k, v in zip(keys, case))
    print(f"  {{{{{pairs}, 0}},\n   {row(torch.tensor(sigma[:-1]))},\n   {{" + ",\n    ".join(map(row, path)) + "}},")
print("};")
print(f"static const double heun_z[HEUN_STEPS][HEUN_D] = {{ /* of step i */\n  "
      + ",\n  ".join(row(torch.sin(1.3 * i + 0.9 * torch.arange(D) + 0.2) * 1.4) for i in range(18)) + "};")
print(f"static const double heun_weight[] = {row(torch.tensor(weight))}, heun_mean[] = {row(torch.tensor(mean))}, heun_width[] = "
      f"{row(torch.tensor(width))};")
