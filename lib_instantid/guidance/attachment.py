"""Attaches guidance to a UNet by torch hooks, and takes it off again without a trace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from lib_instantid.errors import UnsupportedModel
from lib_instantid.guidance.compiled import run_uncompiled
from lib_instantid.guidance.guidance import Guidance
from lib_instantid.guidance.sampling import RowsOf, SamplingPass
from lib_instantid.guidance.schedule import Step
from lib_instantid.guidance.tiles import TiledPass
from lib_instantid.guidance.unets import UNetFamily, family_of
from lib_instantid.nets.identitynet import IdentityNet
from lib_instantid.nets.sites import Site, cross_attention_sites
from lib_instantid.units import LATENT_CHANNELS


class Attachment:
    """What was attached. `detach` removes every hook; twice is once. Also a context manager."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def detach(self) -> None:
        self._undo.close()

    def __enter__(self) -> Attachment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()


def attach(unet: nn.Module, guidance: Guidance, *, rows_of: RowsOf, step: Callable[[], Step]) -> Attachment:
    """Attach guidance to a diffusers or ldm UNet until `detach`.

    rows_of: which rows of a UNet call are conditional. step: the position in the sampling pass, asked at each call.
    An error on the way undoes what was attached. Raises UnsupportedModel where the weights do not fit the UNet.
    """
    family, sites = family_of(unet), fitting_sites(unet, guidance)
    sampling = SamplingPass(guidance, sites, rows_of, step)
    with ExitStack() as undo:
        undo.callback(sampling.end)
        run_uncompiled(unet, undo)
        undo.callback(
            unet.register_forward_pre_hook(_before_call(sampling, family, family.vector_size(unet)), with_kwargs=True).remove
        )
        undo.callback(unet.register_forward_hook(_after_call(sampling)).remove)
        family.hook_residuals(unet, lambda: sampling.residuals, undo)
        hook_attention(sites, sampling, undo)
        return Attachment(undo.pop_all())


def hook_attention(sites: tuple[Site, ...], sampling: SamplingPass | TiledPass, undo: ExitStack) -> None:
    """Add the faces' attention to the text's at every site, until `undo` is closed."""
    for index, site in enumerate(sites):
        _hook_site(site.module, index, sampling, undo)


def fitting_sites(unet: nn.Module, guidance: Guidance) -> tuple[Site, ...]:
    """The UNet's sites. Raises UnsupportedModel unless it is a UNet, and the faces' tokens and IdentityNet fit it."""
    family, sites = family_of(unet), cross_attention_sites(unet)
    for person in guidance.people:
        person.face.check_fit(sites, unet)
    _check_latents(unet, family)
    if guidance.identitynet is not None:
        _check_identitynet(guidance.identitynet, unet, family)
    return sites


def _check_latents(unet: nn.Module, family: type[UNetFamily]) -> None:
    inward, outward = family.latent_channels(unet)
    inpainting = 2 * LATENT_CHANNELS + 1  # the latents, a mask, and the picture's latents
    if inward not in (LATENT_CHANNELS, inpainting) or outward != LATENT_CHANNELS:
        raise UnsupportedModel(
            f"This checkpoint's UNet only looks like SDXL's: it takes {inward} latent channels and gives {outward}, where SDXL "
            f"takes {LATENT_CHANNELS} ({inpainting} for inpainting) and gives {LATENT_CHANNELS}. Choose an SDXL checkpoint."
        )


def _check_identitynet(net: IdentityNet, unet: nn.Module, family: type[UNetFamily]) -> None:
    """Raise UnsupportedModel unless IdentityNet can read this UNet's vector, and its residuals fit the skip connections."""
    shape = net.shape
    width, vector = family.stem_width(unet), family.vector_size(unet)
    if shape.channels[0] != width:
        raise UnsupportedModel(
            f"This checkpoint's UNet starts with {width} channels, IdentityNet with {shape.channels[0]}; they must be equal. "
            "Choose an SDXL checkpoint."
        )
    if shape.vector_size != vector:
        raise UnsupportedModel(
            f"This checkpoint's UNet takes a vector of {vector} numbers besides the text, IdentityNet one of "
            f"{shape.vector_size}; they must be equal. Choose an SDXL checkpoint."
        )


def check_sdxl(unet: nn.Module) -> None:
    """Raise UnsupportedModel for a UNet that takes no vector besides the text, as SD1.5's and SD2's do not. Says nothing of
    whether particular networks fit."""
    if not family_of(unet).vector_size(unet):
        raise UnsupportedModel(
            "The loaded checkpoint is not SDXL: its UNet takes no vector besides the text. Choose an SDXL one."
        )


def _before_call(sampling: SamplingPass, family: type[UNetFamily], vector_size: int) -> Callable[..., Any]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        sampling.begin(family.read_call(args, kwargs, vector_size))
        if sampling.residuals is None:
            return None
        return args, family.with_residuals(kwargs, sampling.residuals)

    return hook


def _after_call(sampling: SamplingPass) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        sampling.end()

    return hook


def _hook_site(attention: nn.Module, index: int, sampling: SamplingPass | TiledPass, undo: ExitStack) -> None:
    """Add the face's attention to the text's: same query, before the output projection.

    Every attention implementation of the hosts calls `to_q` and passes through `to_out[0]`.
    """
    queries: list[Tensor] = []

    def remember_query(_: nn.Module, __: Any, query: Tensor) -> None:
        queries[:] = [query]

    def add_face(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        face = sampling.face_attention(index, queries.pop())
        return None if face is None else (args[0] + face.to(args[0]), *args[1:])

    undo.callback(attention.to_q.register_forward_hook(remember_query).remove)  # type: ignore
    undo.callback(attention.to_out[0].register_forward_pre_hook(add_face).remove)  # type: ignore
    undo.callback(queries.clear)
