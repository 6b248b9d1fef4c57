#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the KL term of every timestep with its standard error, and the running sum of the bits."""
import numpy as np

from diffx_analysis import RunError, figure, open_runs
from diffx_analysis.figure import UNIT_NAMES


def closed_form(r, s2, units):
    """(T,) KL terms of the best possible network for data N(0, s2 I) in normalised units, with the
    schedule and variances that stand in the record. NaN for t = 1."""
    abar = r.array("process/alpha_bar")
    before = np.append(1.0, abar[:-1])
    beta = r.array("process/beta")
    posterior = r.array("process/posterior_variance")
    mean_error = (beta / (1 - abar)) ** 2 * before * s2 * (1 - abar) / (abar * s2 + 1 - abar)
    # learned or estimated: the best there is
    variance = r.array("process/variance") if r.has("process/variance") else posterior + mean_error
    kl = np.full(r.timesteps, np.nan)
    ratio = posterior[1:] / variance[1:]
    kl[1:] = r.dimension / 2 * (ratio - 1 - np.log(ratio) + mean_error[1:] / variance[1:])
    return kl / r.units_factor(units)


def draw_terms(ax, terms, exact=None, band=1.0):
    """The KL terms on log axes with bands of that many standard errors. The decoder term may be negative
    and the prior is no step, so both are numbers beside their run's name."""
    lowest, highest = [], []
    for k in terms:
        look, there = figure.look(k.record.place), np.isfinite(k.term) & (k.term > 0) & k.later
        t, y, e = k.t[there], k.term[there], band * np.nan_to_num(k.stderr[there])
        sparse = {"marker": ".", "markersize": 3} if len(t) < 80 else {}
        ax.plot(t, y, label=figure.plain(k.record.label), **look, **sparse)
        if not len(t):
            continue
        ax.fill_between(t, np.maximum(y - e, y * 1e-3), y + e, color=look["color"], alpha=0.22, linewidth=0)
        lowest.append(y.min())
        highest.append((y + e).max())
    if exact is not None:
        ax.plot(terms[0].t, exact, color="#000000", linewidth=0.9, linestyle=":", label="closed form")
    figure.log_axis(ax.xaxis)
    if lowest:
        ax.set_ylim(min(lowest) / 2, max(highest) * 1.6)
        figure.log_axis(ax.yaxis)
    else:
        figure.say(ax, "no positive KL term")
    ax.set_xlabel("timestep $t$")
    ax.set_ylabel(f"$L_{{t-1}}$ [{UNIT_NAMES[terms[0].units]}]")
    banded = any(np.isfinite(k.stderr[1:]).any() for k in terms)
    ax.set_title("KL per timestep, " + (f"band {figure.errors(band)}" if banded else "seen in training"))
    figure.legend(ax, len(terms) + (exact is not None))


def draw_running_sum(ax, terms):
    """Bits sent by the reverse process once it has come down to t: the prior and the terms of all steps s >= t."""
    for k in terms:
        ax.plot(k.t[1:], k.rate()[1:], label=figure.plain(k.record.label), **figure.look(k.record.place))
    figure.log_axis(ax.xaxis)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("timestep $t$")
    prior = "L_T + " if terms[0].prior else ""
    ax.set_ylabel(f"${prior}\\sum_{{s \\geq t}} L_{{s-1}}$ [{UNIT_NAMES[terms[0].units]}]")
    ax.set_title("Where the bits go: sum from $T$ down to $t$")
    figure.legend(ax, len(terms))


def summary(k):
    """One line: what the figure cannot show on a log axis."""
    return (f"{figure.plain(k.record.label)}, step {k.step}: total {figure.pm(*k.total)}, decoder $L_0$ = "
            f"{figure.pm(*k.decoder)}, prior $L_T$ = {figure.pm(*k.prior)} {UNIT_NAMES[k.units]}")


def write_text(k):
    """The same numbers and the shares of the decades of t, to the terminal."""
    unit = UNIT_NAMES[k.units]
    print(f"{k.record.label}, step {k.step} ({unit})")
    if k.total:
        for name, pair in (("total", k.total), ("prior L_T", k.prior), ("decoder L_0", k.decoder)):
            print(f"  {name:<14} {figure.pm_ascii(*pair)}")
    if k.missing:
        print(f"  {k.missing} of {len(k.t) - 1} KL terms were not evaluated; sums interpolate them")
    rows = k.shares()
    whole = sum(row[2] for row in rows) or 1.0
    for first, last, value in rows:
        name = "prior" if first is None else f"t = {first}..{last}"
        print(f"  {name:<14} {value:10.5f}  {100 * value / whole:5.1f} % of the rate")


def write_csv(path, terms):
    """A row per run and t; t = 1 is the decoder term."""
    units = terms[0].units
    figure.write_csv(path, ["run", "step", "t", f"term_{units}", f"stderr_{units}", "examples", f"rate_{units}", "x0_mse"],
                     ([k.record.label, k.step, int(t), k.term[i], k.stderr[i], int(k.count[i]), rate, k.x0_mse[i]]
                      for k in terms for i, (t, rate) in enumerate(zip(k.t, k.rate()))))


def main(arguments):
    p = figure.parser(__doc__, "kl.png")
    figure.add_units(p)
    figure.add_step(p, "evaluation")
    figure.add_band(p)
    p.add_argument("--training", action="store_true",
                   help="the terms seen while training (group train_by_t, one draw of t per example, no error "
                        "bands) instead of an evaluation")
    p.add_argument("--gaussian", type=float, metavar="S2",
                   help="add the closed form for data N(0, S2 I) in normalised units")
    figure.add_csv(p, "the terms")
    a = figure.parse(p, arguments)
    records = open_runs(a.runs, a.labels)
    terms = [r.window(a.step, a.units) if a.training else r.evaluation(a.step, a.units) for r in records]
    if a.gaussian and terms[0].respaced:
        raise RunError(records[0].path, "the closed form is that of all steps, but evaluate.respace took some of them")
    exact = closed_form(records[0], a.gaussian, a.units) if a.gaussian else None

    lines = 0 if a.training else len(terms)
    fig, axes = figure.panels(1, 2, (figure.PANEL[0], figure.PANEL[1] + 0.14 * lines))
    draw_terms(axes[0], terms, exact, a.band)
    draw_running_sum(axes[1], terms)
    if lines:
        fig.supxlabel("\n".join(summary(k) for k in terms), fontsize=7.5, x=0.01, ha="left")
    for k in terms:
        write_text(k)
    if a.csv:
        write_csv(a.csv, terms)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
