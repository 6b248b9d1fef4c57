#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a run folder as diffx would leave it (doc/formats.md), without diffx.

Data N(0, s^2 I), normalised; the predictor is the Bayes-optimal one, so every term has a closed
form (data units = shift + scale x normalised). Early evaluations are worse by a factor that falls
with the step, so that there is something to see; --noiseless leaves out both that and the noise,
so that tests can compare with tables. The samples are eight Gaussians instead.
"""
import argparse
import math
import os

import h5py
import numpy as np


def schedule(T):
    """Linear betas with DDPM's end points, and all that follows from them; index 0 is t = 1."""
    beta = np.minimum(np.linspace(1e-4 * 1000 / T, 0.02 * 1000 / T, T), 0.9)
    abar = np.cumprod(1 - beta)
    before = np.append(1.0, abar[:-1])
    posterior = beta * (1 - before) / (1 - abar)
    return {"beta": beta, "alpha_bar": abar, "posterior_variance": posterior,
            "variance": np.append(posterior[min(1, T - 1)], beta[1:]), "c1": beta * np.sqrt(before) / (1 - abar)}


def respaced(p, n):
    """The process of n of the steps, 1 and T among them, as `evaluate.respace` has it, and their t."""
    t = np.unique(np.round(np.linspace(1, len(p["beta"]), n)).astype(np.int64))
    abar = p["alpha_bar"][t - 1]
    before = np.append(1.0, abar[:-1])
    beta = 1 - abar / before
    posterior = beta * (1 - before) / (1 - abar)
    return {"beta": beta, "alpha_bar": abar, "posterior_variance": posterior,
            "variance": np.append(posterior[1], beta[1:]), "c1": beta * np.sqrt(before) / (1 - abar)}, t


def closed_form(p, D, s2, scale):
    """(T,) terms in nats with the optimal decoder variance, the prior, and E|x0 - x0hat|^2 / D."""
    abar, v = p["alpha_bar"], s2 * (1 - p["alpha_bar"]) / (p["alpha_bar"] * s2 + 1 - p["alpha_bar"])
    ratio, gap = p["posterior_variance"] / p["variance"], p["c1"] ** 2 * v / p["variance"]
    with np.errstate(divide="ignore"):  # log 0 at t = 1, replaced by the decoder term
        term = D / 2 * (-1 - np.log(ratio) + ratio + gap)
    term[0] = D / 2 * math.log(2 * math.pi * math.e * v[0]) + D * math.log(scale)
    prior = D / 2 * (-math.log(1 - abar[-1]) - abar[-1] + abar[-1] * s2)
    spread = np.sqrt(2 * D) / 2 * gap  # standard deviation over examples of a term
    spread[0] = math.sqrt(D / 2)
    return term, spread, prior, v


def dataset(f, name, data, units, text, scale=None):
    d = f.create_dataset(name, data=data)
    d.attrs["units"], d.attrs["description"] = units, text
    if scale is not None:
        d.dims[d.ndim - 1].attach_scale(f[scale])
        d.dims[d.ndim - 1].label = "t"


def t_scale(f, group, t):
    dataset(f, f"{group}/t", t, "1", "timestep")
    f[f"{group}/t"].make_scale("t")


def head(f, content, a):
    f.attrs["format"], f.attrs["program"], f.attrs["content"] = np.int64(a.format), "diffx", content
    f.attrs["name"], f.attrs["modality"] = a.name, a.modality


