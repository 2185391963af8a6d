"""A client of a running WebUI's API, pictures that both sides know, and how pictures are compared."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL import Image

from tests.encoders.face.scenes import BLUE, GREEN, RED, squares

TIMEOUT = 300
"""Seconds for one request."""

ROUNDING = 0.05
"""Mean difference, of 255, that sums in another order leave after a few steps. InstantID's own is above EFFECT."""

EFFECT = 0.5
SIZE = 256
SECOND = "tiny-sdxl-b"
"""A further SDXL checkpoint of the WebUI, besides the one it starts with."""

OVERRIDDEN = {
    "batch_cond_uncond": True,
    "pad_cond_uncond": False,
    "s_min_uncond_all": False,
    "skip_early_cond": 0.0,
    "token_merging_ratio": 0.0,
    "token_merging_ratio_hr": 0.0,
}
"""The settings that tests override for one request, at their defaults."""

TINY = {"prompt": "a cat", "steps": 3, "width": SIZE, "height": SIZE, "seed": 1, "sampler_name": "Euler", "cfg_scale": 5.0}


def encoded(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 RGB or (H, W) → base64 of its PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def decoded(png: bytes) -> np.ndarray:
    """(H, W, 3) float in 0..255."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.float64)


PHOTO = encoded(squares(300, 200, [(90, 60, 70)], RED))
OTHER_PHOTO = encoded(squares(300, 300, [(60, 80, 150)], RED))
NO_FACE = encoded(squares(120, 100, []))
FACES = {"red": RED, "green": GREEN, "blue": BLUE}


def noise_picture(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) uint8: soft clouds, something for img2img to start from."""
    small = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for one level of 255."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference in 0..255."""
    assert a.shape == b.shape, f"pictures of {a.shape} and {b.shape}"
    return float(np.abs(a - b).mean())


@dataclass(frozen=True, kw_only=True)
class Answer:
    """status: HTTP's. files: the answer's PNG files. info: the answer's `info`. body: the whole answer."""

    status: int
    files: tuple[bytes, ...]
    info: dict[str, Any]
    body: dict[str, Any]

    @property
    def pictures(self) -> list[np.ndarray]:
        return [decoded(file) for file in self.files]

    @property
    def picture(self) -> np.ndarray:
        return decoded(self.files[0])

    @property
    def message(self) -> str:
        return str(self.body.get("detail") or self.body.get("errors") or self.body)


def basic(login: str) -> dict[str, str]:
    """The header of HTTP's basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}


def person(**values: Any) -> dict[str, Any]:
    return {"photos": [PHOTO], **values}


class WebUI:
    """url: of a WebUI on this machine. folder: in which it runs. login: "name:password" of its --api-auth, or nothing."""

    def __init__(self, url: str, folder: Path, login: str = "") -> None:
        if urlparse(url).hostname != "127.0.0.1":
            raise ValueError(f"INSTANTID_WEBUI_URL: found {url}; only a WebUI on 127.0.0.1 is tested.")
        self.url, self.folder = url.rstrip("/"), folder
        self.forge = (folder / "modules_forge").is_dir()
        self.login = login

    @property
    def has_page(self) -> bool:
        """Not so under --nowebui."""
        return self._answers("internal/ping")

    @property
    def has_controlnet(self) -> bool:
        return self._answers("controlnet/model_list")

    @property
    def has_small_model(self) -> bool:
        """Whether it was started on the small model."""
        return str(self.get("sdapi/v1/options")["sd_model_checkpoint"]).startswith("small-model")

    def _answers(self, path: str) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/{path}", timeout=TIMEOUT).close()
        except urllib.error.HTTPError:
            return False
        return True

    def get(self, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", headers=basic(self.login))
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of the answer, whatever the status."""
        status, content = self.send("POST", path, {} if body is None else body, self.login)
        text = content.decode()
        return status, json.loads(text) if text.startswith(("{", "[")) else {"detail": text}

    def send(self, method: str, path: str, body: Any, login: str) -> tuple[int, bytes]:
        """Status and content of the answer. body: sent as JSON, None for none."""
        content = None if body is None else json.dumps(body).encode()
        headers = {**basic(login), **({} if body is None else {"Content-Type": "application/json"})}
        request = urllib.request.Request(f"{self.url}/{path}", content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def settle(self) -> None:
        """Bring A1111 into a state that it comes back to.

        It puts an overridden setting back after the request only if that had been set before; and the first switch to
        another checkpoint and back changes its plain picture by one level of 255.
        """
        known = self.get("sdapi/v1/options")
        self.post("sdapi/v1/options", {k: v for k, v in OVERRIDDEN.items() if k in known})
        other = next(m["title"] for m in self.get("sdapi/v1/sd-models") if m["model_name"] == SECOND)
        for override in ({"sd_model_checkpoint": other}, {}):
            self.plain(override_settings=override, steps=1)

    def ask(self, task: str, request: dict[str, Any], scripts: dict[str, Any]) -> Answer:
        """task: txt2img or img2img. scripts: arguments of always-on scripts by title.

        Both WebUIs encode img2img's picture with noise from torch's own generator, in the state in which the generation
        before left it. Hence the same one is made before each.
        """
        if task == "img2img":
            self.post("sdapi/v1/txt2img", {**TINY, "steps": 1})
        alwayson = {title: {"args": args} for title, args in scripts.items()}
        body = {**TINY, **(FORGE_HIRES if self.forge and request.get("enable_hr") else {}), **request}
        status, answer = self.post(f"sdapi/v1/{task}", {**body, "alwayson_scripts": alwayson})
        files = tuple(base64.b64decode(image.split(",")[-1]) for image in answer.get("images") or ())
        info = json.loads(answer["info"]) if status == 200 else {}
        return Answer(status=status, files=files, info=info, body=answer)

    def plain(self, task: str = "txt2img", probe: dict[str, Any] | None = None, **request: Any) -> Answer:
        """A generation that does not mention InstantID."""
        return _made(self.ask(task, request, _with_probe({}, probe)))

    def attempt(self, settings: Any, task: str = "txt2img", probe: dict[str, Any] | None = None, **request: Any) -> Answer:
        """A generation with InstantID, whatever comes of it."""
        return self.ask(task, request, _with_probe({"InstantID": [settings]}, probe))

    def guided(
        self,
        settings: dict[str, Any] | None = None,
        task: str = "txt2img",
        probe: dict[str, Any] | None = None,
        **request: Any,
    ) -> Answer:
        """A generation with InstantID that succeeds; of one person, unless the settings name people."""
        return _made(self.attempt({"people": [person()], **(settings or {})}, task, probe, **request))

    def in_background(self, action: Callable[[], Answer]) -> tuple[threading.Thread, list[Answer]]:
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(action()))
        thread.start()
        return thread, answers

    def wait_for_step(self, step: int, seconds: float = 60) -> None:
        """Until a generation under way is at this step."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.get("sdapi/v1/progress?skip_current_image=true")["state"]
            if state["job_count"] > 0 and state["sampling_step"] >= step:
                return
            time.sleep(0.05)
        raise TimeoutError(f"no generation reached step {step} within {seconds} s")

    def press(self, elem_id: str) -> None:
        """What the page does when a button is pressed: everything that listens to it."""
        page = self.get("config")
        button = next(c["id"] for c in page["components"] if c["props"].get("elem_id") == elem_id)
        for number, dependency in enumerate(page["dependencies"]):
            if button in dependency["targets"] or [button, "click"] in dependency["targets"]:
                index = dependency.get("id", number)
                status, answer = self.post("run/predict", {"fn_index": index, "data": [], "session_hash": "live"})
                assert status == 200, answer

    def reload_page(self, mark: Path, seconds: float = 120) -> None:
        """Ask for a reload of the page and wait for its end, when the probe writes `mark`.

        No request is sent meanwhile: one that comes between gradio's start and the API's ends the WebUI.
        """
        self.post(f"instantid-probe/reload?mark={mark}")
        end = time.monotonic() + seconds
        while not mark.exists():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.url} did not come back within {seconds} s")
            time.sleep(0.2)
        time.sleep(0.5)


FORGE_HIRES = {"hr_additional_modules": ["Use same choices"], "hr_cfg": 5.0}
"""Without these, Forge's API fails at the second pass, or runs it at CFG 1."""


def _with_probe(scripts: dict[str, Any], probe: dict[str, Any] | None) -> dict[str, Any]:
    return scripts if probe is None else {**scripts, "InstantID probe": [probe]}


def _made(answer: Answer) -> Answer:
    assert answer.status == 200, f"HTTP {answer.status}: {answer.message}"
    return answer
