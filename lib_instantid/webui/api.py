"""Adds the routes to the WebUI's FastAPI application, with its authentication, a limit on size, and documentation.

Uses no pydantic models, because A1111 has pydantic 1 and Forge pydantic 2, and because the size is checked while reading.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from lib_instantid.errors import InstantIDError
from lib_instantid.webui.documentation import ROUTES, Route
from lib_instantid.webui.routes import Body, NotFound, Services

PREFIX = "/instantid"
OWN_ROUTE_OF_THE_WEBUI = "/sdapi/v1/txt2img"

MAX_BODY = 64 * 1024 * 1024
"""Largest request in bytes: sixteen photos of 3 MB, as base64."""

DRAINED = 4 * MAX_BODY
"""A request that is too large is read and dropped up to this many bytes, as many clients read no answer before that."""

NOT_FOUND, TOO_LARGE, NOT_JSON, UNPROCESSABLE = 404, 413, 415, 422


def add_routes(app: FastAPI, services: Services) -> None:
    """Add the routes, with the same authentication as the WebUI's own (`--api-auth`); none if its API is off (no `--api`).

    No route waits for a generation to end. Both use one face analyser, which analyses one picture at a time.
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


def _endpoint(route: Route, services: Services) -> Callable[[Request], Awaitable[Response]]:
    def answer(body: Body) -> object:
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


async def _body(request: Request) -> Body:
    """The JSON object of a request. The content type is required, because other sites' pages cannot send it unasked."""
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
