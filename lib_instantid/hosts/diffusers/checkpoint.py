"""Opens a checkpoint of SDXL or SD1.5 as a diffusers pipeline: a diffusers folder, or one file with ldm's names."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError, safe_open

from lib_instantid.errors import BadModelFile, DownloadError, MissingModelFile, UnsupportedModel
from lib_instantid.weights.pickles import CURE, check_torch_file, is_torch_file
from lib_instantid.weights.reading import DAMAGED

WEIGHTS = "diffusion_pytorch_model"
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"
"""Names of tensors whose presence marks v-prediction, and zero terminal SNR (the schedule ends with noise alone)."""

EDM = "edm_"
"""Beginning of the names of tensors that mark an EDM checkpoint (Playground v2.5, CosXL)."""

ZERO_TERMINAL_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
PREDICTIONS = ("epsilon", "v_prediction")
"""Kinds of prediction with which the systems work, by diffusers' names."""

VAE = "first_stage_model."
SDXL_TEXT_ENCODER = "conditioner.embedders.1.model."
"""Beginning of the names of SDXL's second text encoder, which the refiner and other models lack in their single files."""

TEXT_ENCODER = "cond_stage_model."
"""Beginning of the names of SD1.5's text encoder in single files."""

CROSS_ATTENTION = "attn2.to_k.weight"
"""End of the names of layers that take the text."""

SD15_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2Img", "StableDiffusionInpaint")
"""Beginnings of the names of SD1.5's pipelines in a folder's index."""


def load_pipeline(path: Path, dtype: torch.dtype, config: str | None = None) -> DiffusionPipeline:
    """Load a checkpoint as a pipeline on the CPU.

    config: for a single file, a diffusers folder of its kind with tokenizers and configurations, or its name on the hub. With
    None diffusers downloads them (about 3 MB, kept in the hub's cache).
    Raises MissingModelFile, BadModelFile, UnsupportedModel, or DownloadError: the configurations cannot be downloaded.
    """
    path = path.expanduser()
    return _load_folder(path, dtype) if path.is_dir() else _load_file(path, dtype, config)


def check_checkpoint(path: Path) -> int | None:
    """Check a checkpoint without reading its weights. returns: numbers of a token of its text, None if it does not tell.

    Errors: see `load_pipeline`.
    """
    path = path.expanduser()
    if path.is_dir():
        _check_folder(path, _torch_files(path))
        return _context_of_folder(path)
    _check_names(path, _names_and_metadata(path)[0])
    with safe_open(path, framework="pt") as file:
        layer = next((name for name in file.keys() if name.endswith(CROSS_ATTENTION)), None)  # noqa: SIM118 - no mapping
        return None if layer is None else int(file.get_slice(layer).get_shape()[1])


