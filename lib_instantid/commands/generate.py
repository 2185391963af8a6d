"""`generate`: makes pictures of a person from photos or a saved identity, with real weights."""

from __future__ import annotations

import argparse
import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib_instantid.adapters import FAMILIES, LOADERS, ROLES, SEVERAL, SYSTEM_FILES
from lib_instantid.commands.batch import run_batch
from lib_instantid.commands.options import (
    MODELS,
    Subparsers,
    add_face_options,
    add_identities_option,
    analyser_of,
    quiet_libraries,
)
from lib_instantid.commands.settings_options import add_settings, given, settings_of
from lib_instantid.errors import MissingModelFile, SettingsError
from lib_instantid.hosts.diffusers.small_model import CHECKPOINT, NOTE, REQUEST, SMALL_MODEL

if TYPE_CHECKING:
    from lib_instantid.adapters.common import Common
    from lib_instantid.adapters.family import Family
    from lib_instantid.hosts.diffusers.host import DiffusersHost
    from lib_instantid.hosts.diffusers.request import GenerationRequest

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser("generate", help="make pictures of a person", formatter_class=argparse.RawTextHelpFormatter)
    add_weights(parser.add_argument_group("weights"))
    add_face_options(parser)
    add_identities_option(parser)
    parser.add_argument("--photos-dir", type=Path, metavar="FOLDER", help="pictures of a person for each photo in it")
    add_settings(parser)
    _add_job(parser.add_argument_group("picture"))
    parser.set_defaults(run=run)


def add_weights(group: Any) -> None:
    text = "SDXL or SD1.5: a .safetensors file or a diffusers folder (the small model, which knows rendered people)"
    group.add_argument("--checkpoint", type=Path, help=text)
    group.add_argument("--checkpoint-config", help="for a single file: a diffusers folder of its kind, or its name on the hub")
    for role in ROLES:
        text = f"{role}, file or folder (of the models folder)" + ("; several may be given" if role in SEVERAL else "")
        more: dict[str, Any] = {"action": "append"} if role in SEVERAL else {}
        group.add_argument(f"--{role.lower().replace(' ', '-')}", dest=role, type=Path, help=text, **more)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps … (auto)")
    group.add_argument("--dtype", choices=DTYPES, help="fp16 on a GPU, fp32 on a CPU")


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
    if complete_weights(args):
        print(NOTE)
        vars(args).update({name: value for name, value in REQUEST.items() if vars(args)[name] is None})
    if (args.prompt is None) == (args.prompts_file is None):
        raise SettingsError("prompt: give one with --prompt, or several with --prompts-file.")
    if args.photos_dir or args.prompts_file:
        _run_batch(args)
    else:
        _run_one(args)


def _run_batch(args: argparse.Namespace) -> None:
    if args.out.suffix.lower() == ".png" or args.out.is_file():
        raise SettingsError(f"out: found {args.out}, expected a folder, as several pictures are made.")
    if args.photos_dir and (args.photos or args.identity):
        raise SettingsError("photos_dir: its photos stand in place of --photo and --identity; leave those out.")
    quiet_libraries()
    run_batch(args, lambda one: _request(one, _settings(one)), lambda settings: open_host(args, settings))


def _settings(args: argparse.Namespace) -> Any:
    """See `settings_of`. With the small model one person acts on the whole picture, as it learnt, if no region is given."""
    settings = settings_of(args)
    alone = len(settings.people) == 1 and settings.face_region == "face" and args.face_region is None
    return dataclasses.replace(settings, face_region="everywhere") if alone and args.checkpoint == CHECKPOINT else settings


def _run_one(args: argparse.Namespace) -> None:
    settings = _settings(args)
    if args.out.suffix.lower() != ".png" or args.out.is_dir():
        raise SettingsError(f"out: found {args.out}, expected the name of a file that ends with .png.")
    quiet_libraries()
    from lib_instantid.hosts.diffusers.metadata import (  # torch and diffusers: seconds to import
        check_out,
        check_sources,
        metadata_of,
        save_pictures,
    )

    request = _request(args, settings)
    check_sources(request)
    check_out(args.out.parent)
    host = open_host(args, settings)
    result = host.generate(request)
    for path in save_pictures(args.out, metadata_of(request, result), result):
        print(path)
    for advice in result.advice:
        print(f"  {advice}")


