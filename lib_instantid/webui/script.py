"""The AlwaysOn script of both WebUIs, without the WebUI's base class: `scripts/instantid.py` puts the two together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib_instantid.errors import InstantIDError
from lib_instantid.hosts.webui_host import WebuiHost
from lib_instantid.units import LATENT_FACTOR
from lib_instantid.webui.arguments import settings_of
from lib_instantid.webui.engine import Engine
from lib_instantid.webui.generation import Generation, Generations, InstantID

NOTES = "InstantID notes"
"""Where the infotext, and so the API's answer, has them: the WebUIs show comments in the page alone."""


def note(p: Any, text: str) -> None:
    """Say something with the result, once."""
    notes = p.extra_generation_params.get(NOTES, "")
    if text not in notes:
        p.extra_generation_params[NOTES] = f"{notes}; {text}" if notes else text
        p.comment(f"InstantID: {text}")


class Extension:
    """What both tabs share: one host, one engine, and the generations under way."""

    def __init__(
        self, host: WebuiHost, engine: Engine, identities: Callable[[], Path], allowed: Callable[[], Sequence[Path]]
    ) -> None:
        self.host = host
        self.engine = engine
        self._identities = identities
        self._allowed = allowed
        self._generations = Generations()

    def process(self, p: Any, arguments: Sequence[Any]) -> None:
        """A generation starts: read the settings and look at the photos, so that what is wrong is known before sampling."""
        self.end(p)
        generation = Generation(self._identities())
        generation.error = self._failure(lambda: self._look(p, generation, arguments))
        if generation.matters:
            self._generations.begin(p, generation)

    def before_sampling(self, p: Any, x: Any) -> None:
        """A pass starts. x: (B, C, h, w) latents. An error known by now, or met here, stops the generation in sampling."""
        self.stop()
        generation = self._generations.of(p)
        if generation is None:
            return
        size = x.shape[3] * LATENT_FACTOR, x.shape[2] * LATENT_FACTOR
        second_pass = bool(getattr(p, "is_hr_pass", False))
        error = generation.error or self._failure(lambda: self._attach(p, generation, size, second_pass))
        if error is not None:
            self.host.refuse(error)

    def stop(self) -> None:
        """Sampling is over, or never came to its end: nothing stays attached."""
        self.host.detach()
        self.engine.rest()

    def end(self, p: Any) -> None:
        self.stop()
        self._generations.end(p)
        if self.engine.release():
            self.host.free()

    def unload(self) -> None:
        """Let go of everything that is loaded. Not to be called during a generation."""
        self.stop()
        self.engine.forget()
        self.host.free()

    def _look(self, p: Any, generation: Generation, arguments: Sequence[Any]) -> None:
        generation.settings = settings_of(arguments, self._allowed())
        if not generation.settings.enabled:
            return
        for person in generation.people((p.width, p.height), self.engine):
            for advice in person.advice:
                note(p, advice)

    def _attach(self, p: Any, generation: Generation, size: tuple[int, int], second_pass: bool) -> None:
        if not generation.acts_in(second_pass):
            return
        guidance = generation.guidance(size, self.engine)
        self.engine.place(guidance, *self.host.device_and_dtype())
        self.host.attach(guidance, lambda text: note(p, text))

    @staticmethod
    def _failure(action: Callable[[], None]) -> InstantID | None:
        """What went wrong, as the error that stops the generation. Whatever it is: the WebUI would swallow it here, and make
        the picture without the person."""
        try:
            action()
        except InstantIDError as error:
            return InstantID(str(error))
        except Exception as error:  # noqa: BLE001 - see above
            failure = InstantID(f"internal error, {type(error).__name__}: {error}. Please report it with the log.")
            failure.__cause__ = error
            return failure
        return None
