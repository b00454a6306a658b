"""A request's query and body become values, or a problem that names what is wrong."""

import csv
import io
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request

from ocpi_bridge.api.asked import Page
from ocpi_bridge.api.problems import Problem

BODY_AT_MOST = 1_048_576
FILE = "application/octet-stream"
InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def read_query(request: Request, wanted: type[msgspec.Struct] | None) -> Any:
    """Each parameter at most once, none that nobody knows."""
    given: dict[str, str] = {}
    known = set() if wanted is None else {field.encode_name for field in msgspec.structs.fields(wanted)}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Problem(status=400, code="unknown_parameter", detail=f"there is no parameter {_shown(name)} here")
        if name in given:
            raise Problem(status=400, code="repeated_parameter", detail=f"{name} is given more than once")
        if UNPRINTABLE.search(value):
            raise Problem(status=400, code="bad_parameter", detail=f"{name} holds what is no text")
        given[name] = value
    if wanted is None:
        return None
    try:
        return msgspec.convert(given, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(status=400, code="bad_parameter", detail=str(error)) from None


def read_path(path: Mapping[str, str], types: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in path.items():
        if UNPRINTABLE.search(value) or len(value) > 255:
            raise Problem(status=404, code="unknown_address", detail=f"{name} is no name that anything has")
        try:
            found[name] = msgspec.convert(value, types.get(name, str), strict=False)
        except msgspec.ValidationError:
            raise Problem(status=404, code="unknown_address", detail=f"{_shown(value)} is no {name}") from None
    return found


async def read_body(request: Request, wanted: Any) -> Any:
    """JSON of at most a megabyte."""
    if wanted is None:
        return None
    _must_be(request, "application/json")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_AT_MOST:
            raise _too_large(BODY_AT_MOST)
    try:
        return msgspec.json.decode(bytes(body), type=wanted)
    except msgspec.ValidationError as error:
        raise Problem(status=422, code="bad_body", detail=str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(status=400, code="no_json", detail=str(error)) from None


@asynccontextmanager
async def read_file(request: Request, folder: Path, most: int, run: InThread) -> AsyncIterator[Path]:
    """The body as a file below `folder`, gone at the end. Written piece by piece, in threads."""
    _must_be(request, FILE)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(most)
    await run(partial(folder.mkdir, parents=True, exist_ok=True))
    path = folder / f".{secrets.token_hex(8)}.part"
    size = 0
    try:
        with path.open("xb") as file:
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                await run(partial(file.write, piece))
        if not size:
            raise Problem(status=400, code="no_file", detail="the file is empty")
        yield path
    finally:
        path.unlink(missing_ok=True)


def _must_be(request: Request, wanted: str) -> None:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != wanted:
        detail = f"a body of type {wanted} is needed, not {_shown(media) or 'one of no type'}"
        raise Problem(status=415, code="wrong_content_type", detail=detail)


def _too_large(most: int) -> Problem:
    return Problem(status=413, code="too_large", detail=f"a body has at most {most} bytes")


def as_csv(page: Page[Any], columns: Sequence[str]) -> str:
    """Rows with a head. What a spreadsheet would take for a formula is led by an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for item in page.items:
        row = msgspec.to_builtins(item)
        writer.writerow([_cell(row.get(name)) for name in columns])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _shown(text: str) -> str:
    return UNPRINTABLE.sub("?", text)[:60]