def _context_of_folder(folder: Path) -> int | None:
    try:
        found = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))["cross_attention_dim"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModelFile(
            f"checkpoint {folder / 'unet'}: no configuration of a UNet ({_first_line(error)}). Fetch it again."
        ) from error
    return found if isinstance(found, int) else None


def _check_folder(folder: Path, torch_files: list[Path]) -> type[DiffusionPipeline]:
    """Check a folder without reading its weights. torch_files: those that will be unpickled. returns: the pipeline's class."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise MissingModelFile(f"checkpoint {folder}: no model_index.json in it; give the folder of a diffusers pipeline.")
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))
        kind = str(parts["_class_name"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadModelFile(f"checkpoint {index}: not a diffusers index ({error}). Fetch the checkpoint again.") from error
    if not kind.startswith(("StableDiffusionXL", *SD15_PIPELINES)):
        raise UnsupportedModel(f"checkpoint {folder}: this is a {kind}; expected a checkpoint of SDXL or SD1.5.")
    absent = [name for name, part in parts.items() if isinstance(part, list) and all(part) and not (folder / name).is_dir()]
    if absent:
        raise BadModelFile(f"checkpoint {folder}: damaged or incomplete (it has no {', '.join(absent)}). Fetch it again.")
    for file in torch_files:
        try:
            check_torch_file(file)
        except DAMAGED as error:
            raise BadModelFile(
                f"checkpoint {file}: damaged or incomplete ({_first_line(error)}). Fetch it again, as .safetensors."
            ) from error
    return StableDiffusionXLPipeline if kind.startswith("StableDiffusionXL") else StableDiffusionPipeline


def _load_folder(folder: Path, dtype: torch.dtype) -> DiffusionPipeline:
    torch_files = _torch_files(folder)
    kind = _check_folder(folder, torch_files)
    try:
        pipeline = _quietly(
            kind.from_pretrained,
            folder,
            torch_dtype=dtype,
            local_files_only=True,
            use_safetensors=None if torch_files else True,
            variant=_variant(folder),
        )
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise BadModelFile(f"checkpoint {folder}: damaged or incomplete ({_first_line(error)}). Fetch it again.") from error
    _check_scheduler(folder, pipeline.scheduler)
    return pipeline


def _check_scheduler(path: Path, scheduler: Any) -> None:
    kind = type(scheduler).__name__
    if kind.startswith(("EDM", "FlowMatch")) or scheduler.config.get("prediction_type") not in PREDICTIONS:
        raise UnsupportedModel(
            f"checkpoint {path}: this only looks like SDXL: found {kind}, which predicts something else, expected noise or v "
            "prediction, as SDXL and SD1.5."
        )


def _torch_files(folder: Path) -> list[Path]:
    """All .bin files of a folder if a part has no .safetensors, as diffusers may then read any; else none."""
    files = sorted(folder.glob("*/*.bin"))
    return files if any(not any(file.parent.glob("*.safetensors")) for file in files) else []


def _variant(folder: Path) -> str | None:
    """The variant with which a folder was saved ("fp16"); None if its UNet's file has no variant in its name."""
    names = [path.name for ending in ("safetensors", "bin") for path in (folder / "unet").glob(f"{WEIGHTS}*.{ending}")]
    if not names or any(name.rpartition(".")[0] == WEIGHTS or name.startswith(f"{WEIGHTS}-0") for name in names):
        return None
    return min(names).split(".")[1].split("-")[0]


def _load_file(path: Path, dtype: torch.dtype, config: str | None) -> DiffusionPipeline:
    names, metadata = _names_and_metadata(path)
    kind = _check_names(path, names)
    scheduling = _scheduling(path, names, metadata)
    try:
        pipeline = _quietly(kind.from_single_file, str(path), torch_dtype=dtype, config=config)
    except OSError as error:
        raise DownloadError(
            f"checkpoint {path}: its tokenizers and configurations could not be had ({_first_line(error)}). Connect to the "
            "network once, or give --checkpoint-config the folder of any checkpoint of its kind in diffusers' layout."
        ) from error
    _check_scheduler(path, pipeline.scheduler)
    pipeline.register_modules(scheduler=pipeline.scheduler.from_config(pipeline.scheduler.config, **scheduling))
    return pipeline


def _names_and_metadata(path: Path) -> tuple[list[str], dict[str, str]]:
    if not path.is_file():
        raise MissingModelFile(
            f"checkpoint {path}: no such file or folder. Give a .safetensors file or a diffusers folder of SDXL or SD1.5."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys()), file.metadata() or {}
    except (SafetensorError, ValueError) as error:
        with path.open("rb") as start:
            if is_torch_file(start.read(2)):
                raise BadModelFile(
                    f"checkpoint {path}: a torch file (.ckpt, .bin), which may hold code that runs when it is opened; expected "
                    f"a .safetensors file. {CURE}"
                ) from error
        raise BadModelFile(
            f"checkpoint {path}: not a whole .safetensors file ({_first_line(error)}). Fetch it again."
        ) from error


def _check_names(path: Path, names: list[str]) -> type[DiffusionPipeline]:
    """Raise an error unless the names of the tensors are those of a whole checkpoint. returns: the pipeline's class."""

    def has(start: str) -> bool:
        return any(name.startswith(start) for name in names)

    if not (has(SDXL_TEXT_ENCODER) or has(TEXT_ENCODER)):
        raise UnsupportedModel(
            f"checkpoint {path}: this is no base checkpoint of SDXL or SD1.5 (it has neither {SDXL_TEXT_ENCODER}* nor "
            f"{TEXT_ENCODER}*: the refiner, or another kind of file)."
        )
    if not has(VAE):
        raise BadModelFile(f"checkpoint {path}: it has no VAE ({VAE}*); fetch the version of the checkpoint with its VAE.")
    if has(EDM):
        raise UnsupportedModel(f"checkpoint {path}: it is of the EDM kind (as Playground v2.5); expected SDXL or SD1.5.")
    return StableDiffusionXLPipeline if has(SDXL_TEXT_ENCODER) else StableDiffusionPipeline


def _scheduling(path: Path, names: list[str], metadata: dict[str, str]) -> dict[str, Any]:
    """The settings for diffusers' schedulers that follow from the file's tensors, metadata and configuration."""
    v = V_PREDICTION in names or metadata.get("modelspec.prediction_type") == "v" or _config_says_v(path.with_suffix(".yaml"))
    prediction = {"prediction_type": "v_prediction" if v else "epsilon", "rescale_betas_zero_snr": False}
    return {**prediction, **ZERO_TERMINAL_SNR} if ZERO_SNR in names else prediction


def _config_says_v(path: Path) -> bool:
    """Whether the .yaml file beside a checkpoint, which the WebUIs read too, names v-prediction in ldm's or sgm's words."""
    if not path.is_file():
        return False
    try:
        parameters = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        scaling = parameters.get("denoiser_config", {}).get("params", {}).get("scaling_config", {}).get("target", "")
        return parameters.get("parameterization") == "v" or str(scaling).endswith(".VScaling")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadModelFile(f"checkpoint {path}: not a checkpoint's configuration ({_first_line(error)}). Remove it.") from error


def _quietly(load: Any, *args: Any, **kwargs: Any) -> DiffusionPipeline:
    """Load a pipeline without diffusers' own deprecations, which a person cannot act on, and without SDXL's watermark and
    SD1.5's judge of pictures."""
    xl = load.__self__ is StableDiffusionXLPipeline
    without = {"add_watermarker": False} if xl else {"safety_checker": None, "requires_safety_checker": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        pipeline: DiffusionPipeline = load(*args, **without, **kwargs)
    return pipeline


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
