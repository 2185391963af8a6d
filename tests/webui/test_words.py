"""The same message for a request and for the page, each in its own words."""

from __future__ import annotations

import pytest

from lib_instantid.webui.arguments import upload_folder
from lib_instantid.webui.words import in_page_words

WORDS = {
    "people[1].photos, identity: found neither; give either 1 to 16 photos or an identity.": (
        "Person 1: neither a photo nor a saved identity is there; choose 1 to 16 photos, or a saved identity."
    ),
    "people[2].photos[1]: no face found.": "Person 2, photo 1: no face found.",
    'people[1].pose: "photo" needs a photo; choose "pose picture", "keypoints" or "none".': (
        "Person 1, head placement: “as in the photo” needs a photo; choose “as in a pose picture”, “by hand” or “free”."
    ),
    'keypoints: missing; pose "keypoints" needs five points, or choose another pose.': (
        "Points placed by hand: missing; head placement “by hand” needs five points, or choose another pose."
    ),
    "adapter_start: 0.6 is after adapter_end, 0.5.": "Adapter starts: 0.6 is after adapter ends, 0.5.",
    'people[1].identity: there is no saved identity "Ada King".': (
        'Person 1, saved identity: there is no saved identity "Ada King".'
    ),
    "people[1]: the head was moved.": "Person 1: the head was moved.",
    "InstantID's files are missing. Looked in /a/keypoints, /b/instant_id.": (
        "InstantID's files are missing. Looked in /a/keypoints, /b/instant_id."
    ),
}


@pytest.mark.parametrize("text", WORDS)
def test_the_page_has_its_own_words(text: str) -> None:
    assert in_page_words(text) == WORDS[text]


def test_an_upload_is_a_file_and_no_path() -> None:
    path = upload_folder() / "0a1b" / "picture.png"
    assert in_page_words(f"people[1].photos[1]: {path} is damaged.") == "Person 1, photo 1: the file is damaged."
