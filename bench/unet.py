#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of training and sampling U-Nets beside diffusers' UNet2DModel in PyTorch.

Run from the build's folder by `make bench`. The programs take turns; medians over steps, then the best of the repeats
count. A ratio above 1 is diffx's."""
import argparse
import os
import re
import statistics
import sys
import tempfile

from measure import experiments, here, installed, mpiexec, no_extras, run, sampling_seconds, say, training_seconds

networks = {
    'ddpm': (16, ['model.channels=128', 'model.multipliers=[1,2,2,2]', 'model.blocks=2', 'model.dropout=0.1']),
    'small': (64, ['model.channels=32', 'model.multipliers=[1,2,2]', 'model.blocks=1', 'model.dropout=0']),
}
common = ['data.size=32', 'data.train=512', 'data.test=0', 'data.flip=false', 'model.attention=16', 'model.norm_groups=32',
          'train.grain=8', 'train.clip=1', 'train.ema=0.9999', 'train.log_every=1', 'train.checkpoint_every=1000'] + no_extras
modes = ('eager', 'channels-last', 'compile', 'bf16')


# How diffx does the work: ranks, and settings. All of them give the same bits but for those of the tiles.
ways = {'diffx': (1, []), 'diffx on tiles': (1, ['run.kernels=amx']), 'diffx, recompute': (1, ['model.recompute=true']),
        'diffx, crew of all': (1, ['run.crew={threads}']),
        'diffx, crew and recompute': (1, ['model.recompute=true', 'run.crew={threads}']), 'diffx, ranks of 1 thread': (0, [])}
sets = ('diffx', 'diffx on tiles')
# What is wanted of the ratios, in training, forward and memory, of a network: of the best PyTorch in float32, and of bf16.
wanted = {'ddpm': {'training': 2.0, 'forward': 2.0, 'memory': 1.0, 'bf16': 1.2, 'recompute': (1.4, 0.5), 'ranks': 0.97},
          'small': {'training': 2.5}}


def trained(network, way, more, threads, steps, folder):
    """A run in folder/run: images/s of training, peak MiB, and the command that it was, to go on with."""
    batch, settings = networks[network]
    ranks, own = ways[way]
    each = threads if ranks else 1
    command = mpiexec + ['--bind-to', 'none', '-n', str(ranks or threads), './diffx']
    settings = settings + [key.format(threads=threads) for key in own] + more
    _, _, peak = run(command + [os.path.join(experiments, 'shapes.yaml'), f'output={folder}/run', f'train.batch={batch}',
                                f'train.steps={steps + 2}', f'run.threads={each}'] + common + settings)
    seconds, _ = training_seconds(f'{folder}/run/metrics.h5')
    return batch / statistics.median(seconds), peak, command + ['sample', f'{folder}/run', f'run.threads={each}']


def diffx(network, way, more, threads, steps):
    """Images/s of training and of forward passes, peak MiB of training."""
    batch = networks[network][0]
    with tempfile.TemporaryDirectory() as folder:
        training, peak, sample = trained(network, way, more, threads, steps, folder)
        text, _, _ = run(sample + [f'sample.count={batch}', 'sample.grain=8', 'sample.sampler=ddim', 'sample.steps=10'])
    return training, 10 * batch / sampling_seconds(text), peak


def pairs(network, way, other, args, count=5):
    """How much faster one way trains than another: the median over pairs of runs, in turn the one and the other first, for
    the two are too near each other for the best of few runs."""
    ratios = []
    for i in range(count):
        speed = {}
        for which in (way, other) if i % 2 else (other, way):
            with tempfile.TemporaryDirectory() as folder:
                speed[which], _, _ = trained(network, which, args.settings, args.threads, args.steps, folder)
        ratios.append(speed[way] / speed[other])
    return statistics.median(ratios)


def torch(network, mode, threads, steps):
    text, _, _ = run([sys.executable, os.path.join(here, 'torch_unet.py'), '--network', network, '--mode', mode,
                      '--batch', str(networks[network][0]), '--threads', str(threads), '--steps', str(steps)])
    return tuple(float(word) for word in text.strip().split('\n')[-1].split())


def best(rows):
    training, forward, peak = zip(*rows)
    return max(training), max(forward), min(peak)


def show(name, row, beside=None):
    ratio = '' if beside is None else f'{beside[0] / row[0]:10.2f}{beside[1] / row[1]:9.2f}{beside[2] / row[2]:9.2f}'
    print(f'{name:26}{row[0]:9.2f} img/s{row[1]:10.2f} img/s{row[2]:8.0f} MiB{ratio}', flush=True)


def judge(network, rows):
    """What was reached of what is wanted; the peer is the best of PyTorch's modes in float32, and the faster of diffx's kernel
    sets, which are equally accurate, counts."""
    aims = wanted[network]
    ours = best([rows[way] for way in sets if way in rows])
    float32 = [rows[mode] for mode in modes if mode in rows and mode != 'bf16']
    if float32:
        peer = best(float32)
        for i, what in enumerate(('training', 'forward', 'memory')):
            if what in aims:
                say(f'{what}, beside the best in float32', ours[i] / peer[i], aims[what], most=what == 'memory')
        if 'recompute' in aims:
            again = rows['diffx, crew and recompute']
            say('crew that recomputes, training', again[0] / peer[0], aims['recompute'][0])
            say('crew that recomputes, memory', again[2] / peer[2], aims['recompute'][1], most=True)
    if 'bf16' in rows and 'bf16' in aims:
        say('training, beside bf16', ours[0] / rows['bf16'][0], aims['bf16'])


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
    tiles = re.search(r'^  amx ', run(['./diffx', 'list'])[0], re.MULTILINE)

    for network in args.network or networks:
        modes_here = (args.mode or modes) if have_torch else ()
        ways_here = [way for way in (ways if network == 'ddpm' else sets) if tiles or way != 'diffx on tiles']
        rows = {name: [] for name in ways_here + list(modes_here)}
        for _ in range(args.repeats):
            for way in ways_here:
                rows[way].append(diffx(network, way, args.settings, args.threads, args.steps))
            for mode in modes_here:
                rows[mode].append(torch(network, mode, args.threads, args.steps))
        rows = {name: best(several) for name, several in rows.items()}
        print(f'{network + ", batch " + str(networks[network][0]):26}{"training":>15}{"forward":>16}{"peak":>12}'
              f'{"training":>10}{"forward":>9}{"memory":>9}')
        for way in ways_here:
            show(way, rows[way])
        for mode in modes_here:
            show(f'PyTorch {mode}', rows[mode], rows['diffx'])
        judge(network, rows)
        if 'ranks' in wanted[network]:
            say('ranks of one thread beside one rank', pairs(network, 'diffx, ranks of 1 thread', 'diffx', args),
                wanted[network]['ranks'])
    if not have_torch:
        print('PyTorch or diffusers is not installed: no ratios')


if __name__ == '__main__':
    main()
