"""The AlwaysOn script of both WebUIs, without the WebUI's base class, which `scripts/instantid.py` adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from lib_instantid.adapters.common import Common
from lib_instantid.constants import LATENT_FACTOR
from lib_instantid.errors import SettingsError
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.networks.controlnet import ControlNet
from lib_instantid.webui import best_of, infotext
from lib_instantid.webui.arguments import is_from_page, settings_of
from lib_instantid.webui.model_store import ModelStore
from lib_instantid.webui.processing import Processed, Processing
from lib_instantid.webui.run_state import PerProcessing, RunState, caught
from lib_instantid.webui.words import in_page_words
from lib_instantid.webui.xyz import Plot

NOTES = "InstantID notes"
"""Key of InstantID's notes in the infotext, and so in the API's answer. The WebUIs show comments only in the page."""


def note(p: Processing, text: str) -> None:
    """Show a text with the result, once: in the infotext in the API's words, in the page in the page's words."""
    notes = p.extra_generation_params.get(NOTES, "")
    if text not in notes:
        p.extra_generation_params[NOTES] = f"{notes}; {text}" if notes else text
        p.comment(f"InstantID: {in_page_words(text)}")


class Extension:
    """The script of both tabs: one host, one store, and the running generations."""

    def __init__(
        self,
        host: WebuiHost,
        store: ModelStore,
        allowed: Callable[[], Sequence[Path]],
        maps_wanted: Callable[[], bool] = bool,
    ) -> None:
        self.host = host
        self.store = store
        self._allowed = allowed
        self._maps_wanted = maps_wanted
        self._generations: PerProcessing[RunState] = PerProcessing()
        self._placed: tuple[ControlNet, ...] = ()
        self.plot = Plot()

    def settings(self, arguments: Sequence[object]) -> Common:
        """The settings of the script's arguments. Errors: see `settings_of`."""
        return settings_of(arguments, self._allowed())

    def before_process(self, p: Processing, arguments: Sequence[object]) -> None:
        """Called when a generation starts. Reads the settings while the number of pictures can still be changed."""
        self.end(p)
        self._begin(p, arguments)

    def process(self, p: Processing, arguments: Sequence[object]) -> None:
        """Called when the model is loaded. Analyses the photos, so that errors are known before sampling."""
        self.stop()
        generation = self._generations.of(p) or self._begin(p, arguments)
        if generation.settings.enabled and generation.error is None:
            with caught(generation.words) as failure:
                self._look(p, generation)
            generation.error = failure.error

    def before_sampling(self, p: Processing, x: Tensor) -> None:
        """Called when a pass starts. x: (B, C, h, w) latents. If there is an error, sampling raises it."""
        self.stop()
        generation = self._generations.of(p)
        if generation is None:
            return
        size = x.shape[3] * LATENT_FACTOR, x.shape[2] * LATENT_FACTOR
        second_pass = bool(getattr(p, "is_hr_pass", False))
        error = generation.error
        if error is None:
            with caught(generation.words) as failure:
                self._attach(p, generation, size, second_pass)
            error = failure.error
        if error is not None:
            self.host.refuse(error)

    def stop(self) -> None:
        """Detach everything, after sampling has ended or failed."""
        self.host.detach()
        for net in self._placed if self.store.rests else ():
            self.host.rest(net)
        self._placed = ()

    def model_changed(self, generating: bool) -> None:
        """Called when another checkpoint or VAE is loaded. generating: whether during a generation, as for a refiner; if not,
        everything is detached."""
        if generating:
            self.host.model_changed()
        else:
            self.stop()

    def picture(self, p: Processing, image: Image.Image) -> None:
        """Called when a picture is finished, before its infotext is written. Measures its similarity."""
        generation = self._generations.of(p)
        if generation is None or generation.likeness is None:
            return
        with caught(generation.words) as failure:
            seeds = p.seeds[p.batch_index], p.subseeds[p.batch_index]
            generation.likeness.measure(image, seeds, self.store.analyser)
        if failure.error is not None:
            generation.likeness = None
            p.extra_generation_params.pop(best_of.KEY)
            note(p, f"The likeness cannot be measured. {failure.error}")

    def finish(self, p: Processing, processed: Processed) -> None:
        """Called when all pictures are finished. Orders them and adds keypoint maps. processed: the WebUI's result."""
        generation = self._generations.of(p)
        if generation is not None and generation.likeness is not None:
            self._order(p, processed, generation, generation.likeness)
        if generation is not None and self._maps_wanted():
            processed.images = [*processed.images, *generation.control_maps()]
        self.end(p)

    def end(self, p: Processing) -> None:
        """End a generation that is finished or has failed."""
        self.stop()
        generation = self._generations.end(p)
        if generation is not None and generation.candidates is not None:
            generation.candidates.take_back(p)
        if self.store.release():
            self.host.free()

    def unload(self) -> None:
        """Drop everything that is loaded. Do not call this during a generation."""
        self.stop()
        self.store.forget()
        self.host.free()

    def _begin(self, p: Processing, arguments: Sequence[object]) -> RunState:
        generation = RunState(self.store, in_page_words if is_from_page(arguments) else str)
        with caught(generation.words) as failure:
            self._read(p, generation, arguments)
        generation.error = failure.error
        if generation.matters:
            self._generations.begin(p, generation)
        return generation

    def _read(self, p: Processing, generation: RunState, arguments: Sequence[object]) -> None:
        settings = generation.settings = self.plot.applied(p, self.settings(arguments))
        if settings.enabled and settings.hires == "second pass" and not getattr(p, "enable_hr", False):
            raise SettingsError(
                'hires: "second pass", and this picture has one pass only; turn hires fix on, or choose "both".'
            )
        if not settings.enabled or settings.best_of == 1 or getattr(p, "firstpass_image", None) is not None:
            return  # with firstpass_image, an existing picture is only enlarged
        if not isinstance(p.prompt, str):
            note(p, "best_of: another script gives each picture its own prompt, and so one candidate.")
            return
        generation.candidates = best_of.BestOf(p, settings)

    def _look(self, p: Processing, generation: RunState) -> None:
        size, settings = (p.width, p.height), generation.settings
        for run in generation.runs:
            for advice in run.advice(size):
                note(p, advice)
        recorded = [run.recorded(size) for run in generation.runs]
        p.extra_generation_params[infotext.KEY] = infotext.infotext_of(settings, recorded)
        if settings.report_similarity or generation.candidates is not None:
            generation.likeness = best_of.Likeness([embedding for run in generation.runs for embedding in run.embeddings])
            p.extra_generation_params[best_of.KEY] = generation.likeness.infotext

    def _order(self, p: Processing, processed: Processed, generation: RunState, likeness: best_of.Likeness) -> None:
        made = generation.candidates
        if made is not None:
            count = made.wanted if generation.settings.only_best else made.wanted * generation.settings.best_of
            if not likeness.order(processed, count):
                note(p, "best_of: another script has replaced the pictures, so they are not ordered by likeness.")
        p.extra_generation_params[best_of.KEY] = likeness.texts

    def _attach(self, p: Processing, generation: RunState, size: tuple[int, int], second_pass: bool) -> None:
        if not generation.acts_in(second_pass):
            return
        conditioning = generation.conditioning(size)
        for net in conditioning.networks:
            self._placed = (*self._placed, net)
            self.host.place(net)
        self.host.attach(conditioning, lambda text: note(p, text))
