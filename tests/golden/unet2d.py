# SPDX-License-Identifier: Apache-2.0
"""Write a small UNet2DModel as diffusers saves it, and what it predicts.

usage: python unet2d.py FOLDER      (tests/golden/unet2d was made with torch 2.13, diffusers 0.42)

FOLDER gets config.json, diffusion_pytorch_model.safetensors and prediction.bin: little-endian float32, channels
last, for x = 1.5 draw("x"), times 0, 999 and 17.25 as the network counts them, labels 2, 0, 1 (draw: unet.py).
"""
import sys

import numpy as np
import torch
from diffusers import UNet2DModel


def draw(name, n):
    """As in unet.py."""
    h = 14695981039346656037
    for c in name.encode():
        h = (h ^ c) * 1099511628211 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


torch.set_num_threads(1)
net = UNet2DModel(
    sample_size=(8, 4), in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(4, 8),
    down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=4, norm_num_groups=2, norm_eps=1e-4, attn_norm_num_groups=4, resnet_time_scale_shift="scale_shift",
    num_class_embeds=3)
with torch.no_grad():
    for name, p in net.named_parameters():
        u = draw(name, p.numel())
        u = u * np.sqrt(3 * len(p) / p.numel()) if p.dim() > 1 else 1 + 0.5 * u if name.endswith("weight") else 0.25 * u
        p.copy_(torch.from_numpy(u).reshape(p.shape))
    net.save_pretrained(sys.argv[1])
    x = torch.from_numpy((1.5 * draw("x", 3 * 8 * 4 * 3)).astype(np.float32).reshape(3, 8, 4, 3)).double()
    t = torch.tensor([0.0, 999.0, 17.25])
    y = net.double()(x.permute(0, 3, 1, 2), t, class_labels=torch.tensor([2, 0, 1])).sample.permute(0, 2, 3, 1)
y.contiguous().numpy().astype("<f4").tofile(sys.argv[1] + "/prediction.bin")
