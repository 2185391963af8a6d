"""Places the known people in an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_instantid.adapters.instantid.placing import Size, place_heads
from lib_instantid.adapters.instantid.prepare import PlacedPerson
from lib_instantid.adapters.instantid.settings import InstantIDSettings
from lib_instantid.adapters.known import KnownPerson, read_region
from lib_instantid.adapters.people import Person
from lib_instantid.encoders.face.head_points import Head
from lib_instantid.encoders.face.photos import Look

MOVED = "the head was at another one's place, so they stand side by side; place them by hand to have them elsewhere."


@dataclass(frozen=True, kw_only=True, eq=False)
class ResolvedPerson(KnownPerson):
    """A person with an identity and a place in an output."""

    placed: PlacedPerson


def placed_people(
    settings: InstantIDSettings, known: Sequence[KnownPerson], size: Size, look: Look
) -> tuple[ResolvedPerson, ...]:
    """The known people with their places in an output of `size`. known: one per person of the settings. Errors: see
    `known_people`."""
    each = zip(settings.people, known, place_heads(settings, size, look), strict=True)
    return tuple(_placed(*person, size, f"people[{number}]") for number, person in enumerate(each, 1))


def _placed(person: Person, known: KnownPerson, head: Head | None, size: Size, field: str) -> ResolvedPerson:
    return ResolvedPerson(
        identity=known.identity,
        photos=known.photos,
        advice=known.advice + ((f"{field}: {MOVED}",) if head and head.moved else ()),
        placed=PlacedPerson(
            embedding=known.identity.embedding,
            keypoints=head.keypoints if head else None,
            box=head.box if head else None,
            region=read_region(person.region, size, field),
        ),
    )
