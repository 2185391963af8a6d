"""An identity is the mean of raw embeddings, and what was saved is what is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from lib_instantid.encoders.face.identity import Identity, combine, cosine, strangers
from lib_instantid.encoders.face.identity_files import (
    check_name,
    delete_identity,
    list_identities,
    load_identity,
    save_identity,
)
from lib_instantid.errors import IdentityFileError, SettingsError
from tests.encoders.face.scenes import a_face, somebody


def test_identity_of_one_photo_is_its_raw_embedding() -> None:
    identity = combine([a_face(embedding=somebody(3))])
    np.testing.assert_array_equal(identity.embedding, somebody(3))
    assert identity.embedding.dtype == np.float32
    assert identity.photos == 1


def test_a_clear_photo_with_a_longer_embedding_counts_for_more() -> None:
    clear, faint = 2 * somebody(1), somebody(2)
    identity = combine([a_face(embedding=clear), a_face(embedding=faint)], name="both", model="m")
    np.testing.assert_allclose(identity.embedding, (clear + faint) / 2, rtol=1e-6)
    assert cosine(identity.embedding, clear) > cosine(identity.embedding, faint)
    assert (identity.name, identity.photos, identity.model) == ("both", 2, "m")


@pytest.mark.parametrize("count", [0, 17])
def test_an_identity_is_made_of_one_to_sixteen_photos(count: int) -> None:
    assert combine([a_face()] * 16).photos == 16
    with pytest.raises(SettingsError, match=f"1 to 16 photos, found {count}"):
        combine([a_face()] * count)


def test_cosine_is_one_for_the_same_direction_and_nothing_for_zero() -> None:
    assert cosine(somebody(1), 7 * somebody(1)) == pytest.approx(1)
    assert cosine(somebody(1), -somebody(1)) == pytest.approx(-1)
    assert abs(cosine(somebody(1), somebody(2))) < 0.2
    assert cosine(np.zeros(512), somebody(1)) == 0


def test_the_photo_of_someone_else_is_the_stranger() -> None:
    one = [somebody(1) + 0.5 * somebody(10 + index) for index in range(4)]
    assert strangers(one) == []
    assert strangers([one[0], somebody(2), *one[1:]]) == [1]
    assert strangers([one[0], somebody(2)]) == [0, 1]
    assert strangers([one[0]]) == []
    assert strangers([]) == []


@pytest.mark.parametrize("name", ["Ada", "two words", "Zoë-1_2.b", "李小龙", "x" * 64, "CONtact", "a.b"])
def test_what_is_saved_is_loaded(tmp_path: Path, name: str) -> None:
    identity = Identity(embedding=somebody(4), name=name, photos=5, model="antelopev2")
    folder = tmp_path / "identities"
    path = save_identity(identity, folder)
    assert path.parent == folder
    loaded = load_identity(name, folder)
    np.testing.assert_array_equal(loaded.embedding, identity.embedding)
    assert (loaded.name, loaded.photos, loaded.model) == (name, 5, "antelopev2")
    assert list_identities(folder) == [name]


def test_the_file_tells_what_it_is(tmp_path: Path) -> None:
    path = save_identity(Identity(embedding=somebody(4), name="Ada", photos=2), tmp_path)
    with safe_open(str(path), framework="numpy") as file:
        assert file.metadata() == {
            "format": "sd-webui-instantid identity",
            "version": "1",
            "name": "Ada",
            "model": "antelopev2",
            "photos": "2",
        }


def test_saving_again_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    for seed in (1, 2):
        path = save_identity(Identity(embedding=somebody(seed), name="Ada"), tmp_path)
    np.testing.assert_array_equal(load_identity("Ada", tmp_path).embedding, somebody(2))
    assert list(tmp_path.iterdir()) == [path]


def test_saving_again_does_not_write_into_the_file_that_is_being_read(tmp_path: Path) -> None:
    path = save_identity(Identity(embedding=somebody(1), name="Ada"), tmp_path)
    reader = tmp_path / "reader"
    reader.hardlink_to(path)
    before = reader.read_bytes()
    save_identity(Identity(embedding=somebody(2), name="Ada"), tmp_path)
    assert reader.read_bytes() == before


def test_a_failed_save_leaves_no_part_behind(tmp_path: Path) -> None:
    (tmp_path / "Ada.safetensors").mkdir()
    with pytest.raises(IdentityFileError, match="cannot be written"):
        save_identity(Identity(embedding=somebody(1), name="Ada"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Ada.safetensors"]


def test_identities_are_listed_in_order_without_other_files(tmp_path: Path) -> None:
    assert list_identities(tmp_path / "missing") == []
    for name in ("Bea", "Ada"):
        save_identity(Identity(embedding=somebody(1), name=name), tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.safetensors").touch()
    (tmp_path / "folder.safetensors").mkdir()
    assert list_identities(tmp_path) == ["Ada", "Bea"]


def test_a_deleted_identity_is_gone(tmp_path: Path) -> None:
    save_identity(Identity(embedding=somebody(1), name="Ada"), tmp_path)
    delete_identity("Ada", tmp_path)
    assert list_identities(tmp_path) == []
    with pytest.raises(IdentityFileError, match="no identity 'Ada'"):
        delete_identity("Ada", tmp_path)


@given(st.text(max_size=80) | st.from_regex(r"[./\\a]{1,6}", fullmatch=True))
def test_no_name_leaves_its_folder(name: str) -> None:
    try:
        check_name(name)
    except SettingsError:
        return
    path = Path("/folder") / f"{name}.safetensors"
    assert path.resolve().parent == Path("/folder").resolve()
    assert path.name == f"{name}.safetensors"
