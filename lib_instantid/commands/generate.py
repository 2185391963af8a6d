"""`generate`: pictures of a person from photos or a saved identity, on real weights."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_instantid.commands.batch import run_batch
from lib_instantid.commands.options import (
    Subparsers,
    add_face_options,
    add_identities_option,
    add_photo_options,
    analyser_of,
    keypoints,
    quiet_libraries,
)
from lib_instantid.errors import SettingsError
from lib_instantid.guidance.settings import Person, Settings, settings_from_dict

if TYPE_CHECKING:
    from lib_instantid.hosts.embedded.host import EmbeddedHost
    from lib_instantid.hosts.embedded.job import Job

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("generate", help="make pictures of a person", formatter_class=argparse.RawTextHelpFormatter)
    add_weights(parser.add_argument_group("weights"))
    add_face_options(parser)
    add_identities_option(parser)
    _add_person(parser)
    _add_settings(parser.add_argument_group("settings"), Settings)
    _add_job(parser.add_argument_group("picture"))
    parser.set_defaults(run=run)


def add_weights(group: Any, *, required: bool = True) -> None:
    group.add_argument("--checkpoint", type=Path, required=required, help="SDXL: a .safetensors file or a diffusers folder")
    group.add_argument("--checkpoint-config", help="for a single file: a diffusers folder of SDXL, or its name on the hub")
    group.add_argument("--adapter", type=Path, help="ip-adapter.bin (of the models folder)")
    group.add_argument("--identitynet", type=Path, help="IdentityNet, file or folder (ControlNetModel of the models folder)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (auto)")
    group.add_argument("--dtype", choices=DTYPES, help="fp16 on a GPU, fp32 on a CPU")


def _add_person(parser: argparse.ArgumentParser) -> None:
    add_photo_options(parser)
    group = parser.add_argument_group("person")
    group.add_argument("--photos-dir", type=Path, metavar="FOLDER", help="pictures of a person for each photo in it")
    group.add_argument("--identity", help="name of a saved identity, instead of photos")
    group.add_argument("--pose-picture", help="picture whose face places the head")
    group.add_argument("--keypoints", type=keypoints, help='five points of the output, "x,y …" as fractions of its size')
    group.add_argument("--region", help="mask picture of the person's region, white inside")
    _add_settings(group, Person)
    group.add_argument(
        "--person",
        action="append",
        default=[],
        metavar="JSON",
        help='a further person, as JSON: {"photos": ["b.jpg"], "adapter_strength": 0.8, …}',
    )


def _add_settings(group: Any, kind: type) -> None:
    """An option for every number, choice and switch of the settings, from their metadata."""
    for setting in dataclasses.fields(kind):
        option, limits = "--" + setting.name.replace("_", "-"), setting.metadata
        text = f"{limits['help']} ({setting.default})"
        if "options" in limits:
            group.add_argument(option, choices=limits["options"], help=text)
        elif "low" in limits:
            number = int if isinstance(setting.default, int) else float
            group.add_argument(option, type=number, help=f"{text}, {limits['low']} to {limits['high']}".replace("%", "%%"))
        elif isinstance(setting.default, bool) and setting.name != "enabled":
            group.add_argument(option, action="store_true", help=limits["help"])


def _add_job(group: Any) -> None:
    group.add_argument("--prompt")
    group.add_argument("--prompts-file", type=Path, metavar="FILE", help="one prompt per line; a picture for each")
    group.add_argument("--negative-prompt")
    group.add_argument("--width", type=int)
    group.add_argument("--height", type=int)
    group.add_argument("--steps", type=int)
    group.add_argument("--guidance-scale", type=float, help="CFG; with InstantID above 7 burns (5)")
    group.add_argument("--scheduler", help="euler, euler a, heun, dpm++ 2m, dpm++ 2m karras, dpm++ 2m sde, ddim, unipc, lcm")
    group.add_argument("--seed", type=int)
    group.add_argument("--batch-size", type=int)
    group.add_argument("--init-picture", help="picture to start from (img2img)")
    group.add_argument("--denoising-strength", type=float, help="how much of it is repainted (0.75)")
    group.add_argument("--out", type=Path, required=True, metavar="X.png", help="a folder, with --photos-dir or --prompts-file")


def run(args: argparse.Namespace) -> None:
    if (args.prompt is None) == (args.prompts_file is None):
        raise SettingsError("prompt: give one with --prompt, or several with --prompts-file.")
    if args.photos_dir or args.prompts_file:
        _run_batch(args)
    else:
        _run_one(args)


def _run_batch(args: argparse.Namespace) -> None:
    if args.out.suffix.lower() == ".png" or args.out.is_file():
        raise SettingsError(f"out: found {args.out}, expected a folder, as several pictures are made.")
    if args.photos_dir and (args.photo or args.identity):
        raise SettingsError("photos_dir: its photos stand in place of --photo and --identity; leave those out.")
    quiet_libraries()
    run_batch(args, lambda one: _job(one, settings_of(one)), lambda: open_host(args))


def _run_one(args: argparse.Namespace) -> None:
    settings = settings_of(args)
    if args.out.suffix.lower() != ".png" or args.out.is_dir():
        raise SettingsError(f"out: found {args.out}, expected the name of a file that ends with .png.")
    quiet_libraries()
    from lib_instantid.hosts.embedded.record import (  # torch and diffusers: seconds to import
        check_out,
        check_sources,
        record,
        save_pictures,
    )

    job = _job(args, settings)
    check_sources(job)
    check_out(args.out.parent)
    host = open_host(args)
    result = host.generate(job)
    for path in save_pictures(args.out, record(job, result), result):
        print(path)
    for person in result.people:
        for advice in person.advice:
            print(f"  {advice}")


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options describe: the person of the options first, then those of --person."""
    values = _given(args, Settings)
    first = _given(args, Person) | {"photos": args.photo, "photo_keypoints": args.photo_keypoints}
    defaults = {setting.name: setting.default for setting in dataclasses.fields(Person)}
    said = any(value not in (defaults[name], []) for name, value in first.items())
    people = ([first] if said else []) + [_json(text) for text in args.person]
    return settings_from_dict({**values, "enabled": True, "people": people})