def _request(args: argparse.Namespace, settings: Any) -> GenerationRequest:
    from lib_instantid.hosts.diffusers.request import GenerationRequest

    return GenerationRequest(settings=settings, **given(args, [own.name for own in dataclasses.fields(GenerationRequest)]))


def _of_role(args: argparse.Namespace, role: str) -> dict[str, Path]:
    """A role's files by name: the named ones, else those of the models folder. Raises MissingModelFile: there is none."""
    from lib_instantid.weights.finding import find_role, named_files  # torch: seconds to import

    if role in SEVERAL:
        return named_files(args.models_dir, role, SYSTEM_FILES, vars(args)[role] or ())
    return {role: vars(args)[role] or find_role(args.models_dir, role, SYSTEM_FILES)}


def _files(args: argparse.Namespace, settings: Common | None, context: int | None) -> dict[str, dict[str, Path]]:
    """For each role the files to use: those that are named, and all that the systems in use are released with. Without
    settings, as for a page, the systems in use are those whose files are there, or else the first."""

    def of(family: Family) -> dict[str, dict[str, Path]]:
        first, *others = family.files.roles
        needed = {first: _of_role(args, first)}
        needed |= {role: _of_role(args, role) for role in others if family.files.needs(role, needed[first].values())}
        for role in family.files.load.keys() - needed.keys():  # what only some of its files need
            with suppress(MissingModelFile):
                needed[role] = _of_role(args, role)
        return needed

    found = {role: _of_role(args, role) for role in ROLES if vars(args)[role]}
    if settings is not None:
        for family in FAMILIES:
            found |= of(family) if family.acts(settings, context) else {}
        return found
    for family in FAMILIES:
        with suppress(MissingModelFile):
            found |= of(family)
    return found or of(FAMILIES[0])


def complete_weights(args: argparse.Namespace) -> bool:
    """Fill in where the weights are: the small model's if no checkpoint is named. Returns whether they are used.

    Raises SettingsError: other weights are named, which do not fit the small model.
    """
    if args.checkpoint is not None:
        args.models_dir = args.models_dir or MODELS
        return False
    given = [name for name in (*ROLES, "models_dir", "face_models") if vars(args)[name]]
    if given:
        option = given[0].lower().replace("_", "-").replace(" ", "-")
        raise SettingsError(
            f"checkpoint: missing; --{option} needs the checkpoint that it is for. Name it with --checkpoint, or leave "
            "out both for the small model."
        )
    args.checkpoint, args.models_dir = CHECKPOINT, SMALL_MODEL
    return True


def open_small_host() -> DiffusersHost:
    """The host with the small model."""
    parser = argparse.ArgumentParser()
    add_weights(parser)
    add_face_options(parser)
    add_identities_option(parser)
    args = parser.parse_args([])
    complete_weights(args)
    return open_host(args)


def open_host(args: argparse.Namespace, settings: Common | None = None) -> DiffusersHost:
    """The host with everything that the settings need, on its device; see `_files`. All files are found and the checkpoint is
    checked before loading. Of roles of which several files may be used, each is loaded when it is first used. Before,
    `complete_weights` was called."""
    import torch

    from lib_instantid.hosts.diffusers.checkpoint import check_checkpoint, load_pipeline
    from lib_instantid.hosts.diffusers.host import DiffusersHost
    from lib_instantid.hosts.diffusers.sampling import choose_device
    from lib_instantid.hosts.diffusers.sources import LoadedSources
    from lib_instantid.networks.controlnet import ControlNet
    from lib_instantid.networks.packing import place

    device = choose_device(args.device)
    dtype = getattr(torch, DTYPES[args.dtype or ("fp32" if device.type == "cpu" else "fp16")])
    context = check_checkpoint(args.checkpoint)
    files = _files(args, settings, context)
    analyser = analyser_of(args)
    networks = {role: LOADERS[role](named[role]) for role, named in files.items() if role not in SEVERAL}
    pipeline = load_pipeline(args.checkpoint, dtype, args.checkpoint_config).to(device)

    def placed(network: Any) -> Any:
        return place(network, device, dtype) if isinstance(network, ControlNet) else network

    sources = LoadedSources(
        analyser=analyser,
        identities=args.identities,
        networks={role: placed(network) for role, network in networks.items()},
        files={role: named for role, named in files.items() if role in SEVERAL},
        load=lambda role, path: placed(LOADERS[role](path)),
        context=context,
    )
    return DiffusersHost(pipeline, sources)
