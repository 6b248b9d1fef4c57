#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training steps and forward passes of diffusers' UNet2DModel, as its users run them on a CPU.

Prints one line: images per second in training, in forward passes, peak memory in MiB of training."""
import argparse
import resource
import statistics
import time

import torch
from diffusers import UNet2DModel

networks = {
    'ddpm': dict(layers_per_block=2, block_out_channels=(128, 256, 256, 256), dropout=0.1,
                 down_block_types=('DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'),
                 up_block_types=('UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D')),
    'small': dict(layers_per_block=1, block_out_channels=(32, 64, 64), dropout=0.0,
                  down_block_types=('DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D'),
                  up_block_types=('UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D')),
}
same = dict(sample_size=32, in_channels=3, out_channels=3, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
            norm_eps=1e-6, attention_head_dim=None)
modes = ('eager', 'channels-last', 'compile', 'bf16')


def training_step(model, net, x, mode):
    """A function that does one step of Adam with clipping and a moving average."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, fused=True)
    average = [p.detach().clone() for p in model.parameters()]
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def step():
        t = torch.randint(0, 1000, (len(x),))
        noise = torch.randn_like(x)
        noised = abar[t].sqrt().view(-1, 1, 1, 1) * x + (1 - abar[t]).sqrt().view(-1, 1, 1, 1) * noise
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=mode == 'bf16'):
            guess = net(noised, t).sample
        loss = torch.nn.functional.mse_loss(guess.float(), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(model.parameters()), 1e-4)

    return step


def forward(net, x, mode):
    def step():
        with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16, enabled=mode == 'bf16'):
            net(x, torch.full((len(x),), 500))

    return step


def timed(step, count):
    """Seconds of each of so many calls, or of as many as begin within half a minute, after two that do what is done once."""
    step()
    step()
    seconds = []
    while len(seconds) < count and sum(seconds) < 30:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', choices=networks, default='ddpm')
    parser.add_argument('--mode', choices=modes, default='eager')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--steps', type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = UNet2DModel(**networks[args.network], **same)
    x = torch.randn(args.batch, 3, 32, 32)
    if args.mode in ('channels-last', 'bf16'):
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    net = torch.compile(model) if args.mode == 'compile' else model
    model.train()
    training = args.batch / statistics.median(timed(training_step(model, net, x, args.mode), args.steps))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model.eval()
    seconds = timed(forward(net, x, args.mode), 10)  # the mean of ten, as a sampler of ten steps has it
    print(training, args.batch * len(seconds) / sum(seconds), peak)


if __name__ == '__main__':
    main()
