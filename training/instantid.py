"""IdentityNet and adapter: `python -m training.instantid RUN FOLDER` writes them as the released files. Trained by
`training.joint`.

IdentityNet begins as a copy of the UNet's encoder. Its context is the face tokens alone; the keypoint map is drawn by this
project's `draw_keypoints`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from lib_instantid.constants import FACE_CROP
from lib_instantid.encoders.face.geometry import ARCFACE_TEMPLATE
from lib_instantid.encoders.face.keypoints import draw_keypoints
from training.adapter import Adapter, face_resampler
from training.checkpoint import part, trained
from training.codes import WINDOW, Batch
from training.runs import write_by_command

HINT = (8, 16, 32, 64)


class InstantID(nn.Module):
    """What is trained: IdentityNet and the adapter, which `unet` then has."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.identitynet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINT)
        side = 8 * WINDOW
        begin_heard(self.identitynet, drawn(np.array(ARCFACE_TEMPLATE)[None] / FACE_CROP * side, side), 1.0)
        self.adapter = Adapter(unet, face_resampler(unet.config.cross_attention_dim))


@torch.no_grad()
def begin_heard(net: ControlNetModel, maps: Tensor, part: float) -> None:
    """Set the first weights so that maps are as strong as noise, and a part of the ControlNet's features reaches the UNet.

    A released ControlNet begins silent, beside a UNet that is finished. IdentityNet and its UNet begin together, and neither
    learns much from points that it does not hear. maps: (B, 3, H, W), examples.
    """
    hint = net.controlnet_cond_embedding
    for layer in (hint.conv_in, *hint.blocks):
        nn.init.kaiming_normal_(layer.weight)
    seen = functional.silu(hint.conv_in(maps))
    for layer in hint.blocks:
        seen = functional.silu(layer(seen))
    size = seen.square().mean().sqrt() * hint.conv_out.weight[0].numel() ** 0.5
    nn.init.normal_(hint.conv_out.weight, std=1 / size.item())
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        nn.init.dirac_(layer.weight).mul_(part)


def freeze_first(net: ControlNetModel) -> None:
    """Leave the layers that see maps at full and at half size as they began: they cost a quarter of a step."""
    hint = net.controlnet_cond_embedding
    for layer in (hint.conv_in, *hint.blocks[:3]):
        layer.requires_grad_(False)


def maps_of(batch: Batch) -> Tensor:
    return drawn(batch.points, batch.size)


def drawn(points: np.ndarray, side: int) -> Tensor:
    """(B, 5, 2) XY px → (B, 3, side, side) from 0 to 1."""
    maps = np.stack([draw_keypoints(own, side, side) for own in points])
    return torch.from_numpy(maps).permute(0, 3, 1, 2).float() / 255


def export(run: Path, folder: Path) -> None:
    """Write `ip-adapter.bin` and `ControlNetModel/`, named as the released files, in fp16."""
    unet, _, found = trained(run)
    model = InstantID(unet)
    model.load_state_dict(part(found, "instantid."))
    model.half()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.adapter.released(), folder / "ip-adapter.bin")
    model.identitynet.save_pretrained(folder / "ControlNetModel")


if __name__ == "__main__":
    write_by_command("IdentityNet and the adapter", export)
