"""Makes ControlNets of weight files."""

from __future__ import annotations

import torch

from lib_instantid.errors import BadModelFile
from lib_instantid.networks.controlnet import ControlNet, Shape
from lib_instantid.networks.controlnet_names import to_diffusers_names
from lib_instantid.networks.controlnet_union import TASKS, ControlNetUnion, Tasks
from lib_instantid.weights.controlnet_kinds import controlnet_kind
from lib_instantid.weights.reading import Weights, load_strictly

POOLED = "shuffle"
"""The condition whose ControlNet is pooled. Source: lllyasviel/ControlNet-v1-1-nightly, `control_v11e_sd15_shuffle.yaml`
(global_average_pooling); diffusers 0.42, `global_pool_conditions`."""


def load_controlnet(weights: Weights, title: str, named: str) -> ControlNet:
    """Make a ControlNet of SD1.5's or SDXL's shape from weights with diffusers' or ldm's names. It keeps the file's dtype.

    title: what errors call the network. named: the beginning of errors. Raises BadModelFile: not a complete ControlNet.
    """
    tensors = to_diffusers_names(weights.tensors)
    try:
        with torch.device("meta"):
            shape = Shape.of(tensors)
            net = ControlNetUnion(shape, Tasks.of(tensors)) if TASKS in tensors else ControlNet(shape)
    except (LookupError, ValueError) as error:
        raise BadModelFile(f"{named}: not a complete {title} ({error}). Fetch the file again.") from error
    load_strictly(net, weights, tensors, title)
    kind = controlnet_kind(weights)
    net.pooled = kind is not None and kind.condition == POOLED
    return net
