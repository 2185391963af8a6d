"""The picture code: `python -m training.vae DATA RUN`. An AutoencoderKL of SDXL's layout, 8 pixels per cell, 4 numbers.

The blocks at full and at half size are left out of training (they stay what they are at the start, the identity), for they
cost most and the pictures do not need them. `--decoder` trains only the decoder, with those blocks, on a finished code.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from training import styles
from training.runs import Log, load_pictures, restore, save

CHANNELS = (32, 32, 64, 64)
GROUPS = 8
SCALE = 0.13025
"""SDXL's: what the code is multiplied with to have a deviation of 1."""

CROP, BATCH = 96, 8
NOISE = 0.12


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        latent_channels=4,
        scaling_factor=SCALE,
        sample_size=192,
    )


STEADY = 1.5
"""What the constant channels hold beside the colours, so that a group's norm hardly changes them."""


@torch.no_grad()
def begin_with_means(vae: AutoencoderKL) -> None:
    """Set the first weights so that the code begins as the mean colour of each 8 x 8 cell, in three of its numbers.

    Group norms take a picture's mean away, and learning to carry it past them costs most of a training. So colours travel in
    pairs, c and -c, beside constants that keep their group's mean at 0 and its deviation nearly constant; after the norm,
    silu(c) - silu(-c) = c. Residual blocks begin as the identity.
    """
    for name, weight in vae.named_parameters():
        if ".conv2." in name or "to_out" in name:
            nn.init.zeros_(weight)
    encoder, decoder = vae.encoder, vae.decoder
    mean = torch.zeros(3, 3)
    mean[:2, :2] = 0.25
    around = torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 2, 1]) / 16
    dot = torch.zeros(3, 3)
    dot[1, 1] = 1
    # (channel, colour, sign); the encoder's last group has 8 channels, the decoder's last groups have 4
    packed = [(2 * k + m, k, (1, -1)[m]) for k in range(3) for m in range(2)]
    spread = [(4 * k + m, k, (1, -1)[m]) for k in range(3) for m in range(2)]
    inner, outer = [6, 7], [4 * k + m for k in range(3) for m in (2, 3)]

    _source(encoder.conv_in, packed, inner)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            _pass(resnet.conv_shortcut, 8, torch.ones(1, 1))
        for down in block.downsamplers or ():
            _pass(down.conv, 8, mean)
    _sink(encoder.conv_out, packed, dot, rows=(0, 1, 2))
    nn.init.dirac_(vae.quant_conv.weight)
    nn.init.dirac_(vae.post_quant_conv.weight)
    for layer in (vae.quant_conv, vae.post_quant_conv):
        nn.init.zeros_(layer.bias)
    _source(decoder.conv_in, spread, outer)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            _pass(resnet.conv_shortcut, 12, torch.ones(1, 1))
        for up in block.upsamplers or ():
            _pass(up.conv, 12, around)
    _sink(decoder.conv_out, spread, dot, rows=(0, 1, 2))


def _source(layer: nn.Conv2d, pairs: list[tuple[int, int, int]], constants: list[int]) -> None:
    for channel, colour, sign in pairs:
        layer.weight[channel], layer.bias[channel] = 0, 0
        layer.weight[channel, colour, 1, 1] = sign
    for i, channel in enumerate(constants):
        layer.weight[channel], layer.bias[channel] = 0, (STEADY, -STEADY)[i % 2]


def _pass(layer: nn.Conv2d | None, count: int, kernel: Tensor) -> None:
    if layer is None:
        return
    layer.weight[:count], layer.bias[:count] = 0, 0
    for channel in range(count):
        layer.weight[channel, channel] = kernel


def _sink(layer: nn.Conv2d, pairs: list[tuple[int, int, int]], kernel: Tensor, rows: tuple[int, ...]) -> None:
    size = (0.5 * (0.3 + STEADY**2)) ** 0.5
    for row in rows:
        layer.weight[row], layer.bias[row] = 0, 0
    for channel, colour, sign in pairs:
        layer.weight[colour, channel] = sign * size * kernel


class _Same(nn.Module):
    def forward(self, x: Tensor, temb: None = None) -> Tensor:
        del temb  # diffusers' blocks hand it to every resnet; a VAE has none
        return x


def costly(vae: AutoencoderKL, decoder_only: bool = False) -> list[tuple[nn.ModuleList, int]]:
    """Where the blocks lie that are left out."""
    encoder = [(vae.encoder.down_blocks[0].resnets, 0), (vae.encoder.down_blocks[1].resnets, 0)]
    up = vae.decoder.up_blocks
    return encoder if decoder_only else [*encoder, (up[3].resnets, 0), (up[3].resnets, 1), (up[2].resnets, 1)]


def leave_out(places: list[tuple[nn.ModuleList, int]]) -> None:
    """Make the blocks the identity, exactly, and do not compute them."""
    for blocks, index in places:
        blocks[index] = _Same()


