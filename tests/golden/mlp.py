# SPDX-License-Identifier: Apache-2.0
"""Make mlp.txt: an MLP's prediction, loss and gradients as PyTorch computes them in float64 and
rounds them to float32.  usage: python mlp.py > mlp.txt   (made with torch 2.13.0)

Inputs are sines of whole numbers, so that the test can make them again. Lines: name count, then numbers.
"""
import torch

B, D, HIDDEN, T = 5, 2, (24, 20), 1000
torch.set_default_dtype(torch.float64)


def sines(n, scale, phase):
    return scale * torch.sin(torch.arange(n, dtype=torch.float64) * 0.7 + phase).float().double()


widths = (D + 1,) + HIDDEN + (D,)
layers, params = [], []
for i, (a, b) in enumerate(zip(widths, widths[1:])):
    layer = torch.nn.Linear(a, b)
    with torch.no_grad():
        layer.weight.copy_((sines(a * b, 0.5, i)).float().double().view(b, a))
        layer.bias.copy_((sines(b, 0.25, 10 + i)).float().double())
    layers += [layer] + ([torch.nn.ReLU()] if i < len(widths) - 2 else [])
    params += [(f"layer{i}.w", layer.weight), (f"layer{i}.b", layer.bias)]
net = torch.nn.Sequential(*layers)

x = sines(B * D, 1.0, 20).float().double().view(B, D).requires_grad_()
eps = sines(B * D, 1.0, 30).float().double().view(B, D)
t = torch.tensor([1, 17, 500, 999, 1000])
out = net(torch.cat([x, (t.double() / T).float().double()[:, None]], 1))
loss = ((out - eps) ** 2).mean(1)
loss.mean().backward()


def show(name, v):
    print(name, v.numel())
    print(" ".join(f"{a:.9g}" for a in v.detach().float().flatten().tolist()))


show("out", out)
show("loss", loss)
show("x", x.grad)
for name, p in params:
    show(name, p.grad)
