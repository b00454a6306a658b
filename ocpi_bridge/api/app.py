"""The operator API as one application: whose key, which route, what was asked, one transaction, one answer."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as Address
from starlette.types import Receive, Scope, Send

from csms.database import away
from csms.users import KeyHolder
from ocpi_bridge.api.asked import Asked, FileBody, FileReply, Page, Reply, Route, Surroundings
from ocpi_bridge.api.keys import Keys
from ocpi_bridge.api.openapi import document, listing
from ocpi_bridge.api.problems import Problem, meant
from ocpi_bridge.api.reading import as_csv, read_body, read_file, read_path, read_query
from ocpi_bridge.api.routes import ROUTES
from ocpi_bridge.api.tail import Tail

log = structlog.get_logger(__name__)

T = TypeVar("T")

OPEN = ("/v1/openapi.json", "/docs")  # what may be read without a key
THREADS = 4  # the API's own, so that a busy one takes none from the chargers (B02)
UNFINISHED = "firmware"  # below DATA_DIR: where a file is that is still coming
ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class OperatorApi:
    """An ASGI application; `mount` is where it belongs. `close` ends what streams, so that a server can stop."""

    def __init__(self, given: Surroundings, *, routes: Sequence[Route] = ROUTES) -> None:
        self._given = given
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        self._keys = Keys(given.database)
        self.tail = Tail(given.database, run=self._in_thread)
        described = cache(lambda: msgspec.json.encode(document(routes, given.public_url)))
        listed = cache(lambda: listing(routes))
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, {})[route.method] = route

        async def openapi(_: Request) -> Response:
            return Response(described(), media_type="application/json", headers=ALWAYS)

        async def docs(_: Request) -> Response:
            return HTMLResponse(listed(), headers={**ALWAYS, "Content-Security-Policy": PAGE_POLICY})

        addresses = [
            Address("/v1/openapi.json", openapi),
            Address("/docs", docs),
            *(Address(f"/v1{path}", self._answer(found), methods=list(found)) for path, found in by_path.items()),
        ]
        self._app = Starlette(routes=addresses, exception_handlers={HTTPException: _no_such_thing})
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            if path not in OPEN:
                scope["holder"] = await self._holder(request)
        except Problem as problem:
            await _with_headers(problem.response())(scope, receive, send)
            return
        except SQLAlchemyError as error:
            await _with_headers(_failed(error, path).response())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def mount(self) -> Mount:
        """At /api, whatever stands behind it: a line break in an address is also ours to refuse."""
        place = Mount("/api", self)
        place.path_regex = re.compile("^/api/(?P<path>.*)$", re.DOTALL)
        return place

    async def close(self) -> None:
        await self.tail.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def holder(self, key: str) -> KeyHolder | None:
        """Whose key it is; None for one that opens nothing (any more)."""
        return self._keys.remembered(key) or await self._in_thread(lambda: self._keys.look_up(key))

    async def _holder(self, request: Request) -> KeyHolder:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _no_key()
        holder = await self.holder(key.strip())
        if holder is None:
            raise _no_key()
        return holder

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _answer(self, found: Mapping[str, Route]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            route = found["GET" if request.method == "HEAD" else request.method]
            try:
                response = await self._respond(route, request)
            except Problem as problem:
                response = problem.response()
            except Exception as error:
                response = (meant(error) or _failed(error, route.path)).response()
            return _with_headers(response)

        return answer

    async def _respond(self, route: Route, request: Request) -> Response:
        holder: KeyHolder = request.scope["holder"]
        if not holder.may(route.role):
            detail = f"this needs the role {route.role.value}; the key {holder.prefix} has {holder.role.value}"
            raise Problem(status=403, code="not_allowed", detail=detail)
        path = read_path(request.path_params, route.path_types)
        query = read_query(request, route.query)
        if isinstance(route.body, FileBody):
            body = await self._kept(route.body, request, query)
        else:
            body = await read_body(request, route.body)
        if route.live:
            key = request.headers["authorization"].partition(" ")[2].strip()
            response: Response = await route.handler(
                Live(api=self, request=request, query=query, holder=holder, still=lambda: self.holder(key))
            )
            return response
        began = time.perf_counter()
        answered = await self._in_thread(lambda: self._handle(route, holder, path, query, body))
        if route.method != "GET":
            log.info(
                "api_change",
                method=route.method,
                path=route.path,
                by=holder.name,
                key=holder.prefix,
                ms=round((time.perf_counter() - began) * 1000, 1),
            )
        return _rendered(route, request, answered)

    async def _kept(self, wanted: FileBody, request: Request, query: Any) -> Any:
        given = self._given
        async with read_file(request, given.data_dir / UNFINISHED, wanted.most, self._in_thread) as file:
            return await self._in_thread(lambda: wanted.keep(given, file, query))

    def _handle(self, route: Route, holder: KeyHolder, path: Mapping[str, Any], query: Any, body: Any) -> Any:
        database = self._given.database
        with database.read() if route.method == "GET" else database.write() as connection:
            return route.handler(
                Asked(
                    given=self._given,
                    connection=connection,
                    holder=holder,
                    now=self._given.clock(),
                    path=path,
                    query=query,
                    body=body,
                )
            )


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler that streams knows. `still`: whose key it is by now."""

    api: OperatorApi
    request: Request
    query: Any
    holder: KeyHolder
    still: Callable[[], Awaitable[KeyHolder | None]]