def write_train(f, a, rng):
    step = np.arange(100, a.steps + 1, 100)
    loss = 0.35 + 0.7 * np.exp(-step / 800) + rng.normal(0, 0.02, len(step))
    if a.nan:
        loss[-2:] = np.nan
    dataset(f, "train/step", step, "step", "optimizer steps done when the row was written")
    dataset(f, "train/loss", loss, "1", "mean loss over the examples since the row before")
    dataset(f, "train/grad_norm", 0.1 + np.exp(-step / 900) * rng.gamma(5, 0.2, len(step)), "1", "norm of the gradient")
    dataset(f, "train/rate", a.rate * np.minimum(1, step / 1000), "1", "learning rate")
    dataset(f, "timing/step", step, "step", "step of the row")
    dataset(f, "timing/seconds", step / 11000.0, "s", "time since the session began")
    dataset(f, "timing/examples_per_second", 7e5 + rng.normal(0, 2e4, len(step)), "1/s", "mean speed")


def write_windows(f, a, term, rng):
    step = np.linspace(a.steps / 4, a.steps, 4).astype(np.int64)
    count = rng.poisson(3.0, (4, a.timesteps)).astype(np.int64)
    seen = np.where(count > 0, 1.0, np.nan)
    noise = rng.gamma(8, 1 / 8, (4, a.timesteps))
    kl = np.where(np.arange(a.timesteps) > 0, term * noise, term)
    dataset(f, "train_by_t/step", step, "step", "last step of the window")
    t_scale(f, "train_by_t", np.arange(1, a.timesteps + 1))
    for name, data, units in (("count", count, "examples"), ("mse", seen * 0.3 * noise, "1"),
                              ("x0_mse", seen * noise, "1"), ("kl", seen * kl, "nats")):
        dataset(f, f"train_by_t/{name}", data, units, name, "train_by_t/t")


def write_examples(f, a, term, spread, prior, rng):
    """The results of single examples, as `diffx evaluate` keeps them: rows first_row.. in some order. How hard a row is
    does not depend on --seed, so runs have it in common; a tenth of the spread is their own."""
    n, T = a.examples, a.timesteps
    row = a.first_row + rng.permutation(n)
    common = np.stack([np.random.default_rng(10000 + r).normal(0, 1, T) for r in row])
    vb = term + spread * (common + 0.1 * rng.normal(0, 1, (n, T)))
    dataset(f, "kl/example_row", row, "1", "row of the test split")
    total = prior + vb.sum(axis=1)
    dataset(f, "kl/example_total", total[None] if a.each == "stacked" else total, "nats", "bound of the example")
    if a.each != "total":
        dataset(f, "kl/example_vb", vb[None] if a.each == "stacked" else vb, "nats", "its terms", "kl/t")
    return vb.mean(axis=0), vb.std(axis=0, ddof=1) / math.sqrt(n), total.std(ddof=1) / math.sqrt(n)


