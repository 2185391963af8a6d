"""The routes of the API in a running WebUI: what they do, who may, and the clients that people use."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webuiapi
from PIL import Image

from lib_instantid import __version__
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.webui.documentation import ROUTES
from lib_instantid.webui.schema import settings_schema
from tests.live.webui import NO_FACE, OTHER_PHOTO, PHOTO, ROUNDING, SIZE, TINY, Answer, WebUI, basic, difference, person

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
POINTS = [[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]]
NAME = "live test"


@pytest.fixture
def identity(webui: WebUI) -> Iterator[str]:
    status, answer = webui.post("instantid/identities", {"name": NAME, "photos": [PHOTO]})
    assert status == 200, answer
    yield NAME
    webui.send("DELETE", "instantid/identities/live%20test", None, webui.login)


def test_version_models_and_schema(webui: WebUI) -> None:
    assert webui.get("instantid/version") == {"version": __version__}
    assert {"adapter", "IdentityNet"} <= {model["role"] for model in webui.get("instantid/models")["found"]}
    assert webui.get("instantid/schema") == settings_schema()


def test_faces_and_their_likeness(webui: WebUI) -> None:
    status, found = webui.post("instantid/faces", {"photo": PHOTO, "embeddings": True})
    assert status == 200
    assert len(found["faces"]) == 1
    assert len(found["faces"][0]["embedding"]) == 512
    _, compared = webui.post("instantid/similarity", {"photos": [PHOTO], "pictures": [PHOTO, OTHER_PHOTO, NO_FACE]})
    assert compared["similarity"][0] == 1
    assert compared["similarity"][2] == "no face"


def test_an_identity_makes_the_picture_of_its_photo(webui: WebUI, identity: str) -> None:
    assert identity in [one["name"] for one in webui.get("instantid/identities")]
    placed = {"pose": "keypoints", "keypoints": POINTS}
    by_name = webui.guided({"people": [{"identity": identity, **placed}]})
    by_photo = webui.guided({"people": [person(**placed)]})  # its infotext is another one
    assert np.array_equal(by_name.picture, by_photo.picture)
    assert webui.send("DELETE", "instantid/identities/live%20test", None, webui.login)[0] == 200
    assert webui.send("DELETE", "instantid/identities/live%20test", None, webui.login)[0] == 404


def test_the_keypoint_map_is_the_one_of_the_generation(webui: WebUI) -> None:
    body = {"keypoints": POINTS, "width": SIZE, "height": SIZE}
    status, png = webui.send("POST", "instantid/keypoint-map", body, webui.login)
    assert status == 200
    found = np.asarray(Image.open(io.BytesIO(png)))
    assert np.array_equal(found, draw_keypoints((np.array(POINTS) * SIZE).astype(np.float32), SIZE, SIZE))
    placed = {"people": [person(pose="keypoints", keypoints=POINTS)]}
    shown = webui.guided(placed, override_settings={"instantid_show_maps": True}).pictures[-1]
    assert np.array_equal(shown, found)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "CON", ""])
def test_a_name_cannot_leave_the_folder(webui: WebUI, name: str) -> None:
    status, answer = webui.post("instantid/identities", {"name": name, "photos": [PHOTO]})
    assert status == 422
    assert "identity" in answer["detail"]


def test_what_a_foreign_page_could_send_is_refused(webui: WebUI) -> None:
    headers = {**basic(webui.login), "Content-Type": "text/plain"}
    request = urllib.request.Request(f"{webui.url}/instantid/faces", b"{}", headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 415


def test_a_request_over_the_limit_is_refused_and_the_next_one_works(webui: WebUI) -> None:
    status, _ = webui.post("instantid/faces", {"photo": "A" * (65 * 1024 * 1024)})
    assert status == 413
    assert webui.post("instantid/faces", {"photo": PHOTO})[0] == 200


def test_the_documentation_has_the_routes_with_examples(webui: WebUI) -> None:
    paths = webui.get("openapi.json")["paths"]
    for route in ROUTES:
        described = paths["/instantid" + route.path][route.method.lower()]
        if route.takes is not None:
            assert described["requestBody"]["content"]["application/json"]["example"] == route.example


def test_faces_are_asked_for_while_a_picture_is_made(webui: WebUI, guided: Answer) -> None:
    thread, answers = webui.in_background(lambda: webui.guided(steps=40))
    webui.wait_for_step(5)
    assert webui.post("instantid/faces", {"photo": PHOTO})[0] == 200
    thread.join()
    assert answers[0].files == webui.guided(steps=40).files
    assert webui.guided().files == guided.files


@pytest.mark.auth
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_routes_are_guarded_as_the_webuis_own(webui: WebUI, route: Any) -> None:
    path = "instantid" + route.path.replace("{name}", "nobody")
    own = webui.send("POST", "sdapi/v1/txt2img", {}, "me:wrong password")
    assert own[0] == 401
    for login in ("", "me:wrong password", "nobody:x"):
        assert webui.send(route.method, path, route.example, login)[0] == 401
    assert webui.send(route.method, path, route.example, webui.login)[0] in (200, 404, 422)


def block(language: str) -> str:
    """The README's first example in a language, small enough for these tests."""
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found.group(1).replace("1016", str(SIZE)).replace('"steps": 25', '"steps": 3')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ada.jpg").write_bytes(base64.b64decode(PHOTO))
    return tmp_path


