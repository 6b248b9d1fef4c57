#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of experiments/points.yaml beside the same work in PyTorch, and how long it and cifar-small.yaml take to
their first step.

Run from the build's folder by `make bench`. The programs take turns; the best of several counts."""
import argparse
import os
import sys
import tempfile

from measure import (experiments, gradient_seconds, here, installed, mpiexec, no_extras, one_rank, run, sampling_seconds, say,
                     seconds_until, training_seconds)

experiment = os.path.join(experiments, 'points.yaml')
images = os.path.join(experiments, 'cifar-small.yaml')
start_aim = 0.5  # seconds more than an empty MPI program


def diffx(folder, threads):
    """Training steps/s, seconds to sample 1000 points, peak MiB."""
    _, _, peak = run(one_rank + [experiment, f'output={folder}/run', f'run.threads={threads}'] + no_extras)
    text, _, peak_sample = run(one_rank + ['sample', f'{folder}/run', f'run.threads={threads}', 'sample.count=1000'])
    seconds, steps = training_seconds(f'{folder}/run/metrics.h5')
    return sum(steps) / sum(seconds), sampling_seconds(text), max(peak, peak_sample)


def torch(threads, epochs):
    text, _, _ = run([sys.executable, os.path.join(here, 'torch_points.py'),
                      '--threads', str(threads), '--epochs', str(epochs)])
    return tuple(float(word) for word in text.split('\n')[-2].split())


def like_cifar(folder):
    """As many images of the same size as CIFAR-10 has, drawn here; they are in the page cache then."""
    file = f'{folder}/images.h5'
    run(['./diffx', 'data', 'make', 'shapes', file, 'train=50000', 'test=10000', 'size=32'])
    return file


def start_up(folder, data):
    """Seconds to the first step of points and of cifar-small, of an empty MPI program, and of that step's gradients; two
    ranks."""
    two = mpiexec + ['-n', '2']
    last = ['train.steps=1'] + no_extras
    return (seconds_until(two + ['./diffx', experiment, f'output={folder}/start'] + last, 'step 1/1'),
            seconds_until(two + ['./diffx', images, f'output={folder}/images', f'data.file={data}'] + last, 'step 1/1'),
            run(two + ['bench/empty_mpi'])[1], gradient_seconds(f'{folder}/images/metrics.h5'))


def best(rows):
    """Of (speed, seconds, memory): the highest, the lowest, the lowest."""
    speed, seconds, memory = zip(*rows)
    return max(speed), min(seconds), min(memory)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--epochs', type=int, default=10, help='epochs of the PyTorch program; its speed is constant')
    args = parser.parse_args()
    have_torch = installed('torch')

    ours, theirs, starts = [], [], []
    with tempfile.TemporaryDirectory() as all_of_them:
        data = like_cifar(all_of_them)
        for i in range(args.repeats):
            folder = f'{all_of_them}/{i}'
            ours.append(diffx(folder, args.threads))
            if have_torch:
                theirs.append(torch(args.threads, args.epochs))
            starts.append(start_up(folder, data))

    a = best(ours)
    print(f'{"":14}{"training":>16}{"1000 samples":>15}{"peak memory":>14}')
    print(f'{"diffx":14}{a[0]:9.0f} steps/s{a[1]:13.3f} s{a[2]:10.0f} MiB')
    if have_torch:
        b = best(theirs)
        print(f'{"PyTorch":14}{b[0]:9.0f} steps/s{b[1]:13.3f} s{b[2]:10.0f} MiB')
        print(f'{"ratio":14}{a[0] / b[0]:9.1f} x faster{b[1] / a[1]:9.1f} x faster{a[2] / b[2]:8.3f} of it')
    else:
        print('PyTorch is not installed: no ratios')
    points, cifar, empty, gradients = (min(seconds) for seconds in zip(*starts))
    print(f'to the first finished step, 2 ranks: points {points:.2f} s, cifar-small {cifar:.2f} s (its gradients alone '
          f'{gradients:.2f} s), an empty MPI program {empty:.2f} s')
    say('cifar-small beyond the empty program, seconds', cifar - empty, start_aim, most=True)


if __name__ == '__main__':
    main()
