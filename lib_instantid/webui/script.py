"""The AlwaysOn script of both WebUIs, without the WebUI's base class: `scripts/instantid.py` puts the two together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import InstantIDError, SettingsError
from lib_instantid.guidance.settings import Settings
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.nets.identitynet import IdentityNet
from lib_instantid.units import LATENT_FACTOR
from lib_instantid.webui import candidates, infotext
from lib_instantid.webui.arguments import is_from_page, settings_of
from lib_instantid.webui.engine import Engine
from lib_instantid.webui.generation import Generation, InstantID, PerP
from lib_instantid.webui.plot import Plot
from lib_instantid.webui.words import in_page_words

NOTES = "InstantID notes"
"""Where the infotext, and so the API's answer, has them: the WebUIs show comments in the page alone."""


def note(p: Any, text: str) -> None:
    """Say something with the result, once: in the infotext in the API's words, in the page in the page's."""
    notes = p.extra_generation_params.get(NOTES, "")
    if text not in notes:
        p.extra_generation_params[NOTES] = f"{notes}; {text}" if notes else text
        p.comment(f"InstantID: {in_page_words(text)}")


class Extension:
    """What both tabs share: one host, one engine, and the generations under way."""

    def __init__(
        self,
        host: WebuiHost,
        engine: Engine,
        identities: Callable[[], Path],
        allowed: Callable[[], Sequence[Path]],
        maps_wanted: Callable[[], bool] = bool,
    ) -> None:
        self.host = host
        self.engine = engine
        self._identities = identities
        self._allowed = allowed
        self._maps_wanted = maps_wanted
        self._generations: PerP[Generation] = PerP()
        self._placed: IdentityNet | None = None
        self.plot = Plot()

    def settings(self, arguments: Sequence[Any]) -> Settings:
        """Those that the script's arguments say. Raises as `settings_of`."""
        return settings_of(arguments, self._allowed())

    def before_process(self, p: Any, arguments: Sequence[Any]) -> None:
        """A generation starts: read the settings, while it is still open how many pictures will be made."""
        self.end(p)
        self._begin(p, arguments)

    def process(self, p: Any, arguments: Sequence[Any]) -> None:
        """Its model is loaded: look at the photos, so that what is wrong is known before sampling."""
        self.stop()
        generation = self._generations.of(p) or self._begin(p, arguments)
        if generation.settings.enabled:
            generation.error = generation.error or self._failure(lambda: self._look(p, generation), generation)

    def before_sampling(self, p: Any, x: Any) -> None:
        """A pass starts. x: (B, C, h, w) latents. An error known by now, or met here, stops the generation in sampling."""
        self.stop()
        generation = self._generations.of(p)
        if generation is None:
            return
        size = x.shape[3] * LATENT_FACTOR, x.shape[2] * LATENT_FACTOR
        second_pass = bool(getattr(p, "is_hr_pass", False))
        error = generation.error or self._failure(lambda: self._attach(p, generation, size, second_pass), generation)
        if error is not None:
            self.host.refuse(error)

    def stop(self) -> None:
        """Sampling is over, or never came to its end: nothing stays attached."""
        self.host.detach()
        if self._placed is not None and self.engine.rests:
            self.host.rest(self._placed)
        self._placed = None

    def model_changed(self, generating: bool) -> None:
        """Another checkpoint, or another VAE, is loaded. generating: whether that was in the course of a generation, as for a
        refiner; otherwise nothing of ours is wanted any more."""
        if generating:
            self.host.model_changed()
        else:
            self.stop()

    def picture(self, p: Any, image: Any) -> None:
        """A picture is finished, and its infotext will be written next. image: a Pillow picture."""
        generation = self._generations.of(p)
        if generation is None or generation.likeness is None:
            return
        measured = generation.likeness

        def measure() -> None:
            measured.measure(image, (p.seeds[p.batch_index], p.subseeds[p.batch_index]), self.engine.analyser)

        failure = self._failure(measure, generation)
        if failure is not None:
            generation.likeness = None
            p.extra_generation_params.pop(candidates.KEY)
            note(p, f"The likeness cannot be measured. {failure}")

    def finish(self, p: Any, processed: Any) -> None:
        """All pictures of a generation are there. processed: the WebUI's result."""
        generation = self._generations.of(p)
        if generation is not None and generation.likeness is not None:
            self._order(p, processed, generation, generation.likeness)
        if generation is not None and self._maps_wanted():
            processed.images = [*processed.images, *generation.keypoint_maps()]
        self.end(p)

    def end(self, p: Any) -> None:
        """A generation is over, or never came to its end."""
        self.stop()
        generation = self._generations.end(p)
        if generation is not None and generation.candidates is not None:
            generation.candidates.take_back(p)
        if self.engine.release():
            self.host.free()

    def unload(self) -> None:
        """Let go of everything that is loaded. Not to be called during a generation."""
        self.stop()
        self.engine.forget()
        self.host.free()

    def _begin(self, p: Any, arguments: Sequence[Any]) -> Generation:
        generation = Generation(self._identities(), in_page_words if is_from_page(arguments) else str)
        generation.error = self._failure(lambda: self._read(p, generation, arguments), generation)
        if generation.matters:
            self._generations.begin(p, generation)
        return generation

    def _read(self, p: Any, generation: Generation, arguments: Sequence[Any]) -> None:
        settings = generation.settings = self.plot.applied(p, self.settings(arguments))
        if settings.enabled and settings.hires == "second pass" and not getattr(p, "enable_hr", False):
            raise SettingsError(
                'hires: "second pass", and this picture has one pass only; turn hires fix on, or choose "both".'
            )
        if not settings.enabled or settings.best_of == 1 or getattr(p, "firstpass_image", None) is not None:
            return  # the last: a picture that is there is enlarged
        if not isinstance(p.prompt, str):
            note(p, "best_of: another script gives each picture its own prompt, and so one candidate.")
            return
        generation.candidates = candidates.Candidates(p, settings)

    def _look(self, p: Any, generation: Generation) -> None:
        size, settings = (p.width, p.height), generation.settings
        people = generation.people(size, self.engine)
        for person in people:
            for advice in person.advice:
                note(p, advice)
        net = self.engine.identitynet_name(settings.identitynet_file) if settings.uses_identitynet else None
        p.extra_generation_params[infotext.KEY] = infotext.infotext_of(settings, people, size, net)
        if settings.report_similarity or generation.candidates is not None:
            generation.likeness = candidates.Likeness([person.identity.embedding for person in people])
            p.extra_generation_params[candidates.KEY] = generation.likeness.infotext

    def _order(self, p: Any, processed: Any, generation: Generation, likeness: candidates.Likeness) -> None:
        made = generation.candidates
        if made is not None:
            count = made.wanted if generation.settings.only_best else made.wanted * generation.settings.best_of
            if not likeness.order(processed, count):
                note(p, "best_of: another script has replaced the pictures, so they are not ordered by likeness.")
        p.extra_generation_params[candidates.KEY] = likeness.texts

    def _attach(self, p: Any, generation: Generation, size: tuple[int, int], second_pass: bool) -> None:
        if not generation.acts_in(second_pass):
            return
        guidance = generation.guidance(size, self.engine)
        if guidance.identitynet is not None:
            self._placed = guidance.identitynet
            self.host.place(guidance.identitynet)
        self.host.attach(guidance, lambda text: note(p, text))

    @staticmethod
    def _failure(action: Callable[[], None], generation: Generation) -> InstantID | None:
        """What went wrong, as the error that stops the generation. Whatever it is: the WebUI would swallow it here, and make
        the picture without the person."""
        try:
            action()
        except InstantIDError as error:
            return InstantID(generation.words(str(error)))
        except Exception as error:  # noqa: BLE001 - see above
            failure = InstantID(f"internal error, {type(error).__name__}: {error}. Please report it with the log.")
            failure.__cause__ = error
            return failure
        return None
