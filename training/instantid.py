"""IdentityNet and adapter: `python -m training.instantid RUN --minutes M`, as InstantID's were trained.

The checkpoint is frozen. The adapter goes on from what it learned beside it; IdentityNet begins as a copy of its encoder with
zero layers behind it. IdentityNet's context is the face tokens alone; the keypoint map is drawn by this project's
`draw_keypoints`.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from lib_instantid.encoders.face.keypoints import draw_keypoints
from training.adapter import Adapter, References
from training.checkpoint import time_ids, trained
from training.codes import WHOLE, WINDOW, Batch, Codes
from training.diffusion import follow, loss_of, noisy, rate_at
from training.runs import Log, restore, save
from training.shapes import Shapes

HINT = (8, 16, 32, 64)


class InstantID(nn.Module):
    """What is trained: IdentityNet and the adapter, which `unet` then has."""

    def __init__(self, unet: UNet2DConditionModel, adapter: dict[str, Tensor]) -> None:
        super().__init__()
        self.identitynet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT)
        self.adapter = Adapter(unet)
        self.adapter.load_state_dict(adapter)


def maps_of(batch: Batch) -> Tensor:
    drawn = np.stack([draw_keypoints(points, batch.size, batch.size) for points in batch.points])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255


def train(run: Path, minutes: float, highest: float, whole: float) -> None:
    torch.manual_seed(0)
    codes = Codes(run, Shapes())
    references = References(run, codes.number)
    unet, text, adapter = trained(run)
    unet.requires_grad_(False)
    model = InstantID(unet, adapter)
    trainable = list(model.parameters())
    for parameter in trainable:
        parameter.requires_grad_(True)
    mean = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(trainable, lr=highest, betas=(0.9, 0.99), weight_decay=1e-3)
    step, state = 0, restore(run / "instantid.pt")
    if state is not None:
        model.load_state_dict(state["model"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    log, started, saved = Log(run / "instantid.log", 50), time.time(), time.time()
    keep = lambda: save(  # noqa: E731
        run / "instantid.pt", model=model.state_dict(), mean=mean.state_dict(), optimiser=optimiser.state_dict(), step=step
    )
    while (through := (time.time() - started) / (minutes * 60)) < 1:
        r = np.random.default_rng((19, step))
        torch.manual_seed(step)
        batch = codes.batch(WHOLE if through > 1 - whole else WINDOW, r)
        with torch.no_grad():
            context, pooled = text(codes.captions(batch.rows, r, 0.0))
        fate = torch.from_numpy(r.random(len(batch.rows)))  # as InstantID: no caption, no face, neither
        captioned, faced = ~((fate < 0.05) | (fate > 0.95)), fate < 0.9
        context, pooled = context * captioned[:, None, None], pooled * captioned[:, None]
        tokens = model.adapter.image_proj((references.of(batch.rows, r) * faced[:, None])[:, None])
        x, noise, steps = noisy(batch.codes)
        added = {"text_embeds": pooled, "time_ids": time_ids(len(x))}
        down, middle = model.identitynet(x, steps, tokens, maps_of(batch), added_cond_kwargs=added, return_dict=False)
        answer = unet(
            x,
            steps,
            (context, [tokens]),
            added_cond_kwargs=added,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        loss = loss_of(answer, noise, steps, batch, 3.0)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(through, highest)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trainable, 1.0)
        optimiser.step()
        step += 1
        follow(mean, model, step)
        log(step, loss=loss.item())
        if time.time() - saved > 240:
            keep()
            saved = time.time()
    keep()


def export(run: Path, folder: Path) -> None:
    """Write `ip-adapter.bin` and `ControlNetModel/`, named as the released files, in fp16."""
    unet, _, adapter = trained(run)
    model = InstantID(unet, adapter)
    model.load_state_dict(torch.load(run / "instantid.pt", weights_only=True)["mean"])
    model.half()
    layers = {
        f"{number}.{name}.weight": getattr(own, name)[0].weight.data
        for number, own in model.adapter.ip_adapter.items()
        for name in ("to_k_ip", "to_v_ip")
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"image_proj": model.adapter.image_proj.state_dict(), "ip_adapter": layers}, folder / "ip-adapter.bin")
    model.identitynet.save_pretrained(folder / "ControlNetModel")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train IdentityNet and the adapter.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--whole", type=float, default=0.3, help="part of the time in which whole pictures are seen")
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    if args.export:
        export(args.run, args.export)
    else:
        train(args.run, args.minutes, args.rate, args.whole)


if __name__ == "__main__":
    main()