def _given(args: argparse.Namespace, kind: type) -> dict[str, Any]:
    names = {setting.name for setting in dataclasses.fields(kind)} & set(vars(args))
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"person: not valid JSON ({error}): {text}") from error


def _job(args: argparse.Namespace, settings: Settings) -> Job:
    from lib_instantid.hosts.embedded.job import Job

    return Job(settings=settings, **_given(args, Job))


def open_host(args: argparse.Namespace) -> EmbeddedHost:
    """Everything loaded and on its device. All files are found and the checkpoint is looked at before anything is read."""
    import torch

    from lib_instantid.hosts.embedded.checkpoint import check_checkpoint, load_pipeline
    from lib_instantid.hosts.embedded.device import choose_device
    from lib_instantid.hosts.embedded.host import EmbeddedHost
    from lib_instantid.hosts.model_files import Role, find_role
    from lib_instantid.nets.adapter import load_adapter
    from lib_instantid.nets.identitynet import load_identitynet
    from lib_instantid.nets.packing import place

    device = choose_device(args.device)
    dtype = getattr(torch, DTYPES[args.dtype or ("fp32" if device.type == "cpu" else "fp16")])
    check_checkpoint(args.checkpoint)
    files = [args.adapter or find_role(args.models_dir, Role.ADAPTER)]
    files += [args.identitynet or find_role(args.models_dir, Role.IDENTITYNET)]
    analyser = analyser_of(args)
    adapter, identitynet = load_adapter(files[0]), load_identitynet(files[1])
    pipeline = load_pipeline(args.checkpoint, dtype, args.checkpoint_config).to(device)
    return EmbeddedHost(pipeline, adapter, place(identitynet, device, dtype), analyser, args.identities)
