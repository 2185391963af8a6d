"""ControlNets for edges and depth, beside the checkpoint as `training.joint` left it:

    python -m training.controls edges|depth DATA RUN --minutes M      goes on where it stopped
    python -m training.controls export RUN FOLDER                     writes ControlNet-edges/ and ControlNet-depth/

The first people are enough for a ControlNet, and of them alone depth is drawn, once, before the first step; see `maps`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from training.checkpoint import Text, pass_over_sizes, shape, time_ids, trained
from training.codes import WINDOW, Batch, Codes, side_at
from training.diffusion import halves, loss_of, noisy
from training.instantid import HINT, begin_heard, freeze_first
from training.loop import Loop
from training.maps import DEPTH, KINDS, Maps, draw_depths
from training.runs import restore
from training.shapes import Shapes

PEOPLE = 600
"""Numbers below this one are trained on."""

UNCAPTIONED = 0.15
"""The part of the pictures without a caption: the map alone says what they show."""

HEARD = 0.1
"""The part of a ControlNet's features that reaches the UNet at first: the UNet is finished, and all would disturb it."""

NAMES = {"edges": "canny", "depth": "depth"}
"""What a file calls itself, by which it is told from IdentityNet, and found for a map."""


def new_control(unet: UNet2DConditionModel) -> ControlNetModel:
    """A copy of the UNet's encoder with attention to the text at its middle level alone, which keeps the file under 5 MB."""
    levels = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"), "mid_block_type": "UNetMidBlock2D"}
    control = ControlNetModel(**{**shape(), **levels}, conditioning_embedding_out_channels=HINT)
    own = control.state_dict().keys()
    control.load_state_dict({name: weight for name, weight in unet.state_dict().items() if name in own}, strict=False)
    return control


def texts_of(text: Text, codes: Codes, rows: np.ndarray, r: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Contexts and pooled outputs of captions, see `Text`; zero for those that are left out."""
    with torch.no_grad():
        context, pooled = text(codes.captions(rows, r, 0.75))
    captioned = torch.from_numpy(r.random(len(rows)) >= UNCAPTIONED)
    return context * captioned[:, None, None], pooled * captioned[:, None]


def step_of(
    control: ControlNetModel, unet: UNet2DConditionModel, batch: Batch, hint: Tensor, context: Tensor, pooled: Tensor
) -> Tensor:
    """Errors of a step, of its noisier half and of the other one: (2,). hint: (B, 3, size, size) from 0 to 1."""
    x, v, steps = noisy(batch.codes)
    added = {"text_embeds": pooled, "time_ids": time_ids(len(x))}
    down, middle = control(x, steps, context, hint, added_cond_kwargs=added, return_dict=False)
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    answer = unet(x, steps, context, added_cond_kwargs=added, **residuals).sample
    return halves(loss_of(answer, v, batch), steps)


def train(kind: str, data: Path, run: Path, minutes: float, highest: float, whole: float) -> None:
    if kind == DEPTH:
        draw_depths(data, run, PEOPLE)
    torch.manual_seed(0)
    codes = Codes(run, Shapes(), PEOPLE)
    maps = Maps(kind, data, run, codes)
    unet, text, _ = trained(run)
    control = new_control(unet)
    begin_heard(control, maps.of(codes.batch(WINDOW, np.random.default_rng(0))), HEARD)
    loop = Loop(state_of(run, kind), control)
    freeze_first(control)
    pass_over_sizes(control)
    unet.requires_grad_(False)

    def errors_of(r: np.random.Generator, through: float) -> Tensor:
        batch = codes.batch(side_at(through, whole), r)
        return step_of(control, unet, batch, maps.of(batch), *texts_of(text, codes, batch.rows, r))

    loop.run(errors_of, 19, minutes, highest)


def state_of(run: Path, kind: str) -> Path:
    return run / f"control-{kind}.pt"


def export(run: Path, folder: Path) -> None:
    """Write a diffusers folder of each ControlNet that was trained, in fp16."""
    unet, _, _ = trained(run)
    for kind in KINDS:
        state = restore(state_of(run, kind))
        if state is not None:
            control = new_control(unet)
            control.load_state_dict(state["mean"])
            write(control, kind, folder)


def write(control: ControlNetModel, kind: str, folder: Path) -> None:
    control.register_to_config(_name_or_path=NAMES[kind])
    control.half().save_pretrained(folder / f"ControlNet-{kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for kind in KINDS:
        own = commands.add_parser(kind, help="train this ControlNet")
        own.add_argument("data", type=Path)
        own.add_argument("run", type=Path)
        own.add_argument("--minutes", type=float, default=60)
        own.add_argument("--rate", type=float, default=1e-3)
        own.add_argument("--whole", type=float, default=0.2, help="part of the time in which whole pictures are seen")
    own = commands.add_parser("export", help="write them")
    own.add_argument("run", type=Path)
    own.add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.command == "export":
        export(args.run, args.folder)
    else:
        train(args.command, args.data, args.run, args.minutes, args.rate, args.whole)


if __name__ == "__main__":
    main()
