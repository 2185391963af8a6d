"""What a sixth system reaches. Run by `test_sixth_system` where the system is one of the project's."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file

from lib_instantid.adapters.fields import lists_in, settings_in
from lib_instantid.adapters.runs import begin_runs, joined
from lib_instantid.adapters.settings import Settings, settings_from_dict
from lib_instantid.cli import main
from lib_instantid.commands.settings_options import add_settings, settings_of
from lib_instantid.conditioning.attachment import attach
from lib_instantid.conditioning.schedule import Step
from lib_instantid.hosts.diffusers.sources import LoadedSources
from lib_instantid.networks.adapter import Adapter
from lib_instantid.webui import arguments
from lib_instantid.webui.infotext import infotext_of, settings_from_infotext
from lib_instantid.webui.model_store import Keep, ModelStore
from lib_instantid.webui.schema import settings_schema
from lib_instantid.webui.table import table_for_page
from lib_instantid.webui.words import in_page_words
from lib_instantid.webui.xyz import Offered, Plot, axes
from tests.conftest import HEIGHT, ROWS, SMALL, WIDTH, Call, Inputs
from tests.webui.processing import P

ROLE = "TintNet"
TABLE = torch.randn(3, SMALL.context, generator=torch.Generator().manual_seed(3))
REQUEST = {"tints": [{"colour": "blue", "strength": 0.75}], "tint_start": 0.0}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    save_file({"tint.weight": TABLE}, tmp_path / "any name.safetensors")
    return ModelStore(lambda: [tmp_path], lambda: Keep.CPU, lambda: tmp_path)


def test_a_file_of_any_name_is_found_and_nothing_of_other_systems_is_needed(store: ModelStore) -> None:
    assert store.names(ROLE) == ("any name.safetensors",)
    assert torch.equal(store.network(ROLE), TABLE)


def test_it_acts_in_a_unet_call(diffusers_unet: UNet2DConditionModel, call: Call, store: ModelStore) -> None:
    settings = settings_from_dict({**REQUEST, "enabled": True})
    (run,) = begin_runs(settings, store)
    assert run.advice((WIDTH, HEIGHT)) == ()
    plain = call(diffusers_unet)
    with attach(
        diffusers_unet, joined(settings, [run], (WIDTH, HEIGHT)), rows_of=lambda _: ROWS, step=lambda: Step(index=0, total=1)
    ):
        tinted = call(diffusers_unet)
    inputs = Inputs(diffusers_unet)
    words = torch.stack([torch.zeros(1, SMALL.context), 0.75 * TABLE[2][None]])
    added = {"text_embeds": inputs.text_embeds[:2], "time_ids": inputs.time_ids[:2]}
    with torch.no_grad():
        expected = diffusers_unet(
            inputs.latents[:2], inputs.timestep[:2], torch.cat([inputs.context[:2], words], dim=1), added_cond_kwargs=added
        ).sample
    assert torch.allclose(tinted, expected, atol=1e-5)
    assert not torch.allclose(tinted, plain, atol=1e-4)


def test_it_acts_beside_instantid(adapter: Adapter, weights_folder: Path, store: ModelStore, identity_settings: Any) -> None:
    settings = settings_from_dict({**REQUEST, **identity_settings, "enabled": True})
    both = LoadedSources(
        analyser=store,
        identities=weights_folder,
        networks={"adapter": adapter, ROLE: TABLE},  # type: ignore[arg-type]
    )
    assert len(begin_runs(settings, both)) == 2


@pytest.fixture
def identity_settings() -> dict[str, Any]:
    return {"people": [{"identity": "Ada"}]}


def test_the_panels_table_has_its_settings() -> None:
    rows = {(row["owner"], row["name"]): row for row in table_for_page()}
    assert rows["tints", "strength"]["high"] == 2.0
    assert rows["whole", "tint_start"]["label"] == "Tint starts"


def test_the_schema_describes_it() -> None:
    validator = jsonschema.Draft202012Validator(settings_schema())
    validator.validate(REQUEST)
    validator.validate({"people": [{"identity": "Ada"}]})
    for wrong in ({"tints": [{"strength": 3}]}, {"tints": [{"colour": "mud"}]}, {"tint_start": 0.5}):
        assert not validator.is_valid(wrong)


def test_the_infotext_has_it_and_gives_it_back(store: ModelStore) -> None:
    sample = Image.fromarray(np.full((8, 8, 3), 9, np.uint8))
    settings = settings_from_dict({"enabled": True, "cfg_rescale": 0.5, "tints": [{"colour": "green", "sample": sample}]})
    (run,) = begin_runs(settings, store)
    text = infotext_of(settings, [run.recorded((WIDTH, HEIGHT))])
    restored, lost = settings_from_infotext(text, store)
    assert restored["tints"][0].pop("sample") == f"#{lost[0].split()[1]}"
    assert restored == {"tints": [{"colour": "green"}], "cfg_rescale": 0.5}
    assert [sentence for sentence in lost if sentence.startswith("tints[1].sample: ")] == list(lost) != []


def test_a_request_reads_its_pictures_and_errors_name_its_fields() -> None:
    settings = arguments.settings_of([{"tints": [{"colour": "red"}]}], [])
    assert settings.tints[0].colour == "red"
    with pytest.raises(arguments.PictureError, match=r"tints\[1\]\.sample"):
        arguments.settings_of([{"tints": [{"sample": "%%%"}]}], [])
    assert in_page_words("tints[2].strength: found 3, expected less") == "Tint 2, strength: found 3, expected less"


def test_the_command_line_has_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    args = ["--tint-colour", "green", "--tint-strength", "1.5", "--tint", '{"colour": "blue"}', "--tint-start", "0.25"]
    settings = settings_of(parser.parse_args(args))
    assert [(tint.colour, tint.strength) for tint in settings.tints] == [("green", 1.5), ("blue", 0.5)]
    assert settings.tint_start == 0.25
    assert settings.people == ()
    assert main(["models", "--models-dir", "nowhere"]) == 0
    assert "tint.safetensors" in capsys.readouterr().out


def test_there_are_axes_for_it_and_none_has_anothers_name() -> None:
    def option(label: str, kind: type, apply: Any, **more: Any) -> SimpleNamespace:
        return SimpleNamespace(label=label, type=kind, apply=apply, **more)

    base = settings_from_dict({**REQUEST, "enabled": True})
    plot = Plot()
    made = [*axes(option, plot, Offered(names=lambda _: (), allowed=list), lambda _: base)]
    labels = [axis.label for axis in made]
    assert len(set(labels)) == len(labels)
    (strength,) = (axis for axis in made if axis.label == "[InstantID] tint: strength")
    cell = P()
    strength.confirm(cell, [1.0])
    strength.apply(cell, 1.0, [1.0])
    assert plot.applied(cell, base).tints[0].strength == 1.0


def test_instantids_settings_come_first_and_are_as_they_were() -> None:
    assert [entries.name for entries in lists_in(Settings)] == ["people", "image_prompts", "controls", "tints"]
    assert settings_in(Settings)[0].name == "enabled"
