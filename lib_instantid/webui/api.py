"""Mounts the routes on the WebUI's FastAPI application: who may, how much, and what the documentation says.

No pydantic models: A1111 has pydantic 1 and Forge pydantic 2, and a request must not be read before its size is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from lib_instantid.errors import InstantIDError
from lib_instantid.webui.documentation import ROUTES, Route
from lib_instantid.webui.routes import NotFound, Services

PREFIX = "/instantid"
OWN_ROUTE_OF_THE_WEBUI = "/sdapi/v1/txt2img"

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request: sixteen photos of 3 MB, as base64."""

DRAINED = 4 * MAX_BODY
"""Bytes up to which a request that is too large is read and dropped: many clients read no answer before they have sent all."""

NOT_FOUND, TOO_LARGE, NOT_JSON, UNPROCESSABLE = 404, 413, 415, 422


def add_routes(app: FastAPI, services: Services) -> None:
    """Add the routes beside the WebUI's own, guarded as those are (`--api-auth`); none where it has none (without `--api`).

    None waits for a generation: the analyser, which both share, lets one after the other look.
    """
    guard = next((r.dependencies for r in app.routes if getattr(r, "path", None) == OWN_ROUTE_OF_THE_WEBUI), None)
    if guard is None:
        return
    for route in ROUTES:
        app.add_api_route(
            PREFIX + route.path,
            _endpoint(route, services),
            methods=[route.method],
            dependencies=guard,
            response_model=None,
            response_class=Response,
            **route.documentation(),
        )


def _endpoint(route: Route, services: Services) -> Callable[[Request], Any]:
    def answer(body: Mapping[str, Any]) -> Any:
        try:
            return route.action(services, body)
        except NotFound as error:
            raise HTTPException(NOT_FOUND, str(error)) from error
        except InstantIDError as error:
            raise HTTPException(UNPROCESSABLE, str(error)) from error

    async def endpoint(request: Request) -> Response:
        body = await _body(request) if route.takes is not None else dict(request.path_params)
        content = await run_in_threadpool(answer, body)
        return Response(content, media_type="image/png") if isinstance(content, bytes) else JSONResponse(content)

    endpoint.__name__ = route.action.__name__
    return endpoint


async def _body(request: Request) -> Mapping[str, Any]:
    """The JSON object of a request. A web page elsewhere cannot send this content type without asking first."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(NOT_JSON, f"Content-Type: found {kind!r:.80}, expected application/json.")
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY:
            content += chunk
        elif size > DRAINED:
            break
    if size > MAX_BODY:
        raise HTTPException(TOO_LARGE, f"The request is larger than {MAX_BODY // 1024**2} MB; send smaller pictures.")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HTTPException(UNPROCESSABLE, f"The request is no JSON: {error}.") from error
    if not isinstance(values, dict):
        raise HTTPException(UNPROCESSABLE, f"The request is a {type(values).__name__}, expected an object.")
    return values
