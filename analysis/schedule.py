#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the schedule of a run: signal and noise, signal-to-noise ratio, variances, and how the bound weighs errors of x_0.

SNR(t) = alpha_bar / (1 - alpha_bar), the ratio of the variances of signal and noise in x_t for data of variance 1.
The weight of step t is (SNR(t - 1) - SNR(t)) / 2: what a squared error of x_0 costs in L_{t-1}, in nats, where the
variance of p is that of q(x_{t-1} | x_t, x_0). At t = 1 it is infinite: there stands the decoder instead.
"""
import numpy as np

from diffx_analysis import figure, open_runs


class Schedule:
    """(T,) arrays over t = 1..T of the record's process; variance is None where the network learns it."""

    def __init__(self, run):
        self.run, self.t = run, np.arange(1, run.timesteps + 1)
        self.alpha_bar, self.beta = run.array("process/alpha_bar"), run.array("process/beta")
        self.posterior = run.array("process/posterior_variance")
        self.variance = run.array("process/variance") if run.has("process/variance") else None
        with np.errstate(divide="ignore"):
            self.snr = self.alpha_bar / (1 - self.alpha_bar)
        self.weight = np.append(np.nan, -np.diff(self.snr) / 2)


def _draw(ax, schedules, curves, ylabel, title, log):
    """curves: [(what of a schedule, its name in the legend, width)]; one run names its curves, several their runs."""
    many, shown = len(schedules) > 1, []
    for s in schedules:
        for i, (pick, name, width) in enumerate(curves):
            y = pick(s)
            if y is None:
                continue
            there = np.isfinite(y) & ((y > 0) | (not log))
            look = figure.look(s.run.place if many else i)
            if many and i:
                look["alpha"] = 0.45
            label = figure.plain(s.run.label) if many and not i else None if many else name
            ax.plot(s.t[there], y[there], label=label, linewidth=width, **look)
            shown += [label] if label else []
    if log:
        figure.log_axis(ax.xaxis)
        figure.log_axis(ax.yaxis)
    ax.set_xlabel("timestep $t$")
    ax.set_ylabel(ylabel)
    ax.set_title(title)
    figure.legend(ax, len(shown))


def draw_signal(ax, schedules):
    pale = ", pale: noise" if len(schedules) > 1 else ""
    _draw(ax, schedules, [(lambda s: np.sqrt(s.alpha_bar), r"signal $\sqrt{\bar\alpha_t}$", 1.3),
                          (lambda s: np.sqrt(1 - s.alpha_bar), r"noise $\sqrt{1-\bar\alpha_t}$", 1.3)],
          "scale in $x_t$", "Signal" + (pale or " and noise"), False)
    ax.set_ylim(0, 1.02)


def draw_snr(ax, schedules):
    _draw(ax, schedules, [(lambda s: s.snr, "SNR", 1.3)], "$\\bar\\alpha_t\\,/\\,(1-\\bar\\alpha_t)$",
          "Signal-to-noise ratio", True)


def draw_variances(ax, schedules):
    pale = " (pale: variances of $q$, of $p$)" if len(schedules) > 1 else ""
    _draw(ax, schedules, [(lambda s: s.beta, r"$\beta_t$", 2.4),
                          (lambda s: s.posterior, r"$\tilde\beta_t$ of $q(x_{t-1}|x_t,x_0)$", 1.3),
                          (lambda s: s.variance, r"$\sigma_t^2$ of $p(x_{t-1}|x_t)$", 1.3)],
          "variance" + ("" if pale else " of a step"), ("$\\beta_t$" if pale else "Variances") + pale, True)


def draw_weight(ax, schedules):
    _draw(ax, schedules, [(lambda s: s.weight, "weight", 1.3)], "$(\\mathrm{SNR}(t-1)-\\mathrm{SNR}(t))\\,/\\,2$",
          "Weight of an error of $x_0$ in the bound", True)


PANELS = (draw_signal, draw_snr, draw_variances, draw_weight)


def write_csv(path, schedules):
    head = ["run", "t", "beta", "alpha_bar", "snr", "posterior_variance", "variance", "weight"]
    figure.write_csv(path, head, ([s.run.label, int(t), s.beta[i], s.alpha_bar[i], s.snr[i], s.posterior[i],
                                   s.variance[i] if s.variance is not None else "", s.weight[i]]
                                  for s in schedules for i, t in enumerate(s.t)))


def say(s):
    below = s.t[s.snr < 1]
    print(f"{s.run.label}: T = {len(s.t)}, beta {s.beta[0]:.6g} .. {s.beta[-1]:.6g}, SNR {s.snr[0]:.6g} .. {s.snr[-1]:.6g}"
          + (f", below 1 from t = {below[0]}" if len(below) else ""))


def main(arguments):
    p = figure.parser(__doc__.split("\n\n")[0], "schedule.png")
    p.epilog = " ".join(__doc__.split("\n\n")[1].split())
    figure.add_csv(p, "the schedules")
    a = figure.parse(p, arguments)
    schedules = [Schedule(r) for r in open_runs(a.runs, a.labels)]

    for s in schedules:
        say(s)
    if a.csv:
        write_csv(a.csv, schedules)
    fig, axes = figure.panels(2, 2)
    for draw, ax in zip(PANELS, axes):
        draw(ax, schedules)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
