"""The settings that say who a person is, for every system with faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_instantid.adapters.common import Entry
from lib_instantid.adapters.fields import Choice, Keypoints, Name, PictureInput, PictureSource, Points, check_keypoints, setting
from lib_instantid.constants import MAX_PHOTOS
from lib_instantid.encoders.face.choose import CHOICES
from lib_instantid.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Who(Entry):
    """A person, given either by photos or by a saved identity."""

    photos: Sequence[PictureSource] = setting((), PictureInput(most=MAX_PHOTOS), "photos", "1 to 16 photos of the person")
    identity: str | None = setting(None, Name(of="identity"), "saved identity", "name of a saved identity, instead of photos")
    photo_keypoints: Sequence[Keypoints | None] = setting(
        (),
        Points(most=MAX_PHOTOS),
        "points in the photo",
        "five points by hand for photos in which no detector finds the face, as fractions of the photo's width and height",
    )
    face: str | int | Sequence[str | int] = setting(
        "largest",
        Choice(options=CHOICES, numbered=True),
        "chosen face",
        "which face of a photo: largest, left, right, center, or a number from the left; or a list, one for each photo",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_source()
        self._check_face()

    def _check_source(self) -> None:
        if bool(self.photos) == (self.identity is not None):
            found = "both" if self.photos else "neither"
            raise SettingsError(f"photos, identity: found {found}; give either 1 to {MAX_PHOTOS} photos or an identity.")
        if len(self.photos) > MAX_PHOTOS:
            raise SettingsError(f"photos: found {len(self.photos)}, expected at most {MAX_PHOTOS}; leave the weakest out.")
        if len(self.photo_keypoints) > len(self.photos):
            raise SettingsError(
                f"photo_keypoints: found {len(self.photo_keypoints)} entries for {len(self.photos)} photos; give one for each "
                "photo, or null for a photo whose face is to be detected."
            )
        for keypoints in self.photo_keypoints:
            if keypoints is not None:
                check_keypoints("photo_keypoints", keypoints)

    def _check_face(self) -> None:
        if isinstance(self.face, list | tuple) and len(self.face) != len(self.photos):
            raise SettingsError(
                f"face: found {len(self.face)} entries for {len(self.photos)} photos; give one for each, or one word."
            )
