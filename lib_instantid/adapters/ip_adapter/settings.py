"""IP-Adapter's settings: their names, ranges, defaults and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lib_instantid.adapters.common import Common, Entry
from lib_instantid.adapters.fields import Choice, Entries, Name, Number, PictureInput, PictureSource, setting
from lib_instantid.adapters.ip_adapter.recognise import IP_ADAPTER
from lib_instantid.constants import MAX_PICTURES, MAX_PROMPTS
from lib_instantid.encoders.vision import Crop
from lib_instantid.errors import SettingsError

Combine = Literal["tokens", "mean"]
Layers = Literal[
    "all",
    "style",
    "strong style",
    "composition",
    "style and composition",
    "ease in",
    "ease out",
    "ease in-out",
]
FRACTION = Number(low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class ImagePrompt(Entry):
    """Pictures that say what the result is to be like, as a prompt does."""

    pictures: Sequence[PictureSource] = setting((), PictureInput(most=MAX_PICTURES), "pictures", "1 to 8 pictures")
    layers: Layers = setting(
        "all",
        Choice(
            options=get_args(Layers),
            labels=(
                "everything",
                "style",
                "style, strongly",
                "composition",
                "style and composition",
                "everything, easing in",
                "everything, easing out",
                "everything, easing in and out",
            ),
        ),
        "What the pictures give",
        "what the pictures give: everything, only the style, or only the composition; or everything with a curve over the "
        "UNet's blocks",
        place="likeness",
    )
    strength: float = setting(0.6, Number(low=0.0, high=1.5), "Strength", "strength of the pictures", place="likeness")
    start: float = setting(0.0, FRACTION, "Starts", "fraction of the steps at which they start to act", place="advanced")
    end: float = setting(1.0, FRACTION, "Ends", "fraction of the steps at which they cease to act", place="advanced")
    crop: Crop = setting(
        "centre",
        Choice(options=("centre", "whole picture", "face"), labels=("the middle square", "the whole picture", "the face")),
        "Part that is seen",
        "part of each picture that is seen: the middle square as in the reference, the whole picture, or its largest face",
        place="placement",
    )
    combine: Combine = setting(
        "tokens",
        Choice(options=("tokens", "mean"), labels=("side by side", "their mean")),
        "Several pictures",
        "several pictures: the tokens of each side by side, or the mean of what is seen in them",
        place="placement",
    )
    model: str | None = setting(
        None,
        Name(of=IP_ADAPTER, none="the first that fits"),
        "Model",
        "name of the IP-Adapter; the first that fits the checkpoint if none",
        place="advanced",
    )
    region: PictureSource | None = setting(None, PictureInput(), "mask", "mask of where the pictures act, white inside")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.pictures) <= MAX_PICTURES:
            raise SettingsError(f"pictures: found {len(self.pictures)}, expected 1 to {MAX_PICTURES} pictures.")
        if self.start > self.end:
            raise SettingsError(f"start: {self.start} is after end, {self.end}; start must not be above end.")


@dataclass(frozen=True, kw_only=True)
class IPAdapterSettings(Common):
    """IP-Adapter's part of a generation's settings."""

    image_prompts: Sequence[ImagePrompt] = setting(
        (),
        Entries(of=ImagePrompt, most=MAX_PROMPTS, title="image prompt", needs="pictures"),
        "pictures as prompts",
        f"1 to {MAX_PROMPTS} pictures, or groups of them, as prompts",
    )
