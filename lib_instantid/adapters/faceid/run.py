"""One generation of FaceID: makes an attention part of each person, and one part of the adapter's LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from torch import Tensor

from lib_instantid.adapters.adapter_files import chosen_adapter, misfit
from lib_instantid.adapters.faceid.looks import embeddings_of, features_of
from lib_instantid.adapters.faceid.networks import FaceAdapter
from lib_instantid.adapters.faceid.recognise import FACE_RECOGNISER, FACEID_ADAPTER, PACKAGE
from lib_instantid.adapters.faceid.settings import FaceIDSettings
from lib_instantid.adapters.family import Run, Size, Sources
from lib_instantid.adapters.known import KnownPerson, known_people, region_of
from lib_instantid.adapters.people import FACEID, Person
from lib_instantid.adapters.people_record import recorded_person
from lib_instantid.adapters.record import hash_of, recorded_own
from lib_instantid.adapters.towers import tower_for
from lib_instantid.conditioning.parts import AttentionPart, Conditioning, LoraPart, Part
from lib_instantid.conditioning.regions import nearest_person
from lib_instantid.conditioning.schedule import Window
from lib_instantid.errors import SettingsError
from lib_instantid.networks.adapter import PromptTokens


class FaceIDRun(Run):
    """See `family.Run`. It acts for the people whose system is FaceID."""

    def __init__(self, settings: FaceIDSettings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources
        numbered = enumerate(settings.people, 1)
        self._people = {i: person for i, person in numbered if person.acts_by(FACEID, sources.context_size)}

    def advice(self, size: Size) -> tuple[str, ...]:
        told = [advice for number in self._people for advice in self._known[number - 1].advice]
        told += [
            f'people[{number}].pose: FaceID places no head, so it is free; with the system "InstantID" it is placed.'
            for number, person in self._people.items()
            if person.pose in ("pose picture", "keypoints")
        ]
        if len(self._people) > 1 and self._settings.face_region != "mask":
            told.append("people: FaceID places no heads, so they share the picture in columns; paint a mask for each instead.")
        self._regions(size)
        for number in self._acting:
            self._tokens(number)
        return (*told, *(self._about_adapter() if self._acting else ()))

    @property
    def _acting(self) -> dict[int, Person]:
        """The people for whom anything acts; for others nothing is loaded."""
        return {i: person for i, person in self._people.items() if person.adapter_strength or person.lora_strength}

    @cached_property
    def _known(self) -> tuple[KnownPerson, ...]:
        return known_people(self._settings.people, self._sources.analyser, self._sources.identities)

    @cached_property
    def _adapter(self) -> tuple[str, FaceAdapter]:
        return chosen_adapter(self._sources, FACEID_ADAPTER, self._settings.faceid_model, "faceid_model", FaceAdapter)

    def _about_adapter(self) -> tuple[str, ...]:
        name, adapter = self._adapter
        told = list[str]()
        if adapter.sees and self._version is None:
            told.append(f"faceid_version: {name} does not say which it is, so it is taken for PlusV2; say so if it is Plus.")
        if not adapter.several and adapter.lora is None:
            told.append(f"faceid_model: {name} belongs to a LoRA that is neither in it nor beside it; the likeness is less.")
        return tuple(told)

    @property
    def _version(self) -> str | None:
        """The version of a FaceID Plus; None where nothing tells it."""
        chosen = self._settings.faceid_version
        return self._adapter[1].version if chosen == "by its name" else chosen

    def conditioning(self, size: Size) -> Conditioning:
        window = Window(start=self._settings.adapter_start, end=self._settings.adapter_end)
        regions, parts = self._regions(size), list[Part]()
        for number, person in self._acting.items():
            tokens = self._tokens(number)
            parts.append(
                AttentionPart(
                    keys_values=tokens.keys_values,
                    strength=float(person.adapter_strength),
                    misfit=misfit(FaceAdapter, self._adapter[0], self._adapter[1].shape, tokens),
                    window=window,
                    region=regions[number],
                )
            )
        lora = max((person.lora_strength for person in self._acting.values()), default=0.0)
        if lora and (layers := self._adapter[1].lora) is not None:
            unfit = f"the LoRA of {self._adapter[0]} is for others. Take the one that was released with it."
            parts.append(LoraPart(layers=layers, strength=float(lora), misfit=unfit, window=window))
        return Conditioning(parts=tuple(parts), size=size, cfg_rescale=float(self._settings.cfg_rescale))

    def _regions(self, size: Size) -> Mapping[int, Tensor | None]:
        """Each person's region: the given masks, or columns in the order of the people; one person acts everywhere."""
        if self._settings.face_region == "mask":
            return {i: region_of(person.region, size, f"people[{i}]") for i, person in self._people.items()}
        if len(self._people) == 1:
            return dict.fromkeys(self._people)
        width, height = size
        column = width / len(self._people)
        centres = [np.array([(i + 0.5) * column, height / 2]) for i in range(len(self._people))]
        return dict(zip(self._people, nearest_person(centres, width, height), strict=True))

    def _tokens(self, number: int) -> PromptTokens:
        """The tokens of a person; the adapter keeps them. Raises an InstantIDError that names the field."""
        name, adapter = self._adapter
        person, known = self._people[number], self._known[number - 1]
        photos = known.photos
        if not photos and (adapter.sees or not adapter.by_antelope):
            raise SettingsError(
                f"people[{number}].identity: a saved identity is antelopev2's, and {name} needs {PACKAGE}'s; give the person's "
                "photos."
            )
        recogniser = None if adapter.by_antelope else self._sources.network(FACE_RECOGNISER, None)
        given = embeddings_of(photos, known.identity.embedding, recogniser, adapter.several)
        if not adapter.sees:
            return adapter.tokens(given.numpy().tobytes(), given)
        structure = None if self._version == "Plus" else float(person.structure)
        tower = tower_for(self._sources, adapter.shape, name, "faceid_model")
        key = (given.numpy().tobytes(), *(photo.key for photo in photos), tower.width, structure)
        return adapter.tokens(key, given, lambda: features_of(photos, tower), structure)

    def recorded(self, size: Size) -> Mapping[str, object]:
        each = [self._recorded(i) if i in self._people else {} for i in range(1, len(self._settings.people) + 1)]
        del size
        return {"people": each, **recorded_own(self._settings, FaceIDSettings)}

    def _recorded(self, number: int) -> dict[str, object]:
        person = self._people[number]
        values = recorded_person(person, self._known[number - 1])
        if self._settings.face_region == "mask" and person.region is not None:
            values["region"] = hash_of(person.region, f"people[{number}].region")
        return values

    def metadata(self, size: Size) -> Mapping[str, object]:
        """For each person what was found in the photos."""
        del size
        return {"faceid_people": [self._known[number - 1].described for number in self._people]}

    @property
    def embeddings(self) -> tuple[np.ndarray, ...]:
        """See `family.Run`: (512,) float32, raw, one per person."""
        return tuple(self._known[number - 1].identity.embedding for number in self._people)
