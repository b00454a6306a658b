"""Chargers fetch firmware and bring their logs here, each by an address of its own; no other file can be had or made."""

import asyncio
import os
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote

import structlog
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from csms import diagnostics, firmware_images, signed_urls
from csms.database import Database
from csms.diagnostics import LARGEST, SECRET_LENGTH, UnknownUpload, UploadExpired, UploadUsed, stored_name
from csms.firmware_images import UnknownImage
from csms.journal import Wake

log = structlog.get_logger(__name__)

CHUNK: Final = 256 * 1024
AT_ONCE: Final = 8  # uploads
RETRY_AFTER_S: Final = 30
ENVELOPE: Final = 64 * 1024  # what multipart/form-data may add to the file
OF_ONE: Final = 2  # uploads to one address: a station whose line broke unnoticed comes again at once
LONGEST_HEADER: Final = 8 * 1024  # bytes, of all headers of a part of a form
LONGEST_NAME: Final = 255  # characters that are kept of a file's name
SILENT_AFTER_S: Final = 60.0  # an upload of which nothing comes
ENDS_AFTER_S: Final = 2 * 3600.0  # 50 MB at 7 kB/s
DRAINED: Final = 64 * 1024 * 1024  # read and thrown away, so that a refusal reaches who is still sending
DRAIN_WITHIN_S: Final = 10.0

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_NUMBER = re.compile(r"[0-9]{1,18}")


def file_routes(
    *, database: Database, data_dir: Path, key: bytes, wake: Wake, clock: Callable[[], datetime]
) -> Sequence[BaseRoute]:
    """/firmware/... and /uploads/..., for the one HTTP listener."""
    images = Firmware(database, data_dir=data_dir, key=key, clock=clock)
    uploads = Uploads(database, data_dir=data_dir, wake=wake, clock=clock)
    return [
        Route("/firmware/{image_id}/{name}", images.fetch, methods=["GET", "HEAD"]),
        Route("/uploads/{upload_id}/{rest:path}", uploads.bring, methods=["POST", "PUT"]),
    ]


# ---- firmware -------------------------------------------------------------------------------------------------------


