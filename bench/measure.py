# SPDX-License-Identifier: Apache-2.0
"""What the programs of bench/ share: running a command, and reading what a run of diffx says of its speed."""
import os
import re
import subprocess
import sys
import tempfile
import time

import h5py

here = os.path.dirname(os.path.abspath(__file__))
experiments = os.path.join(here, '..', 'experiments')
mpiexec = os.environ.get('MPIEXEC', 'mpiexec').split()
one_rank = mpiexec + ['--bind-to', 'none', '-n', '1', './diffx']
no_extras = ['evaluate.every=never', 'sample.every=never']
environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT='1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM='1',
                   OMPI_MCA_rmaps_base_oversubscribe='1')


# Linux counts what the parent held before exec as the child's peak, and h5py is larger than diffx: so a small
# interpreter starts the command. It writes status, seconds and peak KiB to the file descriptor given.
starter = """
import os, sys, time
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
os.write(int(sys.argv[1]), b'%d %f %d' % (os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss))
"""


def run(command):
    """Output, seconds and peak MiB of the largest process of a command."""
    ours, theirs = os.pipe()
    with tempfile.TemporaryFile() as out, open(ours) as answer:
        subprocess.run([sys.executable, '-IS', '-c', starter, str(theirs)] + command, stdout=out, stderr=out,
                       stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs])
        os.close(theirs)
        words = answer.read().split()
        out.seek(0)
        text = out.read().decode()
    if not words or words[0] != '0':
        sys.exit(f'{" ".join(command)}: status {words[0] if words else "unknown"}\n{text}')
    return text, float(words[1]), float(words[2]) / 1024


def seconds_until(command, word):
    """Seconds from the start of a command, which goes on to its end, until it prints a line with that word."""
    start, found, text = time.perf_counter(), None, ''
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                          text=True) as process:
        for line in process.stdout:
            text += line
            if found is None and word in line:
                found = time.perf_counter() - start
    if process.returncode or found is None:
        sys.exit(f'{" ".join(command)}: status {process.returncode}, or no "{word}" in\n{text}')
    return found


def training_seconds(record):
    """Seconds from each row to the next of a run that was not interrupted, and the steps between them."""
    with h5py.File(record) as file:
        step, seconds = file['timing/step'][:], file['timing/seconds'][:]
    return seconds[1:] - seconds[:-1], step[1:] - step[:-1]


def gradient_seconds(record):
    """Seconds that the slowest rank computed gradients before the record's first row."""
    with h5py.File(record) as file:
        return float(file['timing/compute_slowest'][0])


def sampling_seconds(text):
    """What `diffx sample` says: "1000 samples by ancestral in 0.3 s (0.265 s): ..."."""
    found = re.search(r'samples .*\(([0-9.e-]+) s\)', text)
    if not found:
        sys.exit(f'no seconds in:\n{text}')
    return float(found.group(1))


def say(what, reached, aim, most=False):
    """A line on what is wanted, and whether it was reached."""
    good = reached <= aim if most else reached >= aim
    print(f'  {what:52}{reached:6.2f}   wanted {"<=" if most else ">="} {aim:.2f}   {"reached" if good else "missed"}',
          flush=True)


def installed(*modules):
    return all(subprocess.run([sys.executable, '-c', f'import {m}'], stderr=subprocess.DEVNULL).returncode == 0
               for m in modules)
