# SPDX-License-Identifier: Apache-2.0
"""Write predictions and gradients of small U-Nets as diffusers' UNet2DModel computes them.

usage: python unet.py OUT [--live]      (unet.bin was made with torch 2.13, diffusers 0.42)

unet.bin: in float64, rounded to float32. --live: other networks, in float32, for a comparison on the spot.
Weights, inputs and the loss, sum of c y, are functions of names (draw), so that the test makes them again.
OUT holds for each network lines "case NAME", "option KEY VALUE", "shape B H W C OUT CLASSES", then "data NAME
COUNT" with COUNT little-endian float32 behind the line: y and gx channels last, gradients as diffx keeps them.
"""
import sys

import numpy as np
import torch
from diffusers import UNet2DModel

TIMES = (0.0, 999.0, 17.0)
LABELS = (2, 0, 2)
SMALL = dict(channels=8, multipliers=[1, 2], blocks=1, attention=[0], norm_groups=4, dropout=0)
CASES = {
    "plain": ((2, 8, 8, 3, 3), {}),
    "deep": ((2, 16, 16, 3, 3), dict(multipliers=[1, 1, 2, 2], attention=[8, 2])),
    "two blocks, odd": ((2, 6, 10, 1, 1), dict(blocks=2, attention=[5], mid="plain")),
    "one level, odd": ((3, 7, 5, 2, 4), dict(multipliers=[2], attention=[7], norm_groups=2, norm_eps=1e-3)),
    "heads": ((2, 8, 4, 3, 3), dict(head_channels=4, attention=[8, 4], time_cosine_first="true", time_shift=0)),
    "scale": ((2, 8, 8, 3, 6), dict(time="scale", attention=[4], down_padding=1, norm_eps=1e-5)),
    "scale, norm": ((2, 8, 8, 3, 3), dict(time="scale", mid_norm_groups=8, head_channels=8)),
    "resampled": ((2, 12, 8, 3, 3), dict(down="resample", up="resample", attention=[6])),
    "resampled, scale": ((2, 8, 8, 3, 3), dict(multipliers=[1, 2, 2], down="resample", time="scale")),
    "classes": ((3, 4, 6, 2, 2), dict(classes=3, down_padding=1, norm_groups=8)),
    "28, 14, 7": ((2, 28, 28, 1, 1), dict(multipliers=[1, 1, 2], attention=[14, 7], head_channels=4, norm_groups=2)),
    "no middle": ((2, 8, 8, 3, 3), dict(channels=12, mid="none", up="resample", multipliers=[1, 3])),
}
LIVE = {
    "cifar, narrow": ((2, 32, 32, 3, 3), dict(channels=32, multipliers=[1, 2, 2, 2], blocks=2, attention=[16], norm_groups=16)),
    "all at once": ((3, 16, 24, 4, 4), dict(channels=24, multipliers=[1, 2, 3], blocks=2, attention=[12, 6], head_channels=8,
                                            norm_groups=8, norm_eps=1e-5, time="scale", time_cosine_first="true",
                                            time_shift=0, down="resample", up="resample", classes=5)),
}


def draw(name, n):
    """n numbers in [-1, 1), multiples of 2^-23: a function of the name (FNV-1a, then splitmix64's mixing)."""
    h = 14695981039346656037
    for c in name.encode():
        h = (h ^ c) * 1099511628211 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def start(name, shape):
    """A parameter's value, in diffx's layout."""
    n = int(np.prod(shape))
    u = draw(name, n)
    if len(shape) > 1:
        u *= np.sqrt(3 * shape[0] / n)
    elif name.endswith(".w"):
        u = 1 + 0.5 * u
    else:
        u *= 0.25
    return u.astype(np.float32).reshape(shape)


def network(options, shape):
    """The same network in diffusers."""
    B, H, W, C, out = shape
    o = dict(mid="attention", head_channels=None, mid_norm_groups=None, norm_eps=1e-6, time="add", time_shift=1,
             time_cosine_first="false", down="conv", up="conv", down_padding=0, classes=None) | options
    levels = len(o["multipliers"])
    at = [max(H, W) >> i in o["attention"] for i in range(levels)]
    down = ["AttnDownBlock2D" if a else "DownBlock2D" if o["down"] == "conv" else "ResnetDownsampleBlock2D" for a in at]
    up = ["AttnUpBlock2D" if a else "UpBlock2D" if o["up"] == "conv" else "ResnetUpsampleBlock2D" for a in at]
    kind = {"conv": "conv", "resample": "resnet"}
    return UNet2DModel(
        sample_size=(H, W), in_channels=C, out_channels=out, layers_per_block=o["blocks"],
        block_out_channels=[o["channels"] * m for m in o["multipliers"]], down_block_types=down,
        up_block_types=up[::-1], downsample_type=kind[o["down"]], upsample_type=kind[o["up"]],
        downsample_padding=o["down_padding"], flip_sin_to_cos=o["time_cosine_first"] == "true",
        freq_shift=o["time_shift"], norm_num_groups=o["norm_groups"], norm_eps=o["norm_eps"],
        attn_norm_num_groups=o["mid_norm_groups"], attention_head_dim=o["head_channels"], dropout=o["dropout"],
        resnet_time_scale_shift={"add": "default", "scale": "scale_shift"}[o["time"]],
        mid_block_type=None if o["mid"] == "none" else "UNetMidBlock2D", add_attention=o["mid"] == "attention",
        num_class_embeds=o["classes"])


def ours(name, v):
    """diffx's name and layout of a parameter."""
    conv = v.ndim == 4
    return name.removesuffix(".weight").removesuffix(".bias") + (".w" if name.endswith(".weight") else ".b"), \
        v.permute(0, 2, 3, 1) if conv else v


def write(f, name, v):
    v = v.detach().contiguous().to(torch.float32).numpy().astype("<f4").ravel()
    f.write(f"data {name} {v.size}\n".encode() + v.tobytes())


def case(f, name, shape, options, dtype):
    B, H, W, C, out = shape
    options = SMALL | options
    net = network(options, shape).to(dtype)
    with torch.no_grad():
        for n, p in net.named_parameters():
            mine, view = ours(n, p)
            view.copy_(torch.from_numpy(start(mine, tuple(view.shape))))
    x = torch.from_numpy((1.5 * draw("x", B * H * W * C)).astype(np.float32).reshape(B, H, W, C)).to(dtype)
    c = torch.from_numpy(draw("c", B * H * W * out).astype(np.float32).reshape(B, H, W, out)).to(dtype)
    x = x.permute(0, 3, 1, 2).contiguous().requires_grad_()
    labels = torch.tensor(LABELS[:B]) if options.get("classes") else None
    y = net(x, torch.tensor(TIMES[:B]), class_labels=labels).sample.permute(0, 2, 3, 1)
    (c * y).sum().backward()
    f.write(f"case {name}\n".encode())
    for key, value in options.items():
        f.write(f"option {key} {value}\n".encode())
    f.write(f"shape {B} {H} {W} {C} {out} {options.get('classes', 0)}\n".encode())
    write(f, "y", y)
    write(f, "gx", x.grad.permute(0, 2, 3, 1))
    for n, p in net.named_parameters():
        mine, grad = ours(n, p.grad if p.grad is not None else torch.zeros_like(p))
        write(f, mine, grad)
    f.write(b"end\n")


live = "--live" in sys.argv
torch.set_num_threads(1)
with open(sys.argv[1], "wb") as out:
    for title, (sizes, differs) in (LIVE if live else CASES).items():
        case(out, title, sizes, differs, torch.float32 if live else torch.float64)
