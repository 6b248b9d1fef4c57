#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of EDM's preconditioned denoiser and its loss: the formulas of Karras et al. 2022 (table 1, eq. 2 and 8) in
their own scale x = x0 + sigma n, with gradients by PyTorch's autograd in double.

    python3 edm.py > edm.h            needs torch
"""
import torch

torch.set_default_dtype(torch.float64)
x0 = torch.tensor([-1.0, -0.25, 0.125, 0.5, 0.75, 1.0])
n = torch.tensor([0.5, -1.5, 0.25, 2.0, -0.75, 1.25])
print('/* SPDX-License-Identifier: Apache-2.0 */\n/* tests/golden/edm.h - written by tests/golden/edm.py. */')
print('enum { EDM_D = 6 };')
for name, row in (('x0', x0), ('noise', n)):
    print(f'static const float edm_{name}[EDM_D] = {{{", ".join(f"{v}f" for v in row.tolist())}}};')
print('static const struct { double sigma, sigma_data, c_in, c_noise, out[EDM_D], denoised[EDM_D], loss, grad[EDM_D]; } golden_edm[] = {')
for data in (0.5, 1.0, 0.3):
    for i, sigma in enumerate((0.002, 0.1, 0.5, 1.0, 7.0, 80.0)):
        s, d = torch.tensor(sigma), torch.tensor(data)
        out = torch.cos(1.7 * torch.arange(6) + i).to(torch.float32).to(torch.float64).requires_grad_()
        c_skip = d**2 / (s**2 + d**2)
        c_out = s * d / (s**2 + d**2).sqrt()
        weight = (s**2 + d**2) / (s * d)**2
        denoised = c_skip * (x0 + s * n) + c_out * out
        loss = weight * ((denoised - x0)**2).mean()
        loss.backward()
        rows = [', '.join(f'{v:.17g}' for v in r.tolist()) for r in (out.detach(), denoised.detach(), out.grad)]
        print(f'  {{{sigma}, {data}, {(1 / (s**2 + d**2).sqrt()).item():.17g}, {(s.log() / 4).item():.17g}, {{{rows[0]}}},\n'
              f'   {{{rows[1]}}}, {loss.item():.17g},\n   {{{rows[2]}}}}},')
print('};')
