# SPDX-License-Identifier: Apache-2.0
"""Repeat a run of diffx in PyTorch, in float64 and from the written definitions alone, and compare.

usage: torch_parity.py DATA.h5 RUN

DATA is the file that the run read; everything else comes from the settings in RUN/metrics.h5: starting weights,
order of the samples, timesteps, noise, dropout, learning rates. Compared are the final checkpoint, the record,
every evaluation in RUN/evaluation-*.h5 and the samples. A line per comparison: 0 (good) or 1 and its name.
"""
import glob
import sys

import h5py
import numpy as np
import torch

# Relative errors that are allowed: a few times what rounding to float32 makes.
TRAINING, BOUND, SAMPLES = 1e-6, 1e-5, 1e-5

# ---- random numbers: doc/formats.md ----------------------------------------------------------
INIT, _, ORDER, TIME, NOISE, DROPOUT, _, EVAL_TIME, EVAL_NOISE, DECODER, SAMPLE = range(1, 12)
LOW = np.uint64(0xFFFFFFFF)


def philox(seed, purpose, layer, step, index, block):
    """Four words for each element of index, step, block (broadcast): shape (..., 4)."""
    step, index, block = np.broadcast_arrays(*(np.asarray(a, np.uint64) for a in (step, index, block)))
    a, b, c = block & LOW, index & LOW, step & LOW
    d = np.uint64(purpose << 24 | layer << 16) | step >> np.uint64(32) << np.uint64(8) | index >> np.uint64(32)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, b, c, d = q >> np.uint64(32) ^ b ^ np.uint64(k0), q & LOW, p >> np.uint64(32) ^ d ^ np.uint64(k1), p & LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([a, b, c, d], -1)