def whole(state: dict[str, Tensor]) -> AutoencoderKL:
    """A VAE with all its blocks; those without weights are the identity."""
    vae = new_vae()
    missing = vae.load_state_dict(state, strict=False).missing_keys
    for name in missing:
        if ".conv2." in name:
            nn.init.zeros_(vae.get_parameter(name))
    return vae


def crops(pictures: list[np.ndarray], points: list[np.ndarray], r: np.random.Generator) -> Tensor:
    """(B, 3, CROP, CROP) from -1 to 1; most of them of faces."""
    names = list(styles.STYLES)
    found = []
    for _ in range(BATCH):
        chunk = int(r.integers(len(pictures)))
        i = int(r.integers(len(pictures[chunk])))
        picture = np.asarray(pictures[chunk][i])
        if r.random() < 0.25:
            picture = styles.apply(names[r.integers(1, 5)], picture)
        middle = points[chunk][i].mean(0) + r.normal(0, 22, 2) if r.random() < 0.7 else r.uniform(0, picture.shape[0], 2)
        x, y = np.clip(middle - CROP / 2, 0, picture.shape[0] - CROP).astype(int)
        crop = picture[y : y + CROP, x : x + CROP]
        found.append(crop[:, ::-1] if r.random() < 0.5 else crop)
    x = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def loss_of(vae: AutoencoderKL, x: Tensor, train_encoder: bool) -> tuple[Tensor, Tensor]:
    with torch.set_grad_enabled(train_encoder):
        code = vae.quant_conv(vae.encoder(x))[:, :4]
    size = code.detach().std()
    y = vae.decoder(vae.post_quant_conv(code + NOISE * size * torch.randn_like(code)))
    error = (y - x).abs().mean()
    slopes = [(y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (2, 3)]
    small = 1e-3 * (code**2).mean() if train_encoder else 0.0
    return error + sum(slopes) + 0.5 * F.mse_loss(y, x) + small, error


@torch.no_grad()
def finish(state: dict[str, Tensor], pictures: list[np.ndarray], folder: Path) -> AutoencoderKL:
    """Scale the code to what SDXL's scheduler expects (each number mean 0, deviation 1 after `SCALE`) and write it."""
    vae = whole(state)
    chosen = np.stack([np.asarray(chunk[i]) for chunk in pictures[:8] for i in range(0, len(chunk), 50)])
    codes = [code_of(vae, chosen[i : i + 8]) for i in range(0, len(chosen), 8)]
    code = torch.cat(codes).permute(1, 0, 2, 3).flatten(1)
    mean, size = code.mean(1), code.std(1) * SCALE
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] /= size[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) / size
    quant.weight[4:], quant.bias[4:] = 0, -20  # the log of the variance: the code has no noise of its own
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight *= size[None, :, None, None]
    vae.save_pretrained(folder)
    return vae


def code_of(vae: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 RGB → (B, 4, H / 8, W / 8), not scaled."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return vae.quant_conv(vae.encoder(x))[:, :4]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the picture code.")
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--decoder", action="store_true")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--finish", action="store_true", help="write RUN/vae of what was trained, and train no more")
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.finish:
        state = torch.load(args.run / "vae.pt", weights_only=True)
        finish(state["model"], load_pictures(args.data, below=500_000)[0], args.run / "vae")
        return
    vae = new_vae()
    begin_with_means(vae)
    state, step = restore(args.run / "vae.pt"), 0
    optimiser_state = None
    if state is not None:
        vae = whole(state["model"])
        step, optimiser_state = state["step"], state["optimiser"]
    leave_out(costly(vae, args.decoder))
    vae.to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(not args.decoder)
    optimiser = torch.optim.Adam(vae.parameters(), lr=args.rate, betas=(0.9, 0.98), fused=True)
    if optimiser_state is not None and state["decoder"] == args.decoder:
        optimiser.load_state_dict(optimiser_state)
    log, started = Log(args.run / "vae.log"), time.time()
    first = step
    while step < args.steps and time.time() - started < args.minutes * 60:
        if step % 100 == 0 or step == first:
            pictures, views = load_pictures(args.data, below=500_000)
        r = np.random.default_rng(step)
        through = max(step / args.steps, (time.time() - started) / (args.minutes * 60))
        for group in optimiser.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * max(0.02, 1 - through)
        loss, error = loss_of(vae, crops(pictures, [v["points"] for v in views], r), not args.decoder)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        log(step, loss=loss.item(), error=error.item() * 127.5)
        if step % 100 == 0 or step == args.steps:
            save(args.run / "vae.pt", model=vae.state_dict(), optimiser=optimiser.state_dict(), step=step, decoder=args.decoder)
    save(args.run / "vae.pt", model=vae.state_dict(), optimiser=optimiser.state_dict(), step=step, decoder=args.decoder)


if __name__ == "__main__":
    main()
