"""The API's routes as a client sees them, beside a stand-in of the WebUI's own guarded route."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import json
import struct
import zlib
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lib_instantid import __version__
from lib_instantid.encoders.face.analyser import Analyser, open_analyser
from lib_instantid.encoders.face.identity import cosine
from lib_instantid.encoders.face.identity_files import load_identity
from lib_instantid.encoders.face.keypoints import draw_keypoints
from lib_instantid.encoders.face.photos import Photos
from lib_instantid.webui.api import DRAINED, MAX_BODY, add_routes
from lib_instantid.webui.documentation import POINTS, ROUTES, Route
from lib_instantid.webui.routes import Services
from tests.encoders.face.scenes import GREEN, as_png, squares


def encoded(picture: np.ndarray) -> str:
    return base64.b64encode(as_png(picture)).decode()


ONE = squares(300, 200, [(90, 60, 70)])
THREE = squares(600, 300, [(30, 40, 70), (250, 60, 110), (480, 100, 80)])
OTHER = squares(300, 300, [(60, 80, 150)], GREEN)
NOBODY = squares(120, 100, [])
MEGABYTES_16 = 16 * 1024**2
BASIC = Depends(HTTPBasic())


def guard(credentials: HTTPBasicCredentials = BASIC) -> bool:
    """As the WebUIs' `Api.auth`."""
    if (credentials.username, credentials.password) != ("me", "secret"):
        raise HTTPException(status_code=401, detail="Incorrect username or password")
    return True


def application(services: Services, dependencies: list[Any] | None) -> FastAPI:
    """A WebUI's application: with `--api-auth` where there are dependencies, without `--api` where they are None."""
    app = FastAPI()
    if dependencies is not None:
        app.add_api_route("/sdapi/v1/txt2img", lambda: None, methods=["POST"], dependencies=dependencies)
    add_routes(app, services)
    return app


