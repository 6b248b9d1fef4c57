# SPDX-License-Identifier: Apache-2.0
"""The scripts of this folder as one importable package: diffx_analysis.kl is kl.py, and so on.

    from diffx_analysis import Run, open_runs, figure, kl
    run = Run("runs/points")                     # run folder, its metrics.h5, or a file of `diffx evaluate`
    run.labelled("kl/vb")                        # xarray.DataArray where xarray is installed, else numpy
    fig, axes = figure.panels(1, 1)
    kl.draw_terms(axes[0], [run.evaluation()])   # what kl.py draws; figure.use_style() for the looks of a paper
"""
import os
import sys

# A module with a __path__ is a package. Its folder goes last on Python's path: in front, where Python puts the folder of
# a script, profile.py and tensorboard.py would hide the modules of the same names that others import.
__path__ = [os.path.dirname(os.path.abspath(__file__))]
sys.path.sort(key=lambda p: os.path.abspath(p) == __path__[0])

from diffx_analysis.record import Run, RunError, Samples, open_runs, open_samples  # noqa: E402