def _rendered(route: Route, request: Request, answered: Any) -> Response:
    status, headers = route.status, {}
    if isinstance(answered, FileReply):
        return FileResponse(answered.path, filename=answered.name, media_type="application/octet-stream")
    if isinstance(answered, Reply):
        status, headers, answered = answered.status, dict(answered.headers), answered.value
    if answered is None:
        return Response(status_code=204, headers=headers)
    if isinstance(answered, Page) and answered.next is not None:
        query = {**dict(request.query_params), "after": answered.next}
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    if route.csv and isinstance(answered, Page) and _prefers_csv(request.headers.get("accept", "")):
        return Response(as_csv(answered, route.csv), status, headers=headers, media_type="text/csv; charset=utf-8")
    return Response(msgspec.json.encode(answered), status, headers=headers, media_type="application/json")


def _prefers_csv(accept: str) -> bool:
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return "text/csv" in kinds and "application/json" not in kinds


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem = Problem(
            status=405,
            code="wrong_method",
            detail=f"{request.method[:20]} is not offered here",
            headers=dict(error.headers or {}),
        )
    else:
        problem = Problem(status=404, code="unknown_address", detail="there is nothing at this address")
    return _with_headers(problem.response())


def _no_key() -> Problem:
    return Problem(
        status=401,
        code="no_key",
        detail="this needs `Authorization: Bearer KEY` with a key that works",
        headers={"WWW-Authenticate": 'Bearer realm="roambridge"'},
    )


def _failed(error: Exception, path: str) -> Problem:
    if isinstance(error, SQLAlchemyError) and away(error):
        log.warning("api_without_database", path=path, error=type(error).__name__)
        headers = {"Retry-After": "5"}
        return Problem(status=503, code="no_database", detail="the database cannot be reached now", headers=headers)
    if isinstance(error, IntegrityError):
        log.info("api_conflict", path=path)
        return Problem(status=409, code="conflict", detail="somebody else changed the same at this moment, try again")
    if isinstance(error, DataError) or isinstance(getattr(error, "orig", error), OverflowError):
        return Problem(status=422, code="out_of_range", detail="a number or a time is larger than can be kept")
    log.error("api_failed", path=path, exc_info=error)
    return Problem(status=500, code="failed", detail="a mistake of ours; it is in the log")


def _with_headers(response: Response) -> Response:
    for name, value in ALWAYS.items():
        response.headers.setdefault(name, value)
    return response
