"""The settings of ControlNets: their names, ranges, defaults and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lib_instantid.adapters.common import Common, Entry
from lib_instantid.adapters.controlnet.kinds import Kind
from lib_instantid.adapters.controlnet.maps import AS_IT_IS, INPAINT, OWN, Fit
from lib_instantid.adapters.controlnet.recognise import CONTROLNET
from lib_instantid.adapters.fields import PREPROCESSOR, Choice, Entries, Name, Number, PictureInput, PictureSource, setting
from lib_instantid.constants import MAX_CONTROLS
from lib_instantid.errors import SettingsError

Mode = Literal["balanced", "prompt", "control"]
AUTO = "auto"

FRACTION = Number(low=0.0, high=1.0)
THRESHOLD = Number(low=1, high=255, whole=True)


@dataclass(frozen=True, kw_only=True)
class Control(Entry):
    """A picture whose edges, depth, poses or the like the result is to have."""

    picture: PictureSource | None = setting(None, PictureInput(), "picture", "picture that the map is drawn from, or a map")
    preprocessor: str | None = setting(
        None,
        Name(of=PREPROCESSOR, builtin=OWN),
        "Preprocessor",
        "what draws the map: " + ", ".join(OWN) + ", or one of the host's (depth, pose, normals, …)",
        place="likeness",
    )
    model: str | None = setting(
        None,
        Name(of=CONTROLNET, none="the first that fits"),
        "Model",
        "name of the ControlNet; the first for such a map and the checkpoint if none",
        place="likeness",
    )
    strength: float = setting(1.0, Number(low=0.0, high=2.0), "Strength", "strength of the control", place="likeness")
    fit: Fit = setting(
        "crop",
        Choice(options=get_args(Fit), labels=("crop it", "pad it", "stretch it")),
        "A picture of other proportions",
        "how a picture of other proportions is fitted to the output: crop, pad (black) or stretch",
        place="placement",
    )
    map: str = setting(
        AUTO,
        Choice(options=(AUTO, *get_args(Kind)), labels=("what its preprocessor draws", *get_args(Kind))),
        "What the map shows",
        "what the map shows, where the preprocessor does not tell",
        place="placement",
    )
    low: int = setting(100, THRESHOLD, "Low threshold", "canny: gradients below it are no edges", place="placement")
    high: int = setting(200, THRESHOLD, "High threshold", "canny: gradients above it are edges", place="placement")
    sigma: float = setting(9.0, Number(low=0.5, high=64.0), "Blur", "blur: its sigma in output pixels", place="placement")
    start: float = setting(0.0, FRACTION, "Starts", "fraction of the steps at which it starts to act", place="advanced")
    end: float = setting(1.0, FRACTION, "Ends", "fraction of the steps at which it ceases to act", place="advanced")
    control_mode: Mode = setting(
        "balanced",
        Choice(options=("balanced", "prompt", "control"), labels=("balanced", "the prompt", "the control")),
        "What matters more here",
        "what matters more: balanced, the prompt or the control",
        place="advanced",
    )
    region: PictureSource | None = setting(
        None, PictureInput(), "mask", "mask of where it acts, white inside; for inpaint, of what is repainted"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.picture is None:
            raise SettingsError("picture: missing; a control needs one.")
        if self.start > self.end:
            raise SettingsError(f"start: {self.start} is after end, {self.end}; start must not be above end.")
        if self.low > self.high:
            raise SettingsError(f"low: {self.low} is above high, {self.high}; low must not be above high.")
        if self.preprocessor == INPAINT and self.region is None:
            raise SettingsError("region: missing; inpaint needs a mask of what is repainted, white inside.")

    @staticmethod
    def spelled(text: str) -> Mapping[str, object] | None:
        """See `Entry.spelled`: `canny=street.png:0.4` is preprocessor, picture and strength; the strength may be left out."""
        preprocessor, mark, rest = text.partition("=")
        if not mark:
            return None
        picture, _, strength = rest.rpartition(":")
        try:
            return {"preprocessor": preprocessor, "picture": picture, "strength": float(strength)}
        except ValueError:
            return {"preprocessor": preprocessor, "picture": rest}

    @property
    def drawn_by(self) -> str:
        """The preprocessor's name."""
        return self.preprocessor or AS_IT_IS


@dataclass(frozen=True, kw_only=True)
class ControlNetSettings(Common):
    """ControlNets' part of a generation's settings."""

    controls: Sequence[Control] = setting(
        (),
        Entries(of=Control, most=MAX_CONTROLS, title="control", needs="picture", spelling="canny=street.png:0.4"),
        "more control",
        f"1 to {MAX_CONTROLS} pictures whose edges, depth, poses or the like the result is to have",
    )
