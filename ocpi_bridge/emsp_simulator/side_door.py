"""The partner's side door: whoever sits at this machine sets faults and reads the book while it runs; it is no OCPI."""

import re
from ipaddress import ip_address
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocpi_bridge.emsp_simulator.answers import exact_json
from ocpi_bridge.emsp_simulator.book import Book, Fault, Received

SECRET = "authorization"
SHELVES = ("locations", "sessions", "tariffs", "cdrs", "command_results")
FAULT = re.compile(r"(?P<place>[^=\s]*)=(?P<fault>[a-z0-9_]+)(?::(?P<times>\d+|always))?")


class NotSuch(ValueError):
    """What was asked for is no fault, or not its place; the text says why."""


def local(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def plan(book: Book, text: str, method: str | None = None) -> None:
    """PLACE=FAULT, PLACE=FAULT:TIMES or PLACE=FAULT:always, as in sessions=error_500:3. Raises NotSuch."""
    match = FAULT.fullmatch(text)
    if match is None:
        raise NotSuch(f"{text!r} is not PLACE=FAULT or PLACE=FAULT:TIMES")
    try:
        fault = Fault(match["fault"])
    except ValueError:
        raise NotSuch(f"{match['fault']} is none of {', '.join(Fault)}") from None
    times = None if match["times"] == "always" else int(match["times"] or 1)
    book.fault(match["place"], fault, times, method=method)


def side_door(book: Book) -> Starlette:
    """GET /requests, /complaints, /faults and /objects; POST a fault to /faults, DELETE /faults."""

    async def requests(request: Request) -> Response:
        method, part = request.query_params.get("method"), request.query_params.get("path", "")
        told = [
            {"number": number, **shown(received)}
            for number, received in enumerate(book.requests, start=1)
            if method in (None, received.method) and part in received.path
        ]
        return _json(told)

    async def complaints(_: Request) -> Response:
        return _json([{"at": told.at, "subject": told.subject, "text": told.text} for told in book.complaints])

    async def objects(_: Request) -> Response:
        return _json({name: _listed(getattr(book, name)) for name in SHELVES})

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            book.clear_faults()
        elif request.method == "POST":
            try:
                wanted = orjson.loads(await request.body())
                plan(book, str(wanted["fault"]), wanted.get("method"))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return _json({"problem": str(error)}, 422)
        told = [
            {"place": each.prefix, "fault": each.fault.value, "left": each.left, "method": each.method}
            for each in book.faults
        ]
        return _json(told)

    return Starlette(
        routes=[
            Route("/requests", requests),
            Route("/complaints", complaints),
            Route("/objects", objects),
            Route("/faults", faults, methods=["GET", "POST", "DELETE"]),
        ],
        # A page in a browser here may not speak to it under another name.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def shown(received: Received) -> dict[str, Any]:
    """A request without the token that it carried."""
    return {
        "at": received.at,
        "method": received.method,
        "path": received.path,
        "query": received.query,
        "headers": {name: value for name, value in received.headers.items() if name != SECRET},
        "body": _without_token(received),
    }


def _without_token(received: Received) -> Any:
    if isinstance(received.body, dict) and "credentials" in received.path:
        return {name: value for name, value in received.body.items() if name != "token"}
    return received.body


def _listed(shelf: Any) -> Any:
    return list(shelf.values()) if hasattr(shelf, "values") and not isinstance(shelf, dict) else shelf


def _json(body: Any, status: int = 200) -> Response:
    return Response(exact_json(body), status, media_type="application/json")