def words(seed, purpose, layer, step, index, n):
    """n words for each element of index and step: (len, n)."""
    step, index = np.broadcast_arrays(np.asarray(step), np.asarray(index))
    blocks = np.arange((n + 3) // 4)
    return philox(seed, purpose, layer, step[:, None], index[:, None], blocks).reshape(len(index), -1)[:, :n]


def normals(seed, purpose, step, index, n):
    w = words(seed, purpose, 0, step, index, (n + 1) // 2 * 2).astype(np.float64).reshape(-1, (n + 1) // 2, 2)
    r, turn = np.sqrt(-2 * np.log((w[..., 0] + 1) / 2**32)), 2 * np.pi * w[..., 1] / 2**32
    z = np.stack([r * np.cos(turn), r * np.sin(turn)], -1).reshape(len(w), -1)
    return z[:, :n].astype(np.float32).astype(np.float64)


def below(word, n):
    return (word * np.uint64(n) >> np.uint64(32)).astype(np.int64)


def mix(x):
    for shift, factor in (16, 0x85EBCA6B), (13, 0xC2B2AE35):
        x = (x ^ x >> shift) * factor & 0xFFFFFFFF
    return x ^ x >> 16


def permutation(n, seed, epoch):
    """The keyed order of 0..n-1, as a function."""
    key = [int(w) for w in words(seed, ORDER, 0, [epoch], [0], 8)[0]]
    bits = 1
    while 4**bits < n:
        bits += 1
    mask = 2**bits - 1

    def at(i):
        while True:
            left, right = i >> bits, i & mask
            for k in key:
                left, right = right, (left ^ mix(right ^ k)) & mask
            i = left << bits | right
            if i < n:
                return i

    return at


# ---- the process: doc/math.md, arrays by t - 1 -----------------------------------------------
class Process:
    def __init__(self, s):
        T, self.T = s["process.timesteps"], s["process.timesteps"]
        if s["process.schedule"] == "linear":
            k = 1000 / T if s["process.scale"] == "true" else 1
            beta = np.linspace(k * s["process.beta_first"], k * s["process.beta_last"], T)
        else:
            f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
            beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
        self.time = np.arange(1, T + 1)  # what a network is told at each step
        self.derive(s, beta)

    def respace(self, s):
        """The process of fewer steps, by improved-diffusion's space_timesteps and SpacedDiffusion."""
        counts, start, steps, last, beta = [int(c) for c in str(s["evaluate.respace"]).split(",")], 0, [], 1.0, []
        for i, count in enumerate(counts):
            size, at = self.T // len(counts) + (i < self.T % len(counts)), 0.0
            for _ in range(count):
                steps.append(start + round(at))
                at += (size - 1) / (count - 1) if count > 1 else 1
            start += size
        for i in steps:
            beta.append(1 - self.abar[i] / last)
            last = self.abar[i]
        self.T, self.time = len(steps), self.time[steps]
        self.derive(s, np.array(beta))

    def derive(self, s, beta):
        self.beta, self.alpha, self.abar = beta, 1 - beta, np.cumprod(1 - beta)
        prev = np.append(1, self.abar[:-1])
        self.post_mean = beta * np.sqrt(prev) / (1 - self.abar), (1 - prev) * np.sqrt(self.alpha) / (1 - self.abar)
        variance = beta * (1 - prev) / (1 - self.abar)
        self.post_log = np.log(np.append(variance[1], variance[1:]))
        large = s["objective.variance"] == "fixed-large"
        self.log_var = np.log(np.append(variance[1], beta[1:])) if large else self.post_log


def normal_kl(m1, l1, m2, l2):
    return 0.5 * (-1 + l2 - l1 + np.exp(l1 - l2) + (m1 - m2) ** 2 * np.exp(-l2))


# ---- a run again -----------------------------------------------------------------------------
class Run:
    def __init__(self, settings, data):
        s = self.s = settings
        self.seed, self.process, self.T = s["seed"], Process(s), s["process.timesteps"]
        with h5py.File(data) as f:
            self.shift, self.scale = f.attrs["shift"], f.attrs["scale"]
            self.split = [((f[k]["x"][:].astype(np.float64) - self.shift) / self.scale).astype(np.float32)
                          .astype(np.float64) for k in ("train", "test")]
        self.D = self.split[0].shape[1]
        self.params = []
        widths = [self.D + 1] + s["model.hidden"] + [self.D]
        for wide, out in zip(widths, widths[1:]):
            for shape in (out, wide), (out,):
                u = words(self.seed, INIT, 0, [len(self.params)], [0], int(np.prod(shape)))[0]
                w = ((2 * ((u + 0.5) / 2**32) - 1) / np.sqrt(wide)).astype(np.float32).astype(np.float64)
                self.params.append(torch.from_numpy(w.reshape(shape)).requires_grad_())

    def predict(self, x, t, params, drop=None):
        h = torch.cat([torch.as_tensor(x), torch.as_tensor(t / self.T)[:, None]], 1)
        for i in range(0, len(params), 2):
            h = torch.nn.functional.linear(h, params[i], params[i + 1])
            if i < len(params) - 2:
                h = torch.relu(h)
                h = h if drop is None else h * drop(i // 2, h.shape[1])
        return h

    def dropout(self, step):
        """The factors (0 or 1/keep) of a layer in a step."""
        chance = round(65536 * self.s["model.dropout"])

        def factors(layer, n):
            batch = np.arange(self.s["train.batch"])
            w = words(self.seed, DROPOUT, layer, step, batch, (n + 7) // 8 * 4)
            half = np.stack([w & np.uint64(0xFFFF), w >> np.uint64(16)], -1).reshape(len(batch), -1)[:, :n]
            return torch.from_numpy((half >= chance) * (65536 / (65536 - chance)))

        return factors if chance else None

    def rate(self, done):
        s, part = self.s, done / self.s["train.steps"]
        warm = min(1, (done + 1) / s["train.warmup"]) if s["train.warmup"] else 1
        return s["train.rate"] * warm * {"none": 1, "linear": 1 - part,
                                         "cosine": 0.5 * (1 + np.cos(np.pi * part))}[s["train.decay"]]

    def clip(self, bound):
        """torch's own function; its 1e-6 in the denominator is taken back. The norm before."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.params, float("inf")))
        if bound and norm > bound:
            torch.nn.utils.clip_grad_norm_(self.params, bound * (1 + 1e-6 / norm))
        return norm

    def train(self):
        s, p = self.s, self.process
        N, B, order = len(self.split[0]), s["train.batch"], {}
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[s["train.optimizer"]]
        # decays of averages as float32 has them: 1 - 0.999 is another number by 1.3e-5 of it
        beta1, beta2 = (float(np.float32(s[f"train.{k}"])) for k in ("beta1", "beta2"))
        optimizer = kind(self.params, lr=s["train.rate"], betas=(beta1, beta2), eps=s["train.epsilon"],
                         weight_decay=s["train.weight_decay"])
        self.ema = {rate: [w.detach().clone() for w in self.params] for rate in self.rates_of_averages()}
        self.losses, self.times, self.norms, self.rates = [], [], [], []
        for step in range(s["train.steps"]):
            rows = [divmod(step * B + b, N) for b in range(B)]
            for epoch, _ in rows:
                order[epoch] = order.get(epoch) or permutation(N, self.seed, epoch)
            x0, place = self.split[0][[order[e](i) for e, i in rows]], np.arange(B)
            t = 1 + below(words(self.seed, TIME, 0, step, place, 1)[:, 0], self.T)
            eps, abar = normals(self.seed, NOISE, step, place, self.D), p.abar[t - 1][:, None]
            out = self.predict(np.sqrt(abar) * x0 + np.sqrt(1 - abar) * eps, t, self.params, self.dropout(step))
            loss = ((torch.from_numpy(eps) - out) ** 2).mean(1)
            optimizer.zero_grad()
            loss.mean().backward()
            self.norms.append(self.clip(s["train.clip"]))
            self.rates.append(self.rate(step))
            optimizer.param_groups[0]["lr"] = self.rates[-1]
            optimizer.step()
            self.losses.append(loss.detach().numpy())
            self.times.append(t)
            with torch.no_grad():
                for rate, average in self.ema.items():
                    warm = (2 + step) / (11 + step) if s["train.ema_warmup"] == "inverse" else 1
                    keep = float(np.float32(min(rate, warm)))
                    for e, w in zip(average, self.params):
                        e.mul_(keep).add_(w, alpha=1 - keep)
        self.moments = [[optimizer.state[w][k] for w in self.params] for k in ("exp_avg", "exp_avg_sq")]

    def rates_of_averages(self):
        rates = self.s["train.ema"]
        return rates if isinstance(rates, list) else [rates] if rates else []

    def weights(self, wanted):
        if wanted == "raw" or not self.ema:
            return self.params
        return self.ema[self.rates_of_averages()[0] if wanted == "ema" else float(wanted[4:])]

    # ---- the bound, term by term, by means and log-variances ---------------------------------
    def x0hat(self, x, t, params):
        abar, t = self.process.abar[t - 1][:, None], self.process.time[t - 1]
        with torch.no_grad():
            return (x - np.sqrt(1 - abar) * self.predict(x, t, params).numpy()) / np.sqrt(abar)

    def rows(self, split, n):
        order = permutation(len(self.split[split]), self.seed, 2**40 - 1 - split)
        return np.array([order(i) for i in range(n)])

    def noised(self, split, purpose, rows, t):
        abar, x0 = self.process.abar[t - 1][:, None], self.split[split][rows]
        return x0, np.sqrt(abar) * x0 + np.sqrt(1 - abar) * normals(
            self.seed, purpose, self.process.time[t - 1], rows, self.D)

    def decoder_variance(self, s, n, params):
        p, kind = self.process, s["process.decoder_variance"]
        if kind in ("clipped", "beta"):
            return np.exp(p.post_log[0]) if kind == "clipped" else p.beta[0]
        rows = self.rows(0, min(n, len(self.split[0])))
        t = np.ones_like(rows)
        x0, xt = self.noised(0, DECODER, rows, t)
        return ((x0 - self.x0hat(xt, t, params)) ** 2).mean()

    def strata(self, wanted):
        T, first = self.process.T, [1]
        K = wanted if 0 < wanted < T else T
        for k in range(1, K):
            u = (k - 1) / (K - 1)
            first.append(min(max(2 + int(u * u * (T - 1)), first[-1] + 1), T - (K - 1 - k)))
        return list(zip(first, first[1:] + [T + 1]))

    def evaluate(self, s):
        """What group kl of the record holds, with settings s."""
        p = self.process = Process(s)
        if s["evaluate.respace"] != "none":
            p.respace(s)
        N = s["evaluate.examples"] if 0 < s["evaluate.examples"] < len(self.split[1]) else len(self.split[1])
        params, rows, D = self.weights(s["evaluate.weights"]), self.rows(1, N), self.D
        v = self.decoder_variance(s, N, params)
        x_all, last = self.split[1][rows], p.abar[-1]
        prior = normal_kl(np.sqrt(last) * x_all, np.log(1 - last), 0, 0).sum(1)
        total, vb, mse, x0_mse = prior.copy(), *([[] for _ in range(p.T)] for _ in range(3))
        for k, (a, b) in enumerate(self.strata(s["evaluate.timesteps"])):
            t = np.full(N, a)
            if b - a > 1:
                t += below(words(self.seed, EVAL_TIME, 0, k, rows, 1)[:, 0], b - a)
            x0, xt = self.noised(1, EVAL_NOISE, rows, t)
            hat, i = self.x0hat(xt, t, params), t - 1
            c1, c2 = (c[i][:, None] for c in p.post_mean)
            term = normal_kl(c1 * x0 + c2 * xt, p.post_log[i][:, None], c1 * hat + c2 * xt, p.log_var[i][:, None])
            density = 0.5 * (np.log(2 * np.pi * v) + (x0 - hat) ** 2 / v) + np.log(self.scale)
            term = np.where(t == 1, density.sum(1), term.sum(1))
            noise = (xt - np.sqrt(p.abar[i])[:, None] * x0) / np.sqrt(1 - p.abar[i])[:, None]
            guess = (xt - np.sqrt(p.abar[i])[:, None] * hat) / np.sqrt(1 - p.abar[i])[:, None]
            total += (b - a) * term
            for e in range(N):
                vb[i[e]].append(term[e])
                mse[i[e]].append(((noise[e] - guess[e]) ** 2).mean())
                x0_mse[i[e]].append(((x0[e] - hat[e]) ** 2).mean())

        def mean(lists):
            return np.array([np.mean(a) if a else np.nan for a in lists])

        def error(a):
            return np.std(a, ddof=1) / np.sqrt(len(a)) if len(a) > 1 else np.nan

        return {"prior": prior.mean(), "prior_stderr": error(prior), "decoder": np.mean(vb[0]),
                "decoder_stderr": error(vb[0]), "total": total.mean(), "total_stderr": error(total),
                "decoder_variance": v, "vb": mean(vb), "vb_stderr": np.array([error(a) for a in vb]),
                "mse": mean(mse), "x0_mse": mean(x0_mse), "count": np.array([len(a) for a in vb]),
                "vb_bits": mean(vb) / D / np.log(2), "total_bits": total.mean() / D / np.log(2)}

    # ---- samples -----------------------------------------------------------------------------
    def sample(self):
        s, T = self.s, self.T
        p = self.process = Process(s)
        params, number = self.weights(s["sample.weights"]), np.arange(s["sample.count"])
        x = normals(self.seed, SAMPLE, T + 1, number, self.D)
        n = min(s.get("sample.steps", T), T)
        grid = [1 + round(j * (T - 1) / (n - 1)) for j in range(n - 1, -1, -1)] + [0]
        for t, nxt in zip(grid, grid[1:]):
            z = normals(self.seed, SAMPLE, t, number, self.D)
            with torch.no_grad():
                eps = self.predict(x, np.full(len(x), t), params).numpy()
            abar, then = p.abar[t - 1], p.abar[nxt - 1] if nxt else 1.0
            if s["sample.sampler"] == "ancestral":  # DDPM, algorithm 2, as it stands there
                x = (x - p.beta[t - 1] / np.sqrt(1 - abar) * eps) / np.sqrt(p.alpha[t - 1])
                x = x + np.exp(0.5 * p.log_var[t - 1]) * z if nxt else x
            else:  # DDIM, equations 12 and 16
                sigma = s["sample.eta"] * np.sqrt((1 - then) / (1 - abar) * (1 - abar / then))
                x = np.sqrt(then) * (x - np.sqrt(1 - abar) * eps) / np.sqrt(abar) + sigma * z + (
                    np.sqrt(max(0, 1 - then - sigma**2)) * eps)
        return x * self.scale + self.shift


# ---- comparing -------------------------------------------------------------------------------
def settings_of(f):
    """The YAML that diffx writes: two levels, one key a line."""
    out, section = {}, ""
    for line in f.attrs["experiment"].splitlines():
        key, value = (a.strip() for a in line.split(":", 1))
        if not value:
            section = key + "."
            continue
        value = value.strip('"')
        if value.startswith("["):
            value = [float(a) if "." in a else int(a) for a in value[1:-1].split(",")]
        else:
            for kind in int, float:
                try:
                    value = kind(value)
                    break
                except ValueError:
                    pass
        value = 0 if value == "all" or (value == "none" and key in ("clip", "ema")) else value
        out[(section if line.startswith(" ") else "") + key] = value
    return out


def relative(found, expected):
    """Root mean square of the difference, relative; places where both are NaN are equal."""
    a, b = np.ravel(np.asarray(found, np.float64)), np.ravel(np.asarray(expected, np.float64))
    if a.shape != b.shape or np.any(np.isnan(a) != np.isnan(b)):
        return np.inf
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    size = np.sqrt(np.mean(b**2)) if b.size else 0.0
    return np.sqrt(np.mean((a - b) ** 2)) / size if size else float(np.any(a != b))


def worst(found, expected):
    """The largest difference relative to its own number."""
    a, b = np.ravel(np.asarray(found, np.float64)), np.ravel(np.asarray(expected, np.float64))
    if a.shape != b.shape or np.any(np.isnan(a) != np.isnan(b)):
        return np.inf
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    return np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-300), initial=0)


def say(what, error, limit):
    print(int(not error <= limit), f"{what}: relative error {error:.1e}, allowed {limit:.0e}")


def compare_checkpoint(path, run):
    whole = {"weights": run.params, "moment1": run.moments[0], "moment2": run.moments[1]}
    for rate, average in run.ema.items():
        whole["ema" if len(run.ema) == 1 else f"ema-{rate}"] = average
    with h5py.File(path) as f:
        where = sorted((tuple(v[:]), v.attrs["shape"]) for v in f["parameters"].values())
        for name, expected in whole.items():
            theirs = [f[name][a:a + n] for (a, n), _ in where]
            error = relative(np.concatenate(theirs), np.concatenate([w.detach().numpy().ravel() for w in expected]))
            say(f"{name} after {run.s['train.steps']} steps", error, TRAINING)


def compare_record(f, run):
    p = run.process
    prev = np.append(1, p.abar[:-1])
    for name, expected in (("beta", p.beta), ("alpha_bar", p.abar), ("variance", np.exp(p.log_var)),
                           ("posterior_variance", p.beta * (1 - prev) / (1 - p.abar))):
        say(f"process/{name}", worst(f[f"process/{name}"][:], expected), 1e-9)
    every, window = run.s["train.log_every"], run.s["train.by_t_every"]
    steps, last = f["train/step"][:], run.s["train.steps"]
    want = sorted(set(range(every, last + 1, every)) | {last})
    print(int(list(steps) != want), f"rows of train at steps {want[0]}, {want[1]}, .. {want[-1]}")
    losses = [np.mean(run.losses[a:b]) for a, b in zip([0] + want, want)]
    say("loss", worst(f["train/loss"][:], losses), TRAINING)
    say("grad_norm", worst(f["train/grad_norm"][:], [run.norms[a - 1] for a in want]), TRAINING)
    say("rate", worst(f["train/rate"][:], [run.rates[a - 1] for a in want]), 1e-12)
    clipped = [n > run.s["train.clip"] for n in run.norms]
    if run.s["train.clip"]:
        print(int(not any(clipped) or all(clipped)), f"clipped in {sum(clipped)} of {len(clipped)} steps")
    for row, end in enumerate(f["train_by_t/step"][:]):
        part = slice((end - 1) // window * window, end)
        t, mse = np.concatenate(run.times[part]), np.concatenate(run.losses[part])
        count = np.bincount(t - 1, minlength=run.T)
        with np.errstate(invalid="ignore"):
            mean = np.bincount(t - 1, mse, minlength=run.T) / count
        say(f"train_by_t/count up to step {end}", worst(f["train_by_t/count"][row], count), 0)
        say(f"train_by_t/mse up to step {end}", relative(f["train_by_t/mse"][row], mean), TRAINING)
        x0_mse = mean * (1 - run.process.abar) / run.process.abar
        say(f"train_by_t/x0_mse up to step {end}", relative(f["train_by_t/x0_mse"][row], x0_mse), TRAINING)


def compare_evaluation(path, run, which=-1):
    with h5py.File(path) as f:
        s = settings_of(f)
        found = {k: v[which] for k, v in f["kl"].items() if k != "t"}
    terms = run.evaluate(s)
    name = f"{s['process.schedule']}, {s['objective.variance']}, {len(run.strata(s['evaluate.timesteps']))} of {run.process.T} steps"
    for k, expected in terms.items():
        say(f"{name}: {k}", worst(found[k], expected), 0 if k == "count" else BOUND)


def main(data, folder):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    with h5py.File(f"{folder}/metrics.h5") as f:
        run = Run(settings_of(f), data)
        run.train()
        compare_record(f, run)
    compare_checkpoint(f"{folder}/checkpoints/step-{run.s['train.steps']:08d}.h5", run)
    with h5py.File(f"{folder}/samples/step-{run.s['train.steps']:08d}.h5") as f:
        say(f"samples, {run.s['sample.sampler']}", relative(f["x"][:], run.sample()), SAMPLES)
    for path in [f"{folder}/metrics.h5"] + sorted(glob.glob(f"{folder}/evaluation-*.h5")):
        compare_evaluation(path, run)
    # the comparison can fail: the weights of another seed are others
    other = Run({**run.s, "seed": run.seed + 1}, data)
    other.train()
    far = relative(other.params[0].detach(), run.params[0].detach())
    print(int(not far > 0.1), f"another seed is told apart: relative difference {far:.1e}")


main(*sys.argv[1:])
