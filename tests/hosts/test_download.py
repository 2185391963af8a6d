"""Downloads against a server that behaves as the hub does, and as networks do."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lib_instantid.errors import DownloadError
from lib_instantid.hosts import download as module
from lib_instantid.hosts.download import download
from lib_instantid.hosts.model_files import RELEASED, ReleasedFile, Role

CONTENT = bytes(range(256)) * 4000
HALF = len(CONTENT) // 2
FILE = ReleasedFile(role=Role.ADAPTER, repository="InstantX/InstantID", path="net/big.bin", megabytes=1, licence="none")
Calls = list[tuple[str, int, int | None]]


@dataclass(kw_only=True)
class Hub:
    """What the server has and how it misbehaves. sent: content bytes that went out; requests: method, path and Range.

    cut: after how many bytes of content a connection ends. reset: it ends with an error, after go_on.
    misses: by how many bytes a range starts too late. sleeps: no answer before go_on.
    linked: X-Linked headers that are not as they should be, or empty. location: where the redirect leads instead.
    """

    address: str = ""
    contents: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    sent: int = 0
    ranges: bool = True
    misses: int = 0
    cut: int | None = None
    reset: bool = False
    status: int | None = None
    linked: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    redirects: bool = True
    page: bool = False
    sleeps: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)

    def serve(self, file: ReleasedFile, content: bytes) -> None:
        self.contents[f"/{file.repository}/resolve/main/{file.path}"] = content

    @property
    def fetched(self) -> list[tuple[str, str | None]]:
        """Path and Range of what was asked of the storage server."""
        return [(path, asked) for method, path, asked in self.requests if method == "GET" and path.startswith("/cdn/")]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        if hub.sleeps:
            hub.go_on.wait(10)
        content = hub.contents.get(self.path.removeprefix("/cdn"))
        if hub.status or content is None:
            self.say(hub.status or 404, {"Content-Length": "0"})
        elif hub.page:
            self.say(200, {"Content-Type": "text/html; charset=utf-8", "Content-Length": "6"}, b"<html>")
        elif self.path.startswith("/cdn/"):
            self.send_content(content)
        elif self.path.startswith("/Renamed/"):
            self.say(307, {"Location": self.path.replace("/Renamed/", "/InstantX/"), "Content-Length": "0"})
        elif hub.redirects:
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            location = hub.location or f"{hub.address}/cdn{self.path}"
            headers = {**linked, **hub.linked, "Location": location, "Content-Length": "0"}
            self.say(302, {name: value for name, value in headers.items() if value})
        else:
            self.send_content(content)

    def send_content(self, content: bytes) -> None:
        """As a storage server does: with an ETag of its own, which is no SHA-256 of the content."""
        first = 0
        asked = self.headers.get("Range")
        headers = {"ETag": f'"{"0" * 64}"', "Accept-Ranges": "bytes"}
        if asked and self.hub.ranges:
            first = int(asked.removeprefix("bytes=").removesuffix("-")) + self.hub.misses
            if first >= len(content):
                self.say(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(content) - first)
        self.say(206 if "Content-Range" in headers else 200, headers, content[first:])

    def say(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[: self.hub.cut]
        self.hub.sent += len(body)
        self.wfile.write(body)
        if len(body) < len(content) and self.hub.reset:
            self.hub.go_on.wait(10)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "*")
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    hub.address = f"http://127.0.0.1:{server.server_port}"
    hub.serve(FILE, CONTENT)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(hub: Hub, folder: Path, calls: Calls | None = None) -> Path:
    progress = None if calls is None else lambda *call: calls.append(call)
    (path,) = download([FILE], folder, endpoint=hub.address, progress=progress)
    return path


def fail(hub: Hub, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(hub, folder)
    return str(caught.value)


def part_of(folder: Path) -> Path:
    path = FILE.below(folder)
    return path.with_name(path.name + ".part")


def write_part(folder: Path, content: bytes) -> None:
    part_of(folder).parent.mkdir(parents=True)
    part_of(folder).write_bytes(content)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_released_files_come_into_the_layout_that_is_searched(hub: Hub, tmp_path: Path) -> None:
    for number, file in enumerate(RELEASED):
        hub.serve(file, bytes([number]) * 1000)
    paths = download(RELEASED, tmp_path / "new folder", endpoint=hub.address + "/")
    assert [path.relative_to(tmp_path / "new folder").as_posix() for path in paths] == [
        "ip-adapter.bin",
        "ControlNetModel/config.json",
        "ControlNetModel/diffusion_pytorch_model.safetensors",
        "antelopev2/scrfd_10g_bnkps.onnx",
        "antelopev2/glintr100.onnx",
    ]
    assert [path.read_bytes()[0] for path in paths] == [0, 1, 2, 3, 4]
    assert len(files_below(tmp_path)) == 5


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_broken_connection_keeps_what_came_and_the_next_run_asks_for_the_rest_only(
    hub: Hub, tmp_path: Path, reset: bool
) -> None:
    hub.cut, hub.reset = HALF, reset
    with pytest.raises(DownloadError, match=r"the connection (ended after|broke)"):
        download([FILE], tmp_path, endpoint=hub.address, progress=lambda _, done, __: done and hub.go_on.set())
    assert files_below(tmp_path) == ["net/big.bin.part"]
    kept = part_of(tmp_path).stat().st_size
    assert 0 < kept <= HALF
    hub.cut, hub.sent = None, 0
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    assert hub.fetched[-1][1] == f"bytes={kept}-"
    assert hub.sent == len(CONTENT) - kept
    assert files_below(tmp_path) == ["net/big.bin"]


def test_a_person_who_interrupts_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    def interrupt(_name: str, done: int, _total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download([FILE], tmp_path, endpoint=hub.address, progress=interrupt)
    assert part_of(tmp_path).stat().st_size > 0
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_sends_all_again(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT[:HALF])
    hub.ranges = False
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    assert hub.sent == len(CONTENT)


def test_a_range_that_starts_elsewhere_is_not_joined_to_the_part(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT[:HALF])
    hub.misses = 256
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in hub.fetched] == [f"bytes={HALF}-", None]


def test_a_part_longer_than_the_file_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT + b"more")
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in hub.fetched] == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_complete_part_is_checked_and_used_without_fetching(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT)
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    assert hub.fetched == []


def test_a_part_of_another_file_is_found_out_removed_and_the_next_run_succeeds(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, b"x" * HALF)
    assert "SHA-256" in fail(hub, tmp_path)
    assert files_below(tmp_path) == []
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_finished_file_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    path = fetch(hub, tmp_path)
    before, sent = path.stat(), hub.sent
    calls: Calls = []
    assert fetch(hub, tmp_path, calls) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert hub.sent == sent
    assert calls == [(FILE.path, len(CONTENT), len(CONTENT))]


@pytest.mark.parametrize("old", [b"short", b"y" * len(CONTENT)], ids=["of another size", "of the same size"])
def test_another_file_of_the_name_is_replaced_only_when_the_published_one_is_complete(
    hub: Hub, tmp_path: Path, old: bytes
) -> None:
    target = FILE.below(tmp_path)
    target.parent.mkdir()
    target.write_bytes(old)
    hub.cut = HALF
    fail(hub, tmp_path)
    assert target.read_bytes() == old
    hub.cut = None
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_content_with_another_hash_is_removed_and_both_hashes_are_told(hub: Hub, tmp_path: Path) -> None:
    target = FILE.below(tmp_path)
    target.parent.mkdir()
    target.write_bytes(b"mine")
    hub.linked = {"X-Linked-ETag": f'"{"a" * 64}"'}
    message = fail(hub, tmp_path)
    assert "a" * 64 in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert files_below(tmp_path) == ["net/big.bin"]
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("published", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_content_of_another_size_is_refused_and_both_sizes_are_told(hub: Hub, tmp_path: Path, published: int) -> None:
    hub.linked = {"X-Linked-Size": str(published)}
    message = fail(hub, tmp_path)
    assert f"{len(CONTENT)} bytes" in message
    assert f"{published} bytes" in message
    assert files_below(tmp_path) == []


def test_a_small_file_with_gits_own_hash_is_checked_by_size(hub: Hub, tmp_path: Path) -> None:
    hub.linked = {"X-Linked-ETag": f'"{"b" * 40}"'}
    assert fetch(hub, tmp_path).read_bytes() == CONTENT
    hub.linked["X-Linked-Size"] = "7"
    assert "expected 7 bytes" in fail(hub, tmp_path)


@pytest.mark.parametrize("absent", ["X-Linked-Size", "X-Linked-ETag"])
def test_a_file_is_checked_by_what_the_hub_says_of_it(hub: Hub, tmp_path: Path, absent: str) -> None:
    hub.linked = {"X-Linked-Size": "7", "X-Linked-ETag": "a" * 64, absent: ""}
    assert "not the published file" in fail(hub, tmp_path)
    hub.linked = {absent: ""}
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_server_without_redirects_is_used_as_it_is(hub: Hub, tmp_path: Path) -> None:
    hub.redirects = False
    assert fetch(hub, tmp_path).read_bytes() == CONTENT


def test_a_renamed_repository_is_followed_and_its_file_checked(hub: Hub, tmp_path: Path) -> None:
    old = replace(FILE, repository="Renamed/InstantID")
    hub.serve(old, CONTENT)
    hub.linked = {"X-Linked-ETag": f'"{"a" * 64}"'}
    with pytest.raises(DownloadError, match="SHA-256"):
        download([old], tmp_path, endpoint=hub.address)
    hub.linked = {}
    assert download([old], tmp_path, endpoint=hub.address)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("status", [204, 304, 401, 403, 404, 407, 429, 500, 503])
def test_a_refusal_names_the_file_the_status_the_address_and_the_cure(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    message = fail(hub, tmp_path)
    assert message.startswith(f"{FILE.path}: ")
    assert f"answered {status}" in message
    assert f"fetch {FILE.url(hub.address)} by hand into {tmp_path / 'net'}" in message
    assert "Run the download again" in message
    assert "HTTPS_PROXY" in message
    assert files_below(tmp_path) == []


def test_a_refusal_keeps_what_came_before(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT[:HALF])
    hub.status = 503
    fail(hub, tmp_path)
    assert part_of(tmp_path).read_bytes() == CONTENT[:HALF]


def test_files_before_a_failing_one_are_complete(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=RELEASED[0].path):
        download([FILE, RELEASED[0]], tmp_path, endpoint=hub.address)
    assert FILE.below(tmp_path).read_bytes() == CONTENT


def test_no_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match=f"127.0.0.1:{port} cannot be reached .*refused"):
        download([FILE], tmp_path, endpoint=f"http://127.0.0.1:{port}")


def test_an_unknown_host_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"huggingface.co cannot be reached .*Name or service not known"):
        download([FILE], tmp_path)


def test_a_server_that_never_answers_is_given_up(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    hub.sleeps = True
    assert "timed out" in fail(hub, tmp_path)


def test_the_login_page_of_a_network_is_no_file(hub: Hub, tmp_path: Path) -> None:
    hub.page = True
    assert "web page" in fail(hub, tmp_path)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/x", "//"])
def test_a_redirect_out_of_the_web_is_refused(hub: Hub, tmp_path: Path, location: str) -> None:
    hub.location = location
    assert FILE.path in fail(hub, tmp_path)
    assert files_below(tmp_path) == []


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redirect = SimpleNamespace(status=302, headers={"Location": "http://127.0.0.1/x"}, close=lambda: None)
    opener = SimpleNamespace(open=lambda *_, **__: redirect)
    monkeypatch.setattr(module, "build_opener", lambda *_: opener)
    with pytest.raises(DownloadError, match=r"expected an https address, found http://127\.0\.0\.1/x"):
        download([FILE], tmp_path)


@pytest.mark.parametrize("endpoint", ["huggingface.co", "file:///", "", "http://127.0.0.1:port", "http://"])
def test_an_endpoint_that_is_no_web_address_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(DownloadError, match=FILE.path):
        download([FILE], tmp_path, endpoint=endpoint)


def test_redirects_in_a_circle_end(hub: Hub, tmp_path: Path) -> None:
    hub.location = FILE.url(hub.address)
    assert "redirects without end" in fail(hub, tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full, a disk without room")
def test_a_full_disk_is_told_and_the_file_that_was_there_stays(hub: Hub, tmp_path: Path) -> None:
    target = FILE.below(tmp_path)
    target.parent.mkdir()
    target.write_bytes(b"mine")
    part_of(tmp_path).symlink_to("/dev/full")
    message = fail(hub, tmp_path)
    assert os.strerror(28) in message
    assert "make room or choose another folder" in message
    assert target.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "net").write_bytes(b"a file")
    assert "cannot be read or written" in fail(hub, tmp_path)
    assert hub.fetched == []


def test_progress_rises_to_the_total_and_starts_with_what_was_here(hub: Hub, tmp_path: Path) -> None:
    write_part(tmp_path, CONTENT[:1000])
    calls: Calls = []
    fetch(hub, tmp_path, calls)
    done = [call[1] for call in calls]
    assert {(name, total) for name, _, total in calls} == {(FILE.path, len(CONTENT))}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (1000, len(CONTENT))


def test_the_file_appears_in_one_step(hub: Hub, tmp_path: Path) -> None:
    seen: list[Any] = []
    target = FILE.below(tmp_path)
    download([FILE], tmp_path, endpoint=hub.address, progress=lambda *_: seen.append(target.exists()))
    assert len(seen) >= 2
    assert not any(seen)
    assert target.read_bytes() == CONTENT
