"""One generation of InstantID: places its people at the size of each pass and makes the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from lib_instantid.adapters.family import Run, Size, Sources
from lib_instantid.adapters.instantid.people import ResolvedPerson, placed_people
from lib_instantid.adapters.instantid.prepare import Prepared, prepare
from lib_instantid.adapters.instantid.recognise import ADAPTER, IDENTITYNET
from lib_instantid.adapters.instantid.record import recorded
from lib_instantid.adapters.instantid.settings import InstantIDSettings
from lib_instantid.adapters.known import KnownPerson, known_people
from lib_instantid.adapters.people import INSTANTID
from lib_instantid.conditioning.parts import Conditioning


class InstantIDRun(Run):
    """See `family.Run`. Each photo is analysed once; people are placed and parts made once for each size."""

    def __init__(self, settings: InstantIDSettings, sources: Sources) -> None:
        self._own = [person.acts_by(INSTANTID, sources.context_size) for person in settings.people]
        people = [p if own else p.switched_off() for p, own in zip(settings.people, self._own, strict=True)]
        self._settings: InstantIDSettings = replace(settings, people=people)
        self._sources = sources
        self._people: dict[Size, tuple[ResolvedPerson, ...]] = {}
        self._prepared: dict[Size, Prepared] = {}

    def advice(self, size: Size) -> tuple[str, ...]:
        self._sources.file_name(ADAPTER, self._settings.model, "model")
        self._identitynet()
        return tuple(advice for person in self.people(size) for advice in person.advice)

    @cached_property
    def _known(self) -> tuple[KnownPerson, ...]:
        """The same in every pass."""
        return known_people(self._settings.people, self._sources.analyser, self._sources.identities)

    def people(self, size: Size) -> tuple[ResolvedPerson, ...]:
        """The people, placed in an output of this size. Errors: see `known_people`."""
        if size not in self._people:
            known = self._known  # every photo is looked at before a head is placed as in one of them
            self._people[size] = placed_people(self._settings, known, size, self._sources.analyser.face_of)
        return self._people[size]

    def prepared(self, size: Size) -> Prepared:
        """InstantID, prepared for a pass of this size. Errors: see `prepare` and `Sources.network`."""
        if size not in self._prepared:
            placed = [person.placed for person in self.people(size)]
            settings, sources = self._settings, self._sources
            adapter = sources.network(ADAPTER, settings.model)
            net = lambda: sources.network(IDENTITYNET, settings.identitynet_file)  # noqa: E731
            self._prepared[size] = prepare(settings, placed, size, adapter, net)
        return self._prepared[size]

    def conditioning(self, size: Size) -> Conditioning:
        return self.prepared(size).conditioning

    def recorded(self, size: Size) -> Mapping[str, object]:
        found = recorded(self._settings, self.people(size), size, self._identitynet(), self._sources.analyser.face_of)
        return {**found, "people": [one if own else {} for one, own in zip(found["people"], self._own, strict=True)]}

    def metadata(self, size: Size) -> Mapping[str, object]:
        """For each person what was found in the photos, and the norms of the unconditional and conditional tokens."""
        norms = [person.face.tokens.flatten(1).norm(dim=1).tolist() for person in self.prepared(size).people]
        return {
            "people": [_described(person) for person in self.people(size)],
            "token_norms": [{"unconditional": none, "conditional": one} for none, one in norms],
        }

    @property
    def embeddings(self) -> tuple[np.ndarray, ...]:
        """See `family.Run`: (512,) float32, raw, one per person."""
        return tuple(known.identity.embedding for known, own in zip(self._known, self._own, strict=True) if own)

    def control_maps(self, size: Size) -> tuple[np.ndarray, ...]:
        """See `family.Run`: each person's keypoint map, (H, W, 3) uint8 RGB."""
        return tuple(person.keypoint_picture for person in self.prepared(size).people)

    def _identitynet(self) -> str | None:
        """The name of IdentityNet's file; None if IdentityNet acts for nobody."""
        if not self._settings.uses_identitynet:
            return None
        return self._sources.file_name(IDENTITYNET, self._settings.identitynet_file, "identitynet_file")


def _described(person: ResolvedPerson) -> dict[str, object]:
    keypoints = person.placed.keypoints
    points = None if keypoints is None else np.round(keypoints, 2).tolist()
    return {**person.described, "keypoints_px": points}
