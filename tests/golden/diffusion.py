#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the Gaussian process, computed with 40 digits from the papers' formulas.

    python3 diffusion.py > diffusion.h            needs mpmath
    python3 diffusion.py --check-diffusers        needs torch and diffusers: the same numbers there

t counts from 1 as in the papers.  Nothing here shares code with diffx.
"""
import argparse

from mpmath import mp, mpf, sqrt, log, exp, cos, pi, quad

mp.dps = 40


def linear(T, first="1e-4", last="0.02", scale=True):
    k = mpf(1000) / T if scale else mpf(1)
    a, b = k * mpf(first), k * mpf(last)
    return [a + (b - a) * mpf(i) / (T - 1) for i in range(T)]


def cosine(T):
    def f(u):
        return cos((u + mpf("0.008")) / mpf("1.008") * pi / 2) ** 2
    return [min(1 - f(mpf(i + 1) / T) / f(mpf(i) / T), mpf("0.999")) for i in range(T)]


def quadratic(T):
    k, a, b = mpf(1000) / T, sqrt(mpf("1e-4")), sqrt(mpf("0.02"))
    return [k * (a + (b - a) * mpf(i) / (T - 1)) ** 2 for i in range(T)]


def constant(T):
    return [mpf(1000) / T * mpf("0.01")] * T


def jsd(T):
    return [1 / mpf(T - i) for i in range(T)]


def sigmoid(T, start=-3, end=3):
    def s(x):
        return 1 / (1 + exp(-x))

    def f(t):
        return (s(mpf(end)) - s(start + mpf(end - start) * t / T)) / (s(mpf(end)) - s(mpf(start)))
    return [min(1 - f(i + 1) / f(i), mpf("0.999")) for i in range(T)]


def laplace(T, mu=0, b=mpf("0.5")):
    def abar(u):
        sign = 1 if u < mpf("0.5") else -1
        return 1 / (1 + exp(-(mu - b * sign * log(1 - 2 * abs(u - mpf("0.5"))))))
    a = [mpf(1)] + [abar((i + mpf("0.5")) / T) for i in range(T)]
    return [1 - a[i + 1] / a[i] for i in range(T)]


def log_snr(T, first=mpf("-13.3"), last=5):
    a = [mpf(1)] + [1 / (1 + exp(first + (last - first) * mpf(i) / (T - 1))) for i in range(T)]
    return [1 - a[i + 1] / a[i] for i in range(T)]


def cumulate(beta):
    abar, out = mpf(1), [mpf(1)]
    for b in beta:
        abar *= 1 - b
        out.append(abar)
    return out  # abar[t], t = 0..T


SCHEDULES = {
    ("linear", 1000): linear(1000), ("linear", 4000): linear(4000), ("linear", 50): linear(50),
    ("linear", 21): linear(21), ("cosine", 1000): cosine(1000), ("cosine", 4000): cosine(4000),
    ("cosine", 50): cosine(50),
}
MORE = {(f.__name__, T): f(T) for f in (quadratic, constant, jsd, sigmoid, laplace, log_snr) for T in (1000, 51)}


def number(x):
    return mp.nstr(mpf(x), 19)


def row(*words):
    return "  {" + ", ".join(words) + "},"


def schedule_rows():
    for (name, T), beta in SCHEDULES.items():
        abar = cumulate(beta)
        for t in sorted({1, 2, 3, T // 2 + 1, T - 1, T}):
            b, a, before = beta[t - 1], abar[t], abar[t - 1]
            yield row(f'"{name}"', str(T), str(t), number(b), number(a), number(1 - a),
                      number(b * (1 - before) / (1 - a)), number(b * sqrt(before) / (1 - a)),
                      number((1 - before) * sqrt(1 - b) / (1 - a)), number(log(a / (1 - a))))


def beta_rows():
    for (name, T), beta in MORE.items():
        for t in sorted({1, 2, 3, T // 2, T // 2 + 1, T - 1, T}):
            yield row(f'"{name}"', str(T), str(t), number(beta[t - 1]))


def vb_rows():
    """Closed form of each term for one example, D = 3."""
    beta = SCHEDULES["linear", 1000]
    abar, D, dec, scale = cumulate(beta), 3, mpf("0.0125"), mpf("0.75")
    for large in (0, 1):
        for t in (1, 2, 3, 500, 1000):
            x0_sq = mpf(t + 7) / 64
            if t == 1:
                v = D * (log(2 * pi * dec) / 2 + log(scale)) + x0_sq / (2 * dec)
            else:
                b, a, before = beta[t - 1], abar[t], abar[t - 1]
                post = b * (1 - before) / (1 - a)
                var = b if large else post
                c1 = b * sqrt(before) / (1 - a)
                v = D * (log(var / post) - 1 + post / var) / 2 + c1 ** 2 * x0_sq / (2 * var)
            yield row(str(large), str(t), number(x0_sq), number(v))


def prior_rows():
    for (name, T), beta in SCHEDULES.items():
        a = cumulate(beta)[T]
        for x0_sq in (0, 3, mpf("17.5")):
            yield row(f'"{name}"', str(T), number(x0_sq),
                      number(3 * (-1 - log(1 - a) + 1 - a) / 2 + a * x0_sq / 2))


def ddim_rows():
    abar = cumulate(SCHEDULES["linear", 1000])
    for t, s in ((501, 401), (1000, 889), (101, 1), (1, 0)):
        for eta in ("0", "0.5", "1"):
            at, a_s = abar[t], abar[s]
            sigma = mpf(eta) * sqrt((1 - a_s) / (1 - at)) * sqrt(1 - at / a_s)
            xt, x0, z = mpf("0.75"), mpf("-0.5"), mpf("1.25")
            eps = (xt - sqrt(at) * x0) / sqrt(1 - at)
            xs = sqrt(a_s) * x0 + sqrt(1 - a_s - sigma ** 2) * eps + sigma * z
            yield row(str(t), str(s), eta, number(sigma), number(xs))


def gaussian_total(s2, var_of, decoder_of):
    """bits/dim of the bound in expectation for data N(0, s2) with the exact predictor."""
    beta = SCHEDULES["linear", 1000]
    abar, total = cumulate(beta), mpf(0)

    def v(t):
        return s2 * (1 - abar[t]) / (abar[t] * s2 + 1 - abar[t])
    for t in range(2, 1001):
        b = beta[t - 1]
        post = b * (1 - abar[t - 1]) / (1 - abar[t])
        c1 = b * sqrt(abar[t - 1]) / (1 - abar[t])
        var = var_of(b, post, c1 ** 2 * v(t))
        total += (-1 + log(var / post) + (post + c1 ** 2 * v(t)) / var) / 2
    post2 = beta[1] * (1 - abar[1]) / (1 - abar[2])
    dec = decoder_of(v(1), post2)
    total += (log(2 * pi * dec) + v(1) / dec) / 2
    total += (-1 - log(1 - abar[1000]) + 1 - abar[1000] + abar[1000] * s2) / 2
    return total / log(2)


VARIANCES = {"fixed-small": lambda b, post, e: post, "fixed-large": lambda b, post, e: b,
             "optimal": lambda b, post, e: post + e}
DECODERS = {"optimal": lambda v, post: v, "clipped": lambda v, post: post}


def total_rows():
    for s2 in ("1", "0.25"):
        for kind, var in VARIANCES.items():
            for dec, of in DECODERS.items():
                yield row(s2, f'"{kind}"', f'"{dec}"', number(gaussian_total(mpf(s2), var, of)))


MIXTURE = [(mpf("0.2"), mpf("-1.5"), mpf("0.3")), (mpf("0.5"), mpf("0.25"), mpf("0.05")),
           (mpf("0.3"), mpf("2"), mpf("0.6"))]


def normal(x, m, v):
    return exp(-(x - m) ** 2 / (2 * v)) / sqrt(2 * pi * v)


def mixture_rows():
    """v_t of an uneven mixture by adaptive quadrature; t = 0: its entropy in nats."""
    abar = cumulate(SCHEDULES["linear", 1000])

    def joints(a, nbar):
        at = set()
        for _, mu, s in MIXTURE:
            w = sqrt(a * s * s + nbar)
            at |= {sqrt(a) * mu + w * j / 2 for j in range(-24, 25)}
        return sorted(at)

    def entropy(x):
        p = sum(w * normal(x, mu, s * s) for w, mu, s in MIXTURE)
        return -p * log(p)
    mp.dps = 20
    yield row("0", number(quad(entropy, joints(mpf(1), mpf(0)))))
    for t in (1, 2, 20, 200, 600, 1000):
        a, nbar = abar[t], 1 - abar[t]

        def f(x):
            r = [w * normal(x, sqrt(a) * mu, a * s * s + nbar) for w, mu, s in MIXTURE]
            m = [mu + sqrt(a) * s * s / (a * s * s + nbar) * (x - sqrt(a) * mu) for _, mu, s in MIXTURE]
            p = sum(r)
            mean = sum(ri * mi for ri, mi in zip(r, m)) / p
            return sum(ri * (s * s * nbar / (a * s * s + nbar) + mi * mi)
                       for ri, mi, (_, _, s) in zip(r, m, MIXTURE)) - p * mean ** 2
        yield row(str(t), number(quad(f, joints(a, nbar))))
    mp.dps = 40


# weight, mean (2), sigma
PLANE = [(mpf("0.25"), (1, -2), mpf("0.5")), (mpf("0.625"), (-1, 0), mpf("0.125")),
         (mpf("0.125"), (3, mpf("0.5")), mpf(1))]


def predict_rows():
    """E[eps | x_t] of a mixture in the plane, seen through shift 0.5 and scale 2."""
    abar = cumulate(SCHEDULES["linear", 1000])
    for t in (1, 10, 300, 1000):
        for x in ((0, 0), (mpf("0.25"), -1), (mpf("1.5"), mpf("-0.5")), (-4, 4)):
            a, nbar = sqrt(abar[t]), 1 - abar[t]
            r, e = [], []
            for w, mean, sigma in PLANE:
                mu, s = [(m - mpf("0.5")) / 2 for m in mean], sigma / 2
                v = a * a * s * s + nbar
                d = [xi - a * mi for xi, mi in zip(x, mu)]
                r.append(w / v * exp(-(d[0] ** 2 + d[1] ** 2) / (2 * v)))
                e.append([sqrt(nbar) * di / v for di in d])
            out = [sum(ri * ei[j] for ri, ei in zip(r, e)) / sum(r) for j in (0, 1)]
            yield row(str(t), number(x[0]), number(x[1]), number(out[0]), number(out[1]))


def header():
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* tests/golden/diffusion.h - written by tests/golden/diffusion.py; t counts from 1. */")
    for name, fields, rows in (
            ("schedule", "const char *name; int T, t; double beta, abar, nbar, post_var, c1, c2, log_snr;",
             schedule_rows()),
            ("beta", "const char *name; int T, t; double beta;", beta_rows()),
            ("vb", "int large, t; double x0_sq, vb;", vb_rows()),
            ("prior", "const char *name; int T; double x0_sq, prior;", prior_rows()),
            ("ddim", "int t, s; double eta, sigma, xs;", ddim_rows()),
            ("total", "double s2; const char *variance, *decoder; double bits;", total_rows()),
            ("mixture", "int t; double value;", mixture_rows()),
            ("predict", "int t; double x[2], eps[2];", predict_rows())):
        print(f"\nstatic const struct {{ {fields} }} golden_{name}[] = {{")
        for r in rows:
            if name == "predict":
                w = r.strip()[1:-2].split(", ")
                r = f"  {{{w[0]}, {{{w[1]}, {w[2]}}}, {{{w[3]}, {w[4]}}}}},"
            print(r)
        print("};")


def check_diffusers():
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler

    def same(what, ours, theirs):
        wrong = abs(float(ours) - float(theirs)) > 1e-5 * abs(float(ours))
        print("not ok" if wrong else "ok", what, number(ours), float(theirs))
        assert not wrong

    def one(x):
        return torch.tensor([float(x)], dtype=torch.float64)

    def scheduler(kind, curve, **more):
        made = kind(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule=curve,
                    clip_sample=False, **more)
        # it multiplies in float32, which leaves 3 digits of the small ones: the same product in float64
        made.alphas_cumprod = torch.cumprod(1 - made.betas.double(), 0)
        made.set_timesteps(1000)
        return made
    for name, curve in (("linear", "linear"), ("cosine", "squaredcos_cap_v2")):
        beta = SCHEDULES[name, 1000]
        abar = cumulate(beta)
        ddpm = scheduler(DDPMScheduler, curve, variance_type="fixed_small")
        ddim = scheduler(DDIMScheduler, curve)
        for t in (2, 3, 500, 900, 999):
            b, a, before = beta[t - 1], abar[t], abar[t - 1]
            same(f"{name} beta_{t}", b, ddpm.betas[t - 1])
            same(f"{name} abar_{t}", a, ddpm.alphas_cumprod[t - 1])
            same(f"{name} posterior variance_{t}", b * (1 - before) / (1 - a), ddpm._get_variance(t - 1))
            eps = (mpf("0.75") + sqrt(a) / 2) / sqrt(1 - a)  # of x_t = 0.75, x0hat = -0.5
            for eta in ("0", "1"):
                sigma = mpf(eta) * sqrt((1 - before) / (1 - a)) * sqrt(1 - a / before)
                xs = -sqrt(before) / 2 + sqrt(1 - before - sigma ** 2) * eps + sigma * mpf("1.25")
                got = ddim.step(one(eps), t - 1, one(0.75), eta=float(eta), variance_noise=one(1.25))
                same(f"{name} ddim step {t}, eta {eta}", xs, got.prev_sample)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check-diffusers", action="store_true")
    if parser.parse_args().check_diffusers:
        check_diffusers()
    else:
        header()