class Firmware:
    def __init__(self, database: Database, *, data_dir: Path, key: bytes, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._folder = data_dir / firmware_images.FOLDER
        self._key = key
        self._clock = clock

    async def fetch(self, request: Request) -> Response:
        """R06: whole or from where a transfer broke off. Who has no signed address learns nothing of what is here."""
        image_id = _number(request.path_params["image_id"])
        if image_id is None or not self._opens(request, image_id):
            return PlainTextResponse("this address is not valid, or not any more\n", status_code=403)
        try:
            name, digest = await asyncio.to_thread(self._image, image_id)
            file = await asyncio.to_thread((self._folder / name).open, "rb")
        except (UnknownImage, FileNotFoundError):
            log.error("firmware_missing", image=image_id)
            return PlainTextResponse("the file is gone\n", status_code=404)
        return _answer(request, file, f'"{digest}"')

    def _opens(self, request: Request, image_id: int) -> bool:
        query = request.query_params
        expires = _number(query.get("expires", ""))
        return expires is not None and signed_urls.opens(
            self._key,
            image_id=image_id,
            station_id=query.get("station", ""),
            expires=expires,
            signature=query.get("signature", ""),
            now=self._clock(),
        )

    def _image(self, image_id: int) -> tuple[str, str]:
        with self._database.read() as connection:
            found = firmware_images.image(connection, image_id)
        return found.name, found.sha256


def _answer(request: Request, file: IO[bytes], etag: str) -> Response:
    """RFC 9110 section 14, for one range; several, or what cannot be read, are answered with the whole, as it allows."""
    known = os.fstat(file.fileno())
    size = known.st_size
    changed = format_datetime(datetime.fromtimestamp(int(known.st_mtime), UTC), usegmt=True)
    headers = {"accept-ranges": "bytes", "etag": etag, "last-modified": changed, "cache-control": "private, no-store"}
    status, first, end = 200, 0, size
    match = _ONE_RANGE.fullmatch(request.headers.get("range", "").strip())
    if match and match[0] != "bytes=-" and request.headers.get("if-range", etag) in (etag, changed):
        status, first, end = 206, *_bounds(match[1], match[2], size)
        if first >= end:
            file.close()
            return PlainTextResponse("", status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
        headers["content-range"] = f"bytes {first}-{end - 1}/{size}"
    headers["content-length"] = str(end - first)
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    body = _pieces(file, first, end)
    return StreamingResponse(body, status_code=status, headers=headers, media_type="application/octet-stream")


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size if int(last) else 0
    return int(first), min(int(last) + 1, size) if last else size


async def _pieces(file: IO[bytes], first: int, end: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(first)
        while first < end and (piece := await asyncio.to_thread(file.read, min(CHUNK, end - first))):
            first += len(piece)
            yield piece


# ---- uploads --------------------------------------------------------------------------------------------------------


class TooLarge(Exception):
    """The file has more than LARGEST bytes."""


class NoFile(Exception):
    """The form is broken, or has no file in it."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came: `filename` as the station wrote it."""

    size: int
    filename: str | None
    content_type: str | None


class Uploads:
    """Takes at most AT_ONCE files at a time, each piece by piece to the disk (R10)."""

    def __init__(
        self,
        database: Database,
        *,
        data_dir: Path,
        wake: Wake,
        clock: Callable[[], datetime],
        at_once: int = AT_ONCE,
        silent_after_s: float = SILENT_AFTER_S,
        ends_after_s: float = ENDS_AFTER_S,
    ) -> None:
        self._database = database
        self._folder = data_dir / diagnostics.FOLDER
        self._wake = wake
        self._clock = clock
        self._room = at_once
        self._coming: Counter[int] = Counter()
        self._silent_after_s = silent_after_s
        self._ends_after_s = ends_after_s

    async def bring(self, request: Request) -> Response:
        """R09: the one file that this address is for, as a form, or as it is, by POST or PUT. Stations append the name of
        the file to the address, with a slash or without."""
        upload_id = _number(request.path_params["upload_id"])
        secret, appended = _split(request.path_params["rest"])
        try:
            if upload_id is None:
                raise UnknownUpload
            named = await asyncio.to_thread(self._expected, upload_id, secret)
        except UnknownUpload:
            return Refusal(404, "there is no such address")
        except UploadUsed:
            return Refusal(410, "the file is here already: this address works once")
        except UploadExpired:
            return Refusal(403, "this address has expired")
        if _announced(request) > LARGEST + (ENVELOPE if _form(request) else 0):
            return Refusal(413, f"a file has at most {LARGEST} bytes")
        if self._room <= 0 or self._coming[upload_id] >= OF_ONE:
            return Refusal(503, "too many uploads at this moment", {"retry-after": str(RETRY_AFTER_S)})
        self._room -= 1
        self._coming[upload_id] += 1
        try:
            return await self._take(request, upload_id, appended, named)
        finally:
            self._room += 1
            self._coming[upload_id] -= 1
            self._coming += Counter()  # forgets those that are at nothing

    def _expected(self, upload_id: int, secret: str) -> str | None:
        """The name that the station said the file will have."""
        with self._database.read() as connection:
            found = diagnostics.expected(connection, upload_id, secret, self._clock())
        named: str | None = found.filename
        return named

    async def _take(self, request: Request, upload_id: int, appended: str | None, named: str | None) -> Response:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{upload_id}-{secrets.token_hex(4)}.part"
        stored = False
        await asyncio.to_thread(self._say, diagnostics.receiving, upload_id)
        try:
            with part.open("xb") as file:
                taken = await self._write(request, file)
                await asyncio.to_thread(_flush, file)
            name = taken.filename or appended or named
            await asyncio.to_thread(self._store, part, upload_id, name, taken)
            stored = True
        except UploadUsed:
            return Refusal(410, "the file is here already: this address works once")
        except TooLarge:
            return Refusal(413, f"a file has at most {LARGEST} bytes")
        except NoFile as error:
            return Refusal(400, str(error))
        except (ClientDisconnect, TimeoutError):
            log.warning("upload_broke_off", upload=upload_id)
            return Refusal(408, "the file did not come to its end")
        except OSError as error:
            log.error("upload_not_written", upload=upload_id, error=str(error.strerror))
            return Refusal(507, "the file cannot be kept now")
        finally:
            part.unlink(missing_ok=True)
            if not stored:
                await asyncio.shield(asyncio.to_thread(self._say, diagnostics.broken, upload_id))
        self._wake()
        return PlainTextResponse("received\n", status_code=201)

    def _say(self, what: Callable[..., None], upload_id: int) -> None:
        with self._database.write() as connection:
            what(connection, upload_id)

    async def _write(self, request: Request, file: IO[bytes]) -> Taken:
        sink = _Form(file, request.headers["content-type"]) if _form(request) else _Body(file, request)
        pieces = request.stream()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._ends_after_s
        while True:
            async with asyncio.timeout_at(min(ends_at, loop.time() + self._silent_after_s)):
                piece = await anext(pieces, None)
            if piece is None:
                return sink.end()
            if piece:
                await asyncio.to_thread(sink.write, piece)

    def _store(self, part: Path, upload_id: int, filename: str | None, taken: Taken) -> None:
        """The file is complete under its name before anybody is told of it; who comes second changes nothing."""
        name = stored_name(upload_id, filename)
        shown = None if filename is None else re.split(r"[/\\]", filename)[-1][-LONGEST_NAME:]
        with self._database.write() as connection:
            diagnostics.received(
                connection,
                upload_id,
                path=name,
                filename=shown,
                size=taken.size,
                content_type=taken.content_type,
                now=self._clock(),
            )
            part.replace(self._folder / name)


class _Body:
    """The file is the body itself."""

    def __init__(self, file: IO[bytes], request: Request) -> None:
        self._file = file
        self._size = 0
        self._type = request.headers.get("content-type")
        _, options = parse_options_header(request.headers.get("content-disposition"))
        self._filename = _text(options.get(b"filename"))

    def write(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > LARGEST:
            raise TooLarge
        self._file.write(piece)

    def end(self) -> Taken:
        return Taken(size=self._size, filename=self._filename, content_type=self._type)


class _Form:
    """The file is the first part of a form that is one, whatever its field is called; all others are passed over."""

    def __init__(self, file: IO[bytes], content_type: str) -> None:
        self._file = file
        self._size = 0
        self._total = 0
        self._told = 0  # bytes of the headers of this part
        self._field = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._taking = False
        self._taken: Taken | None = None
        self._ended = False
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise NoFile("the form names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_ends,
                    "on_end": self._form_ends,
                },
            )
        except FormParserError as error:
            raise NoFile(f"the form cannot be read: {error}") from None

    def write(self, piece: bytes) -> None:
        self._total += len(piece)
        if self._total > LARGEST + ENVELOPE:
            raise TooLarge
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise NoFile(f"the form cannot be read: {error}") from None

    def end(self) -> Taken:
        if not self._ended:
            raise NoFile("the form does not come to its end")
        if self._taken is None:
            raise NoFile("the form has no file in it")
        return self._taken

    def _part_begins(self) -> None:
        self._headers = {}
        self._told = 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._tells(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._tells(end - start)
        self._value += data[start:end]

    def _tells(self, size: int) -> None:
        self._told += size
        if self._told > LONGEST_HEADER:
            raise NoFile("a part of the form begins with more than a file's name")

    def _header_ends(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        is_file = b"filename" in options or b"content-type" in self._headers
        self._taking = is_file and self._taken is None
        if self._taking:
            self._filename = _text(options.get(b"filename"))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._taking:
            self._size += end - start
            if self._size > LARGEST:
                raise TooLarge
            self._file.write(data[start:end])

    def _part_ends(self) -> None:
        if self._taking:
            content_type = _text(self._headers.get(b"content-type"))
            self._taken = Taken(size=self._size, filename=self._filename, content_type=content_type)
            self._taking = False

    def _form_ends(self) -> None:
        self._ended = True


class Refusal(Response):
    """A no that also reaches a charger which is still sending: what it sends is read for a moment, and thrown away."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{why}\n", status, {**(headers or {}), "connection": "close"}, "text/plain")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        expects = any(name == b"expect" for name, _ in scope["headers"])
        if not expects:  # who asked beforehand sends nothing now
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_WITHIN_S):
                    await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    drained = 0
    while drained < DRAINED:
        message: Any = await receive()
        drained += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def _split(rest: str) -> tuple[str, str | None]:
    """The secret, and the name of a file that a station appended."""
    appended = rest[SECRET_LENGTH:].strip("/")
    return rest[:SECRET_LENGTH], unquote(appended) or None


def _form(request: Request) -> bool:
    return request.headers.get("content-type", "").strip().lower().startswith("multipart/form-data")


def _announced(request: Request) -> int:
    return _number(request.headers.get("content-length", "")) or 0


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _text(raw: bytes | None) -> str | None:
    return raw.decode("utf-8", "replace") if raw else None


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