def write_kl(f, a, p, rng):
    D, E, n = a.dimension, a.evaluations, a.examples
    p, t = respaced(p, a.respace) if a.respace else (p, np.arange(1, a.timesteps + 1))
    T = len(t)
    term, spread, prior, v = closed_form(p, D, a.variance, a.scale)
    if a.noiseless:
        noise = np.zeros((E, T))
    else:
        noise = rng.normal(0, 1, (E, T))
    step = np.linspace(a.steps / max(E, 1), a.steps, E).astype(np.int64)
    dataset(f, "kl/step", step, "step", "step of the evaluation")
    t_scale(f, "kl", t)
    worse = a.worse + 40 * np.exp(-6 * step / a.steps)[:, None] * (0.0 if a.noiseless else 1.0)
    count = np.full((E, T), n)
    if a.subset:
        count = rng.poisson(n * a.subset / T, (E, T))
    root = np.sqrt(np.maximum(count, 1))
    gain = np.where(np.arange(T) > 0, 1 + worse, 1.0)
    vb = term * gain + noise * spread / root
    vb = np.where(np.arange(T) > 0, np.abs(vb), vb)
    error = np.where(count > 1, spread * gain / root, np.nan)
    vb = np.where(count > 0, vb, np.nan)
    if a.each:
        vb, error, each = write_examples(f, a, term * gain[-1], spread * gain[-1], prior, rng)
        vb, error = np.tile(vb, (E, 1)), np.tile(error, (E, 1))
    one = np.ones(E)
    decoder, total = vb[:, 0].copy(), np.nansum(vb, axis=1) + prior
    decoder[np.isnan(decoder)] = term[0]
    both = [("vb", vb), ("vb_stderr", error), ("prior", prior * one), ("prior_stderr", 1e-6 * one),
            ("decoder", decoder), ("decoder_stderr", one * spread[0] / math.sqrt(n)),
            ("total", total), ("total_stderr", one * (each if a.each else 1.4 * D * math.log(2) / math.sqrt(n)))]
    for name, data in both:
        scale = "kl/t" if name.startswith("vb") else None
        dataset(f, f"kl/{name}", data, "nats", name, scale)
        dataset(f, f"kl/{name}_bits", data / (D * math.log(2)), "bits/dim", name, scale)
    x0 = np.where(count > 0, v * (1 + worse * (a.worse > 0)), np.nan)
    dataset(f, "kl/x0_mse", x0, "1", "mean squared error of x0", "kl/t")
    dataset(f, "kl/mse", x0 * p["alpha_bar"] / (1 - p["alpha_bar"]), "1", "mean squared error of the noise", "kl/t")
    dataset(f, "kl/count", count, "examples", "examples evaluated at this t", "kl/t")
    dataset(f, "kl/decoder_variance", v[0] * one, "1", "variance of the decoder")
    dataset(f, "kl/examples", np.full(E, n), "examples", "examples of the test split")
    if a.classes:
        kinds = np.arange(a.classes)
        f["kl"].attrs["class_names"] = "\n".join(f"kind {c}" for c in kinds)
        if a.each:                       # what a class costs more it costs at t = 6
            more = np.where(np.arange(T) == 5, (kinds - a.classes / 2)[:, None], 0.0)
            dataset(f, "kl/class_vb", np.where(kinds[:, None] > 0, vb[-1] + more, np.nan), "nats", "mean terms", "kl/t")
        dataset(f, "kl/class_count", np.tile(np.where(kinds > 0, n // a.classes, 0), (E, 1)), "examples", "examples of the class")
        cost = np.where(kinds > 0, total[:, None] + kinds - a.classes / 2, np.nan)
        dataset(f, "kl/class_total", cost, "nats", "mean bound of the class")
        dataset(f, "kl/class_total_stderr", np.where(kinds > 0, 0.1, np.nan) * one[:, None], "nats", "its standard error")
    dataset(f, "kl/ema", np.full(E, 1), "1", "1: averaged weights")


def write_record(a, rng):
    p, T = schedule(a.timesteps), a.timesteps
    with h5py.File(os.path.join(a.out, "metrics.h5"), "w") as f:
        head(f, a.content, a)
        f.attrs["dimension"], f.attrs["timesteps"] = np.int64(a.dimension), np.int64(T)
        f.attrs["shift"], f.attrs["scale"] = 0.0, a.scale
        f.attrs["examples_per_step"], f.attrs["dataset_hash"] = np.int64(64), a.hash
        f.attrs["experiment"] = EXPERIMENT.format(name=a.name, T=T, rate=a.rate, steps=a.steps)
        write_train(f, a, rng)
        write_windows(f, a, closed_form(p, a.dimension, a.variance, a.scale)[0], rng)
        if a.evaluations:
            write_kl(f, a, p, rng)
        t_scale(f, "process", np.arange(1, T + 1))
        for name in ("beta", "alpha_bar", "posterior_variance", "variance"):
            dataset(f, f"process/{name}", p[name], "1", name, "process/t")
        g = f.create_group("provenance")
        g.attrs["version"], g.attrs["commit"], g.attrs["kernels"] = "0.1", "c2f53c8", "avx2 (BLIS haswell)"
        g.attrs["libraries"], g.attrs["settings"] = "HDF5 1.10.8, BLIS 0.9.0, Open MPI 4.1.4", f.attrs["experiment"]
        dataset(f, "provenance/session_start", np.array([1.7e9, 1.7e9 + 90]), "s", "seconds since 1970")
        for name, data in (("ranks", [2, 3]), ("threads", [1, 1]), ("step", [0, 4000])):
            dataset(f, f"provenance/session_{name}", np.array(data), "1", name)
        f.create_dataset("provenance/session_host", data=["node01", "node02"], dtype=h5py.string_dtype())


def eight(rng, n, spread):
    angle = rng.integers(0, 8, n) * math.pi / 4
    return np.stack([4 * np.cos(angle), 4 * np.sin(angle)], 1) + rng.normal(0, spread, (n, 2))


def write_samples(a, rng):
    n, p = 1000, schedule(a.timesteps)
    x0, noise = eight(rng, n, 0.3), rng.normal(0, 1, (n, 2))
    x0[:3] = [[40, 2], [-9, 30], [7, -7]]
    t = np.array([a.timesteps, *(a.timesteps * k // 100 for k in (60, 40, 20, 10)), 0])
    abar = np.append(1.0, p["alpha_bar"])[t][:, None, None]
    path = np.sqrt(abar) * x0 / a.scale + np.sqrt(1 - abar) * noise
    os.makedirs(os.path.join(a.out, "samples"), exist_ok=True)
    with h5py.File(os.path.join(a.out, "samples", f"step-{a.steps:08d}.h5"), "w") as f:
        head(f, "samples", a)
        f.attrs["step"], f.attrs["sampler"], f.attrs["ema"] = np.int64(a.steps), "ancestral", np.int64(1)
        shape = (1, 1, 2) if a.modality == "points" else (2, 2, 3)
        if a.modality != "points":
            x0, path = rng.normal(0, 1, (n, 12)), rng.normal(0, 1, (len(t), n, 12))
        for name, data in (("x", x0), ("reference", eight(rng, n, 0.2) if shape[2] == 2 else x0)):
            dataset(f, name, data.reshape((n,) + shape).astype(np.float32), "data", name)
        dataset(f, "trajectory", (a.scale * path).reshape((len(t), n) + shape).astype(np.float32), "data", "x_t")
        dataset(f, "trajectory_t", t, "1", "timestep of each snapshot")


EXPERIMENT = """name: {name}
seed: 1
data: {{set: mixture8, count: 10000, noise: 0.2}}
process:
  schedule: linear
  timesteps: {T}
  variance: fixed-large   # sigma_t^2 = beta_t
model:
  kind: mlp
  hidden: [128, 128]
train:
  steps: {steps}
  batch: 64
  rate: {rate}
"""


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out", help="run folder to make")
    for name, kind, value in (("name", str, "points"), ("modality", str, "points"), ("content", str, "record"),
                              ("each", str, ""), ("hash", str, "9f2c4b7d5e6a8013"), ("first-row", int, 0), ("classes", int, 0),
                              ("respace", int, 0), ("format", int, 1), ("dimension", int, 2), ("timesteps", int, 1000),
                              ("steps", int, 15625), ("evaluations", int, 5), ("examples", int, 2000),
                              ("subset", int, 0), ("seed", int, 1), ("scale", float, 2.5),
                              ("variance", float, 1.0), ("rate", float, 1e-3), ("worse", float, 0.0)):
        p.add_argument(f"--{name}", type=kind, default=value)
    p.add_argument("--noiseless", action="store_true", help="the closed form itself, in every evaluation")
    p.add_argument("--nan", action="store_true", help="the last losses are NaN")
    p.add_argument("--no-samples", action="store_true")
    a = p.parse_args()
    rng = np.random.default_rng(a.seed)
    os.makedirs(a.out, exist_ok=True)
    write_record(a, rng)
    if not a.no_samples:
        write_samples(a, rng)


if __name__ == "__main__":
    main()
