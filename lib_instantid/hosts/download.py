"""Fetches released model files, only when a person asked for it: resumed, checked, and put in place in one step.

The hub answers `/REPOSITORY/resolve/main/PATH` with a redirect to a storage server. The redirect itself carries what is
published of the file, `X-Linked-Size` and `X-Linked-ETag`; the storage server does not repeat it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from lib_instantid.errors import DownloadError
from lib_instantid.hosts.model_files import HUB, ReleasedFile

Progress = Callable[[str, int, int | None], None]
"""Told the file's path on the hub, the bytes that are here, and the bytes of the whole file or None if not known."""

PART = ".part"
CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without any answer or byte."""

USER_AGENT = "sd-webui-instantid"
SCHEMES = ("https", "http")
LINKED_SIZE, LINKED_ETAG = "X-Linked-Size", "X-Linked-ETag"
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
OK, PARTIAL, RANGE_REFUSED = 200, 206, 416
SHA256 = re.compile(r"[0-9a-f]{64}")
"""The ETag of a file in large-file storage; that of any other file is git's own hash, which is shorter."""


def download(
    files: Sequence[ReleasedFile], folder: Path, *, endpoint: str = HUB, progress: Progress | None = None
) -> tuple[Path, ...]:
    """Fetch the files into the folder and return where each is, in their order.

    A file that is there and is the published one is not fetched again; any other of its name stays until the published
    one is complete and checked. What was fetched before an interruption is kept as `NAME.part` and continued.
    endpoint: address of the hub or of a mirror of it. Raises DownloadError.
    """
    return tuple(_Download(file, Path(folder).expanduser(), endpoint, progress).run() for file in files)


@dataclass(frozen=True, kw_only=True)
class _Published:
    """What the hub says of a file. size: bytes. sha256: hexadecimal; None for files outside large-file storage."""

    size: int | None
    sha256: str | None


class _Download:
    """One file on its way."""

    def __init__(self, file: ReleasedFile, folder: Path, endpoint: str, progress: Progress | None) -> None:
        self._file = file
        self._url = file.url(endpoint)
        self._target = file.below(folder)
        self._part = self._target.with_name(self._target.name + PART)
        self._progress = progress

    def run(self) -> Path:
        try:
            published = self._published()
            if not self._is_here(published):
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(published)
                self._check(published)
                self._part.replace(self._target)
        except OSError as error:
            raise self._error(
                f"{self._target} cannot be read or written ({error}); make room or choose another folder"
            ) from error
        return self._target

    def _is_here(self, published: _Published) -> bool:
        if not self._target.is_file() or self._target.stat().st_size != published.size:
            return False
        if published.sha256 not in (None, _sha256(self._target)):
            return False
        self._report(published.size, published.size)
        return True

    def _published(self) -> _Published:
        with self._request("HEAD") as answer:
            size = answer.headers.get(LINKED_SIZE)
            if size is None and answer.status not in REDIRECTS:
                size = answer.headers.get("Content-Length")
            etag = answer.headers.get(LINKED_ETAG, "").strip('"').lower()
        return _Published(size=_number(size), sha256=etag if SHA256.fullmatch(etag) else None)

    def _fetch(self, published: _Published) -> None:
        """Complete the part, or raise DownloadError and keep what came."""
        done = self._part.stat().st_size if self._part.is_file() else 0
        if done and done == published.size:
            return
        answer, done = self._open_at(done)
        with answer:
            length = _number(answer.headers.get("Content-Length"))
            total = published.size if length is None else done + length
            with self._part.open("ab" if done else "wb") as part:
                self._report(done, total)
                for chunk in self._chunks(answer):
                    part.write(chunk)
                    done += len(chunk)
                    self._report(done, total)
        if total is not None and done < total:
            raise self._error(f"the connection ended after {done} of {total} bytes")

    def _open_at(self, start: int) -> tuple[HTTPResponse, int]:
        """The answer, and the byte with which its content starts: `start`, or 0 from a server that cannot continue."""
        answer = self._request("GET", start)
        if start and answer.status in (PARTIAL, RANGE_REFUSED):
            if answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                return answer, start
            answer.close()
            answer = self._request("GET")
        return answer, 0

    def _request(self, method: str, start: int = 0) -> HTTPResponse:
        """The answer after the redirects; to HEAD, the first one that says what is published."""
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._answer(method, url, start)
            says_all = method == "HEAD" and (LINKED_SIZE in answer.headers or LINKED_ETAG in answer.headers)
            if answer.status not in REDIRECTS or says_all:
                return answer
            answer.close()
            url = urljoin(url, answer.headers["Location"])
        raise self._error(f"{urlsplit(url).netloc} redirects without end")

    def _answer(self, method: str, url: str, start: int) -> HTTPResponse:
        if urlsplit(url).scheme not in SCHEMES or (urlsplit(url).scheme == "http" and self._url.startswith("https:")):
            raise self._error(f"expected an https address, found {url}")
        host = urlsplit(url).netloc
        headers = {"User-Agent": USER_AGENT, **({"Range": f"bytes={start}-"} if start else {})}
        try:
            request = Request(url, headers=headers, method=method)
            answer: HTTPResponse = build_opener(_AsTheyCome).open(request, timeout=TIMEOUT)
        except (OSError, HTTPException) as error:
            raise self._error(f"{host} cannot be reached ({getattr(error, 'reason', error)})") from error
        redirected = answer.status in REDIRECTS and "Location" in answer.headers
        if not redirected and answer.status not in ((OK, PARTIAL, RANGE_REFUSED) if start else (OK,)):
            answer.close()
            raise self._error(f"{host} answered {answer.status} {answer.reason}")
        if not redirected and answer.headers.get_content_type() == "text/html":
            answer.close()
            raise self._error(f"{host} sent a web page instead of the file; is it the login of a proxy or a network?")
        return answer

    def _chunks(self, answer: HTTPResponse) -> Iterator[bytes]:
        try:
            # Not `read`: it waits for the whole chunk, and loses what came of it when the connection breaks.
            while chunk := answer.read1(CHUNK):
                yield chunk
        except (OSError, HTTPException) as error:
            raise self._error(f"the connection broke ({error})") from error

    def _check(self, published: _Published) -> None:
        size = self._part.stat().st_size
        if published.size not in (None, size):
            raise self._mismatch("the size", f"{size} bytes", f"{published.size} bytes")
        if published.sha256 is not None and (found := _sha256(self._part)) != published.sha256:
            raise self._mismatch("the SHA-256", found, published.sha256)

    def _mismatch(self, what: str, found: str, expected: str) -> DownloadError:
        self._part.unlink(missing_ok=True)
        return self._error(f"not the published file: {what} is {found}, expected {expected}; what came was removed")

    def _error(self, reason: str) -> DownloadError:
        return DownloadError(
            f"{self._file.path}: {reason}. Run the download again, which continues with what is here, or fetch {self._url} "
            f"by hand into {self._target.parent}. Behind a proxy, set the environment variable HTTPS_PROXY."
        )

    def _report(self, done: int, total: int | None) -> None:
        if self._progress:
            self._progress(self._file.path, done, total)


class _AsTheyCome(HTTPErrorProcessor):
    """Hands every answer to the caller: urllib would follow a redirect, and the hub's headers on it would be lost."""

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:  # noqa: ARG002 - urllib's
        return response

    https_response = http_response


def _number(header: str | None) -> int | None:
    return int(header) if header and header.isdecimal() else None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
