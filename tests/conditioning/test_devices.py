"""The UNet and IdentityNet compute elsewhere than faces and maps come from. "meta" is a device that every machine has."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.weights.storage import Storage, store
from tests.conftest import SMALL, Guide, place

META = torch.device("meta")


DTYPES = (torch.float32, torch.float16, torch.bfloat16)
STORAGES = (Storage(), Storage(fp8=True), Storage(streamed=True))
SETTINGS = ({}, {"face_region": "face", "cfg_rescale": 0.5}, {"control_mode": "identity"}, {"identitynet_people": "together"})
EVERY_PAIR = [
    pytest.param(settings, storage, DTYPES[(i + k) % len(DTYPES)], id=f"{settings} {storage} {DTYPES[(i + k) % len(DTYPES)]}")
    for i, settings in enumerate(SETTINGS)
    for k, storage in enumerate(STORAGES)
]
"""Every two of settings, storages and dtypes meet."""


@pytest.mark.parametrize(("settings", "storage", "dtype"), EVERY_PAIR)
def test_everything_that_a_call_needs_is_brought_to_its_device(
    diffusers_unet: nn.Module, guide: Guide, dtype: torch.dtype, storage: Storage, settings: dict
) -> None:
    guidance = guide([place(0), place(1, shift=20.0)], **settings)
    net = copy.deepcopy(guidance.identitynet)
    store(net, storage)
    unet = copy.deepcopy(diffusers_unet).to(META, dtype)
    given = {"device": META, "dtype": dtype}
    x, text = torch.zeros(2, 4, 12, 16, **given), torch.zeros(2, 77, SMALL.context, **given)
    added = {"text_embeds": torch.zeros(2, SMALL.text[1], **given), "time_ids": torch.zeros(2, 6, **given)}
    own = replace(guidance, identitynet=net.to(META, dtype))
    with torch.no_grad(), attach(unet, own.conditioning, rows_of=lambda _: (False, True), step=lambda: Step(index=0, total=2)):
        for _ in range(2):
            found = unet(x, torch.ones(2, device=META), text, added_cond_kwargs=added).sample
    assert (found.device, found.dtype, found.shape) == (META, dtype, x.shape)
