#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of training and sampling U-Nets beside diffusers' UNet2DModel in PyTorch.

Run from the build's folder by `make bench`. The programs take turns; medians over steps, then the best of the repeats
count. A ratio above 1 is diffx's."""
import argparse
import os
import statistics
import sys
import tempfile

from measure import experiments, here, installed, no_extras, one_rank, run, sampling_seconds, training_seconds

networks = {
    'ddpm': (16, ['model.channels=128', 'model.multipliers=[1,2,2,2]', 'model.blocks=2', 'model.dropout=0.1']),
    'small': (64, ['model.channels=32', 'model.multipliers=[1,2,2]', 'model.blocks=1', 'model.dropout=0']),
}
common = ['data.size=32', 'data.train=512', 'data.test=0', 'data.flip=false', 'model.attention=16', 'model.norm_groups=32',
          'train.grain=8', 'train.clip=1', 'train.ema=0.9999', 'train.log_every=1', 'train.checkpoint_every=1000'] + no_extras
modes = ('eager', 'channels-last', 'compile', 'bf16')


def diffx(network, more, threads, steps):
    """Images/s of training and of forward passes, peak MiB of training."""
    batch, settings = networks[network]
    with tempfile.TemporaryDirectory() as folder:
        _, _, peak = run(one_rank + [os.path.join(experiments, 'shapes.yaml'), f'output={folder}/run', f'train.batch={batch}',
                                     f'train.steps={steps + 2}', f'run.threads={threads}'] + common + settings + more)
        seconds, _ = training_seconds(f'{folder}/run/metrics.h5')
        text, _, _ = run(one_rank + ['sample', f'{folder}/run', f'run.threads={threads}', f'sample.count={batch}',
                                     'sample.grain=8', 'sample.sampler=ddim', 'sample.steps=10'])
    return batch / statistics.median(seconds), 10 * batch / sampling_seconds(text), peak


def torch(network, mode, threads, steps):
    text, _, _ = run([sys.executable, os.path.join(here, 'torch_unet.py'), '--network', network, '--mode', mode,
                      '--batch', str(networks[network][0]), '--threads', str(threads), '--steps', str(steps)])
    return tuple(float(word) for word in text.strip().split('\n')[-1].split())


def best(rows):
    training, forward, peak = zip(*rows)
    return max(training), max(forward), min(peak)


def show(name, row, beside=None):
    ratio = '' if beside is None else f'{beside[0] / row[0]:10.2f}{beside[1] / row[1]:9.2f}{beside[2] / row[2]:9.2f}'
    print(f'{name:24}{row[0]:9.2f} img/s{row[1]:10.2f} img/s{row[2]:8.0f} MiB{ratio}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--network', choices=networks, action='append', help='default: all')
    parser.add_argument('--mode', choices=modes, action='append', help='of PyTorch; default: all')
    parser.add_argument('--repeats', type=int, default=2)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--steps', type=int, default=3, help='timed steps of each run')
    parser.add_argument('settings', nargs='*', help='key=value of diffx')
    args = parser.parse_intermixed_args()
    have_torch = installed('torch', 'diffusers')

    for network in args.network or networks:
        wanted = (args.mode or modes) if have_torch else ()
        ours, theirs = [], {mode: [] for mode in wanted}
        for _ in range(args.repeats):
            ours.append(diffx(network, args.settings, args.threads, args.steps))
            for mode in wanted:
                theirs[mode].append(torch(network, mode, args.threads, args.steps))
        a = best(ours)
        print(f'{network + ", batch " + str(networks[network][0]):24}{"training":>15}{"forward":>16}{"peak":>12}'
              f'{"training":>10}{"forward":>9}{"memory":>9}')
        show('diffx', a)
        for mode in wanted:
            show(f'PyTorch {mode}', best(theirs[mode]), a)
    if not have_torch:
        print('PyTorch or diffusers is not installed: no ratios')


if __name__ == '__main__':
    main()
