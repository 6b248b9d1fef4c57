#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much less a gradient varies when t is drawn otherwise, from runs whose weights stand still: the first is compared with
the others, e.g. train.t_sampling uniform with importance.

Each is made with train.init_from=RUN train.rate=0 train.log_every=1; --large names one more of the last one's kind with a larger
train.batch. Over batches of B examples E |g|^2 = |E g|^2 + V / B, so the two sizes tell |E g|^2, which is that of every run, and
with it V of each: most surely where the last one varies least. The interval (95 %) is a bootstrap over the steps."""
import numpy as np

from diffx_analysis import RunError, figure, open_runs

RESAMPLES = 4000


def squares(record, after):
    """|g|^2 of each step behind that many examples, and the examples of a step."""
    batch = int(record.number("examples_per_step"))
    step, norm = record.array("train/step"), record.array("train/grad_norm")
    if not np.all(np.diff(step) == 1) or record.array("train/rate").any():
        raise RunError(record.path, "has weights that moved, or steps without a row; allowed: train.rate=0 train.log_every=1")
    kept = norm[step * batch > after] ** 2
    if len(kept) < 10:
        raise RunError(record.path, f"has {len(kept)} steps behind its first {after} examples; at least 10 are wanted")
    return kept, batch


def variances(runs, large):
    """V of each of runs, from means of |g|^2; (mean, B) pairs, the last of runs and large of one kind."""
    (small, b), (big, l) = runs[-1], large
    mean = (l * big - b * small) / (l - b)
    return [n * (square - mean) for square, n in runs]


def factors(samples, large, seed=1):
    """V of the first over V of each of the others: (value, low, high)."""
    def of(draw):
        v = variances([(draw(s).mean(), b) for s, b in samples], (draw(large[0]).mean(), large[1]))
        return [v[0] / x for x in v[1:]]
    random = np.random.default_rng(seed)
    resampled = [of(lambda s: s[random.integers(len(s), size=len(s))]) for _ in range(RESAMPLES)]
    return [(value, *np.percentile(column, [2.5, 97.5])) for value, column in zip(of(lambda s: s), zip(*resampled))]


def draw(ax, records, samples):
    for record, (square, _) in zip(records, samples):
        look = figure.look(record.place)
        ordered = np.sort(np.sqrt(square))
        ax.loglog(ordered, 1 - np.arange(len(ordered)) / len(ordered), drawstyle="steps-pre", label=figure.plain(record.label), **look)
    ax.set_xlabel("norm of the gradient")
    ax.set_ylabel("share of steps with at least that")
    figure.legend(ax, len(records))


def main(arguments):
    p = figure.parser(__doc__, "gradient_variance.png")
    p.add_argument("--large", required=True, metavar="RUN", help="of the last run's kind, with a larger batch")
    p.add_argument("--after", type=int, default=0, metavar="N", help="leave out the first N examples of all runs but the first, when importance was still learning")
    a = figure.parse(p, arguments)
    records = open_runs(a.runs, a.labels)
    if len(records) < 2:
        raise RunError(records[0].path, "stands alone; name at least two runs")
    samples = [squares(r, a.after if r.place else 0) for r in records]
    large = squares(open_runs([a.large])[0], a.after)
    if large[1] <= samples[-1][1]:
        raise RunError(a.large, f"has batches of {large[1]}; allowed: more than the last run's {samples[-1][1]}")
    for record, (value, low, high) in zip(records[1:], factors(samples, large)):
        print(f"{record.label}: the variance of {records[0].label} is {value:.2f} times as large (95 %: {low:.2f} to {high:.2f})")
    fig, axes = figure.panels(1, 1, (4.4, 2.8))
    draw(axes[0], records, samples)
    figure.save(fig, a.out, a.dpi)


if __name__ == "__main__":
    figure.run_script(main)
