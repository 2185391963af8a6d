"""IP-Adapter's weight files: where they were published, and how to load them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER, recognise
from lib_instantid.adapters.tower_files import ENCODER, load_tower
from lib_instantid.weights.system_files import ReleasedFile, SystemFiles

if TYPE_CHECKING:
    from lib_instantid.adapters.ip_adapter.networks import PictureAdapter

HUB = "h94/IP-Adapter"
APACHE = "Apache-2.0"


def _adapter(path: Path) -> PictureAdapter:
    from lib_instantid.adapters.ip_adapter.networks import PictureAdapter  # torch: seconds to import

    return PictureAdapter(path)


def _released(role: str, path: str, megabytes: int) -> ReleasedFile:
    return ReleasedFile(
        role=role, repository=HUB, path=path, subfolder="ip-adapter", megabytes=megabytes, licence=APACHE, sha256=None
    )


FILES = SystemFiles(
    released=(
        _released(IP_ADAPTER, "sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors", 848),
        _released(IP_ADAPTER, "models/ip-adapter-plus_sd15.safetensors", 98),
        _released(ENCODER, "models/image_encoder/model.safetensors", 2528),
    ),
    recognise=recognise,
    load={IP_ADAPTER: _adapter, ENCODER: load_tower},
    wanted=f"an IP-Adapter for your checkpoint and its image encoder, both of {HUB}",
)