@pytest.fixture(scope="module")
def analyser(weights_folder: Path) -> Analyser:
    return Photos(open_analyser("builtin", weights_folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "identities"


@pytest.fixture
def services(analyser: Analyser, weights_folder: Path, folder: Path, tmp_path: Path) -> Services:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    return Services(
        analyser=lambda: analyser, folders=lambda: [weights_folder], identities=lambda: folder, allowed=lambda: [allowed]
    )


@pytest.fixture
def client(services: Services) -> TestClient:
    return TestClient(application(services, []))


def test_version_and_models(client: TestClient) -> None:
    assert client.get("/instantid/version").json() == {"version": __version__}
    found = client.get("/instantid/models").json()
    assert {"adapter", "IdentityNet"} <= {model["role"] for model in found["found"]}


def test_faces_are_described_from_the_left(client: TestClient, analyser: Analyser) -> None:
    answer = client.post("/instantid/faces", json={"photo": encoded(THREE)}).json()
    assert (answer["width"], answer["height"]) == (600, 300)
    expected = sorted(analyser.faces(THREE), key=lambda face: face.centre[0])
    assert len(expected) == 3
    for number, (found, face) in enumerate(zip(answer["faces"], expected, strict=True), 1):
        assert found["number"] == number
        assert np.allclose(found["box"], face.box, atol=0.01)
        assert np.allclose(found["keypoints"], face.keypoints, atol=0.01)
        assert "embedding" not in found
    with_embeddings = client.post("/instantid/faces", json={"photo": encoded(THREE), "embeddings": True}).json()
    assert np.allclose([face["embedding"] for face in with_embeddings["faces"]], [face.embedding for face in expected])


def test_a_photo_on_its_side_is_turned_as_a_generation_turns_it(
    client: TestClient, services: Services, analyser: Analyser
) -> None:
    upright = squares(300, 200, [(90, 60, 70)])
    lying = np.ascontiguousarray(np.rot90(upright))

    class Upright:
        """Sees faces in wide pictures alone: the small detector knows no up and down."""

        provider = "cpu"

        def faces(self, picture: Any) -> Any:
            return analyser.faces(picture) if picture.shape[1] > picture.shape[0] else ()

    own = TestClient(application(dataclasses.replace(services, analyser=lambda: Photos(Upright())), []))  # type: ignore[arg-type]
    answer = own.post("/instantid/faces", json={"photo": encoded(lying)}).json()
    assert (answer["turned"], answer["width"], answer["height"]) == (90, 300, 200)
    assert (
        answer["faces"][0]["box"] == client.post("/instantid/faces", json={"photo": encoded(upright)}).json()["faces"][0]["box"]
    )


def test_a_photo_without_a_face_has_none(client: TestClient) -> None:
    assert client.post("/instantid/faces", json={"photo": encoded(NOBODY)}).json()["faces"] == []


def test_an_identity_is_saved_listed_and_deleted(client: TestClient, folder: Path, analyser: Analyser) -> None:
    body = {"name": "Ada Ü", "photos": [encoded(THREE), encoded(ONE)], "face": "left"}
    made = client.post("/instantid/identities", json=body).json()
    (listed,) = client.get("/instantid/identities").json()
    assert {**listed, "advice": made["advice"]} == made
    assert (listed["name"], listed["photos"]) == ("Ada Ü", 2)
    left = min(analyser.faces(THREE), key=lambda face: face.centre[0]).embedding
    (only,) = analyser.faces(ONE)
    assert np.allclose(load_identity("Ada Ü", folder).embedding, (left + only.embedding) / 2, atol=1e-5)
    assert client.delete("/instantid/identities/Ada Ü").json() == {"deleted": "Ada Ü"}
    assert client.get("/instantid/identities").json() == []
    assert client.delete("/instantid/identities/Ada Ü").status_code == 404


def test_a_damaged_identity_is_listed_with_its_problem(client: TestClient, folder: Path) -> None:
    folder.mkdir()
    (folder / "Ada.safetensors").write_bytes(b"nonsense")
    (listed,) = client.get("/instantid/identities").json()
    assert listed["name"] == "Ada"
    assert "damaged" in listed["problem"]


@pytest.mark.parametrize("name", ["../Ada", "..", "a/b", "a\\b", ".Ada", "/etc/Ada", "CON", "", "x" * 65, "Ada\n", 5, None])
def test_a_name_cannot_leave_the_folder(client: TestClient, tmp_path: Path, name: Any) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = client.post("/instantid/identities", json={"name": name, "photos": [encoded(ONE)]})
    assert answer.status_code == 422
    assert "identity" in answer.json()["detail"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["..%2Fkeep", "%2e%2e%2fkeep", "..%5Ckeep", "keep.safetensors%2F..%2F..%2Fkeep", ".keep"])
def test_deleting_cannot_leave_the_folder(client: TestClient, folder: Path, name: str) -> None:
    folder.mkdir()
    outside = folder.parent / "keep.safetensors"
    outside.write_bytes(b"x")
    assert client.delete(f"/instantid/identities/{name}").status_code in (404, 405, 422)
    assert outside.exists()


def test_the_keypoint_map_is_the_one_that_is_drawn(client: TestClient) -> None:
    answer = client.post("/instantid/keypoint-map", json={"keypoints": POINTS, "width": 320, "height": 200})
    assert answer.headers["content-type"] == "image/png"
    assert (np.array(POINTS) < 1).all()
    found = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert np.array_equal(found, draw_keypoints((np.array(POINTS) * (320, 200)).astype(np.float32), 320, 200))


def test_pictures_are_compared_with_photos_or_an_identity(client: TestClient, analyser: Analyser) -> None:
    client.post("/instantid/identities", json={"name": "Ada", "photos": [encoded(ONE)]})
    pictures = [encoded(ONE), encoded(OTHER), encoded(NOBODY)]
    (own,), (other,) = analyser.faces(ONE), analyser.faces(OTHER)
    expected = [1.0, pytest.approx(cosine(own.embedding, other.embedding), abs=1e-4), "no face"]
    for person in ({"photos": [encoded(ONE)]}, {"identity": "Ada"}):
        assert client.post("/instantid/similarity", json={**person, "pictures": pictures}).json() == {"similarity": expected}


def bomb(width: int, height: int) -> str:
    """A PNG of a few hundred bytes, whose header announces this size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 100))]
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


PHOTO = {"photos": [encoded(ONE)]}
WRONG: dict[str, tuple[str, Any, str]] = {
    "no photo": ("faces", {}, "photo: missing"),
    "unknown field": ("faces", {"photo": encoded(ONE), "phoot": 1}, "phoot"),
    "photo a number": ("faces", {"photo": 5}, "photo: found int"),
    "photo null": ("faces", {"photo": None}, "photo"),
    "not base64": ("faces", {"photo": "%%%"}, "photo"),
    "no picture": ("faces", {"photo": base64.b64encode(b"hello").decode()}, "photo"),
    "empty": ("faces", {"photo": ""}, "photo"),
    "a path": ("faces", {"photo": "/etc/hostname.png"}, "not below an allowed folder"),
    "65 megapixels": ("faces", {"photo": bomb(8100, 8100)}, "64 megapixels"),
    "a bomb": ("faces", {"photo": bomb(60000, 60000)}, "photo"),
    "a bomb in a list": ("similarity", {**PHOTO, "pictures": [encoded(ONE), bomb(8100, 8100)]}, r"pictures[2]"),
    "embeddings a text": ("faces", {"photo": encoded(ONE), "embeddings": "yes"}, "embeddings"),
    "no name": ("identities", PHOTO, "name: missing"),
    "no photos": ("identities", {"name": "Ada", "photos": []}, "photos"),
    "no face": ("identities", {"name": "Ada", "photos": [encoded(NOBODY)]}, "photos[1]: no face"),
    "second without": ("identities", {"name": "Ada", "photos": [encoded(ONE), encoded(NOBODY)]}, "photos[2]: no face"),
    "seventeen": ("identities", {"name": "Ada", "photos": [encoded(ONE)] * 17}, "17"),
    "a face that is no word": ("identities", {"name": "Ada", **PHOTO, "face": "best"}, "face"),
    "points of nothing": ("identities", {"name": "Ada", **PHOTO, "photo_keypoints": [[1]]}, "photo_keypoints"),
    "four points": ("keypoint-map", {"keypoints": POINTS[:4], "width": 64, "height": 64}, "five points"),
    "points of text": ("keypoint-map", {"keypoints": "me", "width": 64, "height": 64}, "five points"),
    "points too far": ("keypoint-map", {"keypoints": [[10**400, 0]] * 5, "width": 64, "height": 64}, "keypoints"),
    "width a text": ("keypoint-map", {"keypoints": POINTS, "width": "64", "height": 64}, "width"),
    "height zero": ("keypoint-map", {"keypoints": POINTS, "width": 64, "height": 0}, "height"),
    "height huge": ("keypoint-map", {"keypoints": POINTS, "width": 64, "height": 10**9}, "height"),
    "nobody": ("similarity", {"pictures": [encoded(ONE)]}, "photos, identity"),
    "both": ("similarity", {**PHOTO, "identity": "Ada", "pictures": [encoded(ONE)]}, "both"),
    "unknown identity": ("similarity", {"identity": "Ada", "pictures": [encoded(ONE)]}, "no identity"),
    "identity a path": ("similarity", {"identity": "../Ada", "pictures": [encoded(ONE)]}, "identity"),
    "no pictures": ("similarity", {**PHOTO, "pictures": []}, "pictures"),
    "too many pictures": ("similarity", {**PHOTO, "pictures": [encoded(ONE)] * 65}, "64"),
    "pictures a text": ("similarity", {**PHOTO, "pictures": encoded(ONE)}, "pictures"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request_is_refused_by_name(client: TestClient, wrong: str) -> None:
    path, body, words = WRONG[wrong]
    answer = client.post(f"/instantid/{path}", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b'"me"', b"null", b"\xff\xfe", b"[" * 200_000, b"1" * 10_000])
def test_what_is_no_object_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/instantid/faces", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""])
def test_what_a_foreign_page_could_send_is_refused(client: TestClient, kind: str) -> None:
    content = json.dumps({"name": "Ada", "photos": [encoded(ONE)]})
    assert client.post("/instantid/identities", content=content, headers={"Content-Type": kind}).status_code == 415
    assert client.get("/instantid/identities").json() == []


def test_a_request_over_the_limit_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/instantid/faces", content=b" " * (MAX_BODY + 1), headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(("sent", "read"), [(2 * MAX_BODY, 2 * MAX_BODY), (8 * MAX_BODY, DRAINED + MEGABYTES_16)])
def test_what_is_too_large_is_read_to_a_bound_before_it_is_refused(services: Services, sent: int, read: int) -> None:
    """A client that is still sending reads no answer, and a browser shows a broken connection."""
    taken, answers = [], []

    async def receive() -> dict[str, Any]:
        taken.append(MEGABYTES_16)
        return {"type": "http.request", "body": b" " * MEGABYTES_16, "more_body": sum(taken) < sent}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message.get("status"))

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/instantid/faces", "headers": headers, "query_string": b""}
    asyncio.run(application(services, [])(scope, receive, send))  # type: ignore[arg-type]
    assert answers[0] == 413
    assert sum(taken) == read


def test_an_address_is_not_fetched(client: TestClient) -> None:
    answer = client.post("/instantid/faces", json={"photo": "https://example.org/ada.png"})
    assert answer.status_code == 422
    assert "photo: https://example.org/ada.png is an address, and none is fetched" in answer.json()["detail"]


def test_a_path_is_read_below_an_allowed_folder_alone(client: TestClient, services: Services) -> None:
    path = services.allowed()[0] / "a.png"
    path.write_bytes(base64.b64decode(encoded(ONE)))
    assert len(client.post("/instantid/faces", json={"photo": str(path)}).json()["faces"]) == 1


def test_the_routes_are_given_no_lock_to_wait_for() -> None:
    """A generation holds the WebUI's `queue_lock` for minutes; only the analyser is shared with it, which has its own."""
    assert list(signature(add_routes).parameters) == ["app", "services"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_webuis_own_guard_stands_before_every_route(services: Services, route: Route) -> None:
    client = TestClient(application(services, [Depends(guard)]))
    path = "/instantid" + route.path.replace("{name}", "Ada")
    body = {} if route.takes is None else {"json": route.example}
    for credentials in (None, ("me", "wrong"), ("other", "secret")):
        assert client.request(route.method, path, auth=credentials, **body).status_code == 401
    assert client.request(route.method, path, auth=("me", "secret"), **body).status_code in (200, 404, 422)


def test_without_the_webuis_api_there_is_none(services: Services) -> None:
    client = TestClient(application(services, None))
    assert client.get("/instantid/version").status_code == 404
    assert not any(path.startswith("/instantid") for path in client.get("/openapi.json").json()["paths"])


def test_the_documentation_has_every_route_with_an_example(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for route in ROUTES:
        described = paths["/instantid" + route.path][route.method.lower()]
        assert described["summary"] == route.summary
        assert {"200", "401", "413", "422"} <= set(described["responses"])
        if route.takes is not None:
            content = described["requestBody"]["content"]["application/json"]
            assert set(content["example"]) <= set(content["schema"]["properties"])
            assert client.post("/instantid" + route.path, json=content["example"]).status_code in (200, 422)


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
GENERATED = [(route, mode) for route in ROUTES for mode in GenerationMode if mode.is_positive or route.method != "GET"]


@pytest.mark.parametrize(("route", "mode"), GENERATED, ids=lambda value: getattr(value, "path", None) or value.value)
def test_no_request_that_fits_the_documentation_or_nearly_does_fails(
    services: Services, route: Route, mode: GenerationMode
) -> None:
    """schemathesis makes requests of the OpenAPI document: valid ones, and ones with something wrong."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", application(services, []))
    cases = schema["/instantid" + route.path][route.method].as_strategy(generation_mode=mode)

    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    run()