def with_login(webui: WebUI, text: str) -> str:
    """Where the WebUI runs, and its password in the address where it has one."""
    address = webui.url.replace("http://", f"http://{webui.login}@") if webui.login else webui.url
    return text.replace("http://127.0.0.1:7860", address)


def test_the_readmes_python_client_works(webui: WebUI, folder: Path) -> None:
    code = with_login(webui, block("python"))
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert Image.open(folder / "ada-in-space.png").size == (SIZE, SIZE)
    assert "[" in run.stdout


def test_the_readmes_curl_works(webui: WebUI, folder: Path) -> None:
    run = subprocess.run(["bash", "-c", with_login(webui, block("sh"))], cwd=folder, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert '"images"' in (folder / "answer.json").read_text()


def test_the_package_webuiapi_works(webui: WebUI, guided: Answer) -> None:
    name, _, password = webui.login.partition(":")
    address = {"baseurl": f"{webui.url}/sdapi/v1"}
    api = webuiapi.WebUIApi(**address, **({"username": name, "password": password} if name else {}))
    scripts = {"InstantID": {"args": [{"people": [person()]}]}}
    made = api.txt2img(**TINY, scheduler="automatic", alwayson_scripts=scripts)
    assert difference(np.asarray(made.image.convert("RGB")).astype(float), guided.picture) < ROUNDING


def distributed_request(webui: WebUI, settings: dict[str, Any], **job: Any) -> dict[str, Any]:
    """What stable-diffusion-webui-distributed (8fd65eb, scripts/distributed.py, `before_process`) sends to a worker: every
    always-on script with every value of its arguments, by position, as the master has them."""
    scripts: dict[str, Any] = {}
    for script in webui.get("sdapi/v1/script-info"):
        if script["is_alwayson"] and not script["is_img2img"]:
            scripts[script["name"]] = {"args": [argument.get("value") for argument in script["args"]]}
    scripts = {name: values for name, values in scripts.items() if name in ("instantid", "seed", "sampler", "refiner")}
    scripts["InstantID"] = {"args": [settings, *scripts.pop("instantid")["args"][1:]]}
    more = {"n_iter": 1, "subseed": 7, "subseed_strength": 0.0, "sampler_index": TINY["sampler_name"], "s_tmax": 1e308}
    return {**TINY, **more, "alwayson_scripts": scripts, **job}


def test_a_batch_spread_over_two_workers_is_the_batch_of_one(webui: WebUI) -> None:
    """The master's request, one picture to each worker, the second with its seed moved on."""
    second = WebUI(os.environ.get("INSTANTID_WORKER_URL", webui.url), webui.folder, webui.login)
    settings = {"people": [person(adapter_strength=0.6)], "control_mode": "prompt"}
    whole = webui.guided(settings, batch_size=2).pictures[-2:]
    for i, worker in enumerate((webui, second)):
        request = distributed_request(worker, settings, batch_size=1, seed=TINY["seed"] + i)
        status, answer = worker.post("sdapi/v1/txt2img", request)
        assert status == 200, answer
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB")).astype(float)
        assert difference(picture, whole[i]) < ROUNDING
        assert "InstantID: " in answer["info"]


def test_a_photo_by_path_from_another_machine_is_refused_by_a_worker(webui: WebUI) -> None:
    """As the page's uploads are, when they are spread."""
    request = distributed_request(webui, {"people": [person(photos=["/tmp/gradio/upload.png"])]}, batch_size=1)
    status, answer = webui.post("sdapi/v1/txt2img", request)
    assert status in (422, 500)
    assert "/tmp/gradio/upload.png" in str(answer)
