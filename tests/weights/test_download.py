"""Downloads by huggingface_hub from a server that behaves as the hub does, and as networks do."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib_instantid.adapters.instantid.files import FILES
from lib_instantid.adapters.instantid.recognise import ADAPTER
from lib_instantid.errors import DownloadError
from lib_instantid.weights.download import STAGING, download
from lib_instantid.weights.finding import missing
from lib_instantid.weights.system_files import ReleasedFile

SYSTEM_FILES = (FILES,)
RELEASED = missing((), SYSTEM_FILES)

CONTENT = bytes(range(256)) * 4000
FILE = ReleasedFile(
    role=ADAPTER,
    repository="InstantX/InstantID",
    path="net/big.bin",
    megabytes=1,
    licence="none",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
COMMIT = "57b32dfee076092ad2930c71fd6d439c2c3b1820"


@dataclass(kw_only=True)
class Hub:
    """What the server has and how it misbehaves. cut: after how many bytes of content a connection ends."""

    address: str = ""
    contents: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    cut: int | None = None
    status: int | None = None

    def serve(self, file: ReleasedFile, content: bytes) -> None:
        self.contents[f"/{file.repository}/resolve/main/{file.path}"] = content

    @property
    def fetched(self) -> list[str | None]:
        """The ranges of what was fetched."""
        return [asked for method, _, asked in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, asked = self.hub, self.headers.get("Range")
        hub.requests.append((self.command, self.path, asked))
        content = hub.contents.get(self.path)
        if hub.status or content is None:
            self.say(hub.status or 404, {"Content-Length": "0"})
            return
        first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": tag, "X-Repo-Commit": COMMIT, "Content-Length": str(len(content) - first), "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.say(206 if asked else 200, headers, content[first:])

    def say(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: self.hub.cut])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 14)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # before huggingface_hub tries again
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    hub.address = f"http://127.0.0.1:{server.server_port}"
    hub.serve(FILE, CONTENT)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(hub: Hub, folder: Path) -> Path:
    (path,) = download([FILE], folder, endpoint=hub.address)
    return path


def fail(hub: Hub, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(hub, folder)
    message = str(caught.value)
    assert message.startswith("net/big.bin: ")
    assert f"{hub.address}/InstantX/InstantID/resolve/main/net/big.bin" in message
    return message


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_released_files_come_into_the_layout_that_is_searched(hub: Hub, tmp_path: Path) -> None:
    told: list[str] = []
    own = [replace(file, sha256=hashlib.sha256(file.path.encode()).hexdigest()) for file in RELEASED]
    for file in own:
        hub.serve(file, file.path.encode())
    paths = download(own, tmp_path, endpoint=hub.address + "/", progress=lambda name, _: told.append(name))
    assert [path.read_text() for path in paths] == told == [file.path for file in own]
    assert files_below(tmp_path) == [
        "ControlNetModel/config.json",
        "ControlNetModel/diffusion_pytorch_model.safetensors",
        "antelopev2/glintr100.onnx",
        "antelopev2/scrfd_10g_bnkps.onnx",
        "ip-adapter.bin",
    ]


def test_every_released_file_has_its_own_hash() -> None:
    assert all(len(bytes.fromhex(str(file.sha256))) == 32 for file in RELEASED)
    assert len({file.sha256 for file in RELEASED}) == len(RELEASED)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cut = 100_000
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    starts = [0 if asked is None else int(asked.removeprefix("bytes=").rstrip("-")) for asked in hub.fetched]
    assert len(starts) > 5
    assert starts == sorted(set(starts))
    assert files_below(tmp_path) == ["net/big.bin"]


def test_a_finished_file_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch(hub, tmp_path)
    hub.requests.clear()
    assert fetch(hub, tmp_path) == FILE.below(tmp_path)
    assert hub.requests == []


def test_another_file_of_the_name_stays_until_the_published_one_is_complete(hub: Hub, tmp_path: Path) -> None:
    target = FILE.below(tmp_path)
    target.parent.mkdir()
    target.write_bytes(b"older")
    hub.status = 503
    fail(hub, tmp_path)
    assert target.read_bytes() == b"older"
    hub.status = None
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_content_with_another_hash_than_the_tables_is_removed_and_both_are_told(hub: Hub, tmp_path: Path) -> None:
    """Whatever the server says of it: it is checked against our own table."""
    changed = CONTENT[:-1] + b"x"
    hub.serve(FILE, changed)
    message = fail(hub, tmp_path)
    assert hashlib.sha256(changed).hexdigest() in message
    assert str(FILE.sha256) in message
    assert not FILE.below(tmp_path).exists()
    assert not (tmp_path / STAGING / FILE.path).exists()
    hub.serve(FILE, CONTENT)
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_refusal_names_the_file_the_status_and_the_cure(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    message = fail(hub, tmp_path)
    assert "Run the download again" in message
    assert "HTTPS_PROXY" in message


def test_files_before_a_failing_one_are_complete(hub: Hub, tmp_path: Path) -> None:
    absent = replace(FILE, path="absent.bin")
    with pytest.raises(DownloadError, match=r"^absent\.bin: "):
        download([FILE, absent], tmp_path, endpoint=hub.address)
    assert FILE.below(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid", "ftp://hub", "nonsense"])
def test_no_server_is_told(hub: Hub, tmp_path: Path, endpoint: str) -> None:
    hub.address = endpoint
    fail(hub, tmp_path)
    assert not FILE.below(tmp_path).exists()


def test_a_folder_that_cannot_be_made_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "net").write_text("a file where a folder should be")
    assert "cannot be written" in fail(hub, tmp_path)
