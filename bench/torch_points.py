#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The work of experiments/points.yaml in PyTorch, written as its users write it.

Prints one line: training steps per second, seconds to sample, peak memory in MiB."""
import argparse
import resource
import time

import torch
from torch import nn


def network():
    return nn.Sequential(nn.Linear(3, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))


def train(model, data, abar, epochs, batch):
    """Noise prediction with the simple loss; the number of steps done."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=batch, shuffle=True)
    timesteps, steps = len(abar), 0
    for _ in range(epochs):
        for (x,) in loader:
            t = torch.randint(0, timesteps, (len(x),))
            noise = torch.randn_like(x)
            noised = abar[t].sqrt()[:, None] * x + (1 - abar[t]).sqrt()[:, None] * noise
            guess = model(torch.cat([noised, t[:, None] / timesteps], 1))
            loss = ((guess - noise) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    return steps


@torch.inference_mode()
def sample(model, beta, abar, count):
    """Ancestral sampling over all timesteps."""
    timesteps = len(beta)
    x = torch.randn(count, 2)
    for t in reversed(range(timesteps)):
        noise = model(torch.cat([x, torch.full((count, 1), t / timesteps)], 1))
        x = (x - beta[t] / (1 - abar[t]).sqrt() * noise) / (1 - beta[t]).sqrt()
        if t:
            x = x + beta[t].sqrt() * torch.randn_like(x)
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--epochs', type=int, default=20)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--count', type=int, default=1000, help='points to sample')
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    beta = torch.linspace(1e-4, 0.02, 1000)
    abar = torch.cumprod(1 - beta, 0)
    model = network()
    start = time.perf_counter()
    steps = train(model, torch.randn(10000, 2), abar, args.epochs, args.batch)
    speed = steps / (time.perf_counter() - start)
    start = time.perf_counter()
    sample(model, beta, abar, args.count)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f'{speed:.1f} {seconds:.4f} {peak:.1f}')


if __name__ == '__main__':
    main()
