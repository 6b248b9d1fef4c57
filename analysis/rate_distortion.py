#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws and prints rate and distortion over the reverse process, as DDPM's Figure 5 and Table 4.

Rate at t: the prior and the KL terms of all steps s >= t, s >= 2. Distortion at t: the root mean
squared error of the x0 predicted from x_t, in units of the data. T - t + 1 counts the steps of the
reverse process, so T - t + 1 = T is its end: all of the rate but the decoder term.
"""
import numpy as np

from diffx_analysis import figure, open_runs
from diffx_analysis.figure import UNIT_NAMES


def table(k, rows):
    """[(T - t + 1, rate, rmse)], `rows` of them evenly spaced, from the end of the reverse process."""
    T = len(k.t)
    rate, rmse = k.rate(), k.distortion()
    counts = sorted({max(1, round(T * i / rows)) for i in range(1, rows + 1)}, reverse=True)
    return [(n, rate[T - n], rmse[T - n]) for n in counts]


def draw_distortion(ax, terms):
    _draw(ax, terms, lambda k: (np.arange(len(k.t), 0, -1), k.distortion()))
    ax.set_xlabel("reverse steps $T - t + 1$")
    ax.set_title("Distortion" + _distortion_axis(ax, terms))


def draw_rate(ax, terms):
    _draw(ax, terms, lambda k: (np.arange(len(k.t), 0, -1), k.rate()))
    ax.set_xlabel("reverse steps $T - t + 1$")
    ax.set_ylabel(f"rate [{UNIT_NAMES[terms[0].units]}]")
    ax.set_title("Rate")


def draw_both(ax, terms):
    _draw(ax, terms, lambda k: (k.rate(), k.distortion()))
    ax.set_xlabel(f"rate [{UNIT_NAMES[terms[0].units]}]")
    ax.set_title("Distortion against rate" + _distortion_axis(ax, terms))


def _distortion_axis(ax, terms):
    """Without clipping x0hat may be far off at large t; that must not hide the rest of the curve.
    What the title must add."""
    ax.set_ylabel("RMSE of $x_0$ [data units]")
    high = max((np.nanmax(k.distortion()) for k in terms if np.isfinite(k.distortion()).any()), default=0.0)
    top = 4 * max(abs(k.record.scale) for k in terms)
    if high > top > 0:
        ax.set_ylim(top=top)
        return f" (up to {high:.3g})"
    return ""


def _draw(ax, terms, curve):
    for k in terms:
        x, y = curve(k)
        there = np.isfinite(x) & np.isfinite(y)
        ax.plot(x[there], y[there], label=figure.plain(k.record.label), **figure.look(k.record.place))
    ax.set_ylim(bottom=0)
    ax.set_xlim(left=0)
    figure.legend(ax, len(terms))


def print_table(k, rows):
    unit = UNIT_NAMES[k.units]
    print(f"{k.record.label}, step {k.step}")
    print(f"{'T - t + 1':>9}  {'rate [' + unit + ']':>15}  {'distortion (RMSE, data units)':>29}")
    for n, rate, rmse in table(k, rows):
        print(f"{n:>9}  {rate:>15.5f}  {rmse if np.isfinite(rmse) else float('nan'):>29.5f}")
    if k.missing:
        print(f"  {k.missing} of {len(k.t) - 1} KL terms were not evaluated; the rate interpolates them")


def write_csv(path, terms):
    """The whole curves: a row per run and t, both units."""
    def rows(k):
        T, nats = len(k.t), k.rate() * k.record.units_factor(k.units)
        bits, rmse = nats / k.record.units_factor("bits"), k.distortion()
        return ([k.record.label, k.step, i + 1, T - i, bits[i], nats[i], rmse[i]] for i in range(T))

    figure.write_csv(path, ["run", "step", "t", "T-t+1", "rate_bits_per_dim", "rate_nats", "rmse"],
                     (row for k in terms for row in rows(k)))


def main(arguments):
    p = figure.parser(__doc__.splitlines()[0], "rate_distortion.png")
    p.epilog = " ".join(__doc__.split("\n\n")[1].split())
    figure.add_units(p)
    figure.add_step(p, "evaluation")
    p.add_argument("--rows", type=int, default=10, help="rows of the printed table (default 10)")
    figure.add_csv(p, "the whole curves")
    a = figure.parse(p, arguments)
    if a.rows < 1:
        p.error("--rows must be at least 1")
    terms = [r.evaluation(a.step, a.units) for r in open_runs(a.runs, a.labels)]

    for k in terms:
        print_table(k, a.rows)
    if a.csv:
        write_csv(a.csv, terms)
    fig, axes = figure.panels(1, 3, (3.0, 2.5))
    draw_distortion(axes[0], terms)
    draw_rate(axes[1], terms)
    draw_both(axes[2], terms)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
