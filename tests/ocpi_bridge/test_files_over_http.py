"""Chargers fetch firmware and bring logs over real HTTP: in pieces, again after a break, and never another's."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from csms import diagnostics, firmware_images, signed_urls, stations
from csms.database import Database
from csms.diagnostics import LARGEST
from csms.journal import Wake
from csms.models import JournalEntry, RemoteRequest, Station, Upload
from ocpi_bridge.files import AT_ONCE, Uploads, file_routes
from ocpi_bridge.listener import WebServer
from ocpi_bridge.settings import load

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
KEY = signed_urls.signing_key("a key that only the tests have")
IMAGE = bytes(range(256)) * 4000
LIMIT_S = 30.0
MEGABYTE = 1024 * 1024


@dataclass
class Door:
    """The listener with its files, a client, and a clock we set."""

    database: Database
    folder: Path
    now: datetime = NOON
    url: str = ""
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=LIMIT_S))

    def image(self, name: str = "acme.bin", content: bytes = IMAGE) -> int:
        path = self.folder / name
        path.write_bytes(content)
        kept = firmware_images.keep_file(self.folder, path)
        with self.database.write() as connection:
            made_for = {"vendor": "Acme", "model": "X", "version": "2.0"}
            return firmware_images.add_image(connection, kept, **made_for, added_by="test", now=self.now)  # type: ignore[arg-type]

    def address(self, image_id: int, station_id: str = "CP1") -> str:
        with self.database.read() as connection:
            name = firmware_images.image(connection, image_id).name
        return signed_urls.firmware_url(
            self.url, KEY, image_id=image_id, name=name, station_id=station_id, expires_at=self.now + timedelta(days=1)
        )

    def place(self, station_id: str = "CP1") -> tuple[int, str]:
        """Somewhere to bring a file: its id and address."""
        with self.database.write() as connection:
            stations.provision(connection, station_id, None, self.now)
            asked = diagnostics.request_diagnostics(
                connection, station_id, requested_by="test", now=self.now, public_url=self.url
            )
            command = connection.execute(
                select(RemoteRequest.command).where(RemoteRequest.id == asked.request_id)
            ).scalar_one()
        return asked.upload_id, command["url"]

    def upload(self, upload_id: int) -> Any:
        with self.database.read() as connection:
            return diagnostics.upload(connection, upload_id)

    def kept(self, upload_id: int) -> bytes:
        path = diagnostics.file_of(self.folder, self.upload(upload_id))
        assert path is not None
        return path.read_bytes()

    def files(self) -> list[str]:
        folder = self.folder / diagnostics.FOLDER
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
async def door(database: Database, environment: Callable[..., None], tmp_path: Path) -> AsyncIterator[Door]:
    environment(HTTP_LISTEN="127.0.0.1:0", SECRET_KEY="a key that only the tests have")
    door = Door(database, tmp_path / "data")
    door.folder.mkdir()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.router.routes.extend(
        file_routes(database=database, data_dir=door.folder, key=KEY, wake=Wake(), clock=lambda: door.now)
    )
    server = WebServer(app, load().http_listen)
    await server.start()
    door.url = f"http://127.0.0.1:{server.port}"
    yield door
    await door.client.aclose()
    async with asyncio.timeout(LIMIT_S):
        await server.stop()


async def pieces(size: int, piece: int = 64 * 1024) -> AsyncIterator[bytes]:
    block = b"log line\n" * (piece // 9 + 1)
    while size > 0:
        yield block[: min(piece, size)]
        size -= piece


# ---- firmware out -----------------------------------------------------------------------------------------------------


async def test_firmware_is_served_for_a_day_and_to_whom_it_was_signed_for(door: Door) -> None:  # R06
    url = door.address(door.image())
    whole = await door.client.get(url)
    assert (whole.status_code, whole.content) == (200, IMAGE)
    assert whole.headers["etag"] == f'"{hashlib.sha256(IMAGE).hexdigest()}"'
    for changed in (
        url.replace("station=CP1", "station=CP2"),
        url.replace("/firmware/1/", "/firmware/2/"),
        re.sub(r"expires=(\d+)", lambda match: f"expires={int(match[1]) + 60}", url),
        url.partition("&signature")[0],
        url.partition("?")[0],
        url.replace("/firmware/1/", "/firmware/x/"),
    ):
        assert (await door.client.get(changed)).status_code == 403, changed
    door.now = NOON + timedelta(hours=23, minutes=59)
    assert (await door.client.get(url)).status_code == 200
    door.now = NOON + timedelta(hours=24, minutes=1)
    assert (await door.client.get(url)).status_code == 403


async def test_a_download_that_broke_off_is_resumed(door: Door) -> None:  # R06
    url = door.address(door.image())
    head = await door.client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(IMAGE)), b"")
    assert head.headers["accept-ranges"] == "bytes"
    etag, changed = head.headers["etag"], head.headers["last-modified"]
    size = len(IMAGE)
    for asked, first, end in (
        ("bytes=1000-", 1000, size),
        ("bytes=0-0", 0, 1),
        ("bytes=-500", size - 500, size),
        (f"bytes={size - 1}-{size + 5000}", size - 1, size),
    ):
        for more in ({}, {"if-range": etag}, {"if-range": changed}):
            part = await door.client.get(url, headers={"range": asked, **more})
            assert (part.status_code, part.content) == (206, IMAGE[first:end])
            assert part.headers["content-range"] == f"bytes {first}-{end - 1}/{size}"
    beyond = await door.client.get(url, headers={"range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert (await door.client.get(url, headers={"range": "bytes=5-2"})).status_code == 416
    assert (await door.client.get(url, headers={"range": "bytes=-0"})).status_code == 416
    for asked, more in (
        ("bytes=10-", {"if-range": '"another"'}),
        ("bytes=0-1,5-6", {}),
        ("lines=1-", {}),
        ("bytes=-", {}),
    ):
        again = await door.client.get(url, headers={"range": asked, **more})
        assert (again.status_code, again.content) == (200, IMAGE), asked


async def test_no_other_file_is_had_by_any_address(door: Door) -> None:
    image = door.image()
    (door.folder / "secret.txt").write_text("nobody's")
    query = door.address(image).partition("?")[2]
    for path in ("..%2fsecret.txt", "../secret.txt", "%2e%2e/secret.txt", "a/b", ""):
        answer = await door.client.get(f"{door.url}/firmware/{image}/{path}?{query}")
        assert b"nobody" not in answer.content
    _, place = door.place()
    await door.client.put(place, content=b"a log")
    for path in (place, f"{door.url}/uploads/", f"{door.url}/uploads/1", f"{door.url}/uploads/1/..%2f..%2fsecret.txt"):
        assert (await door.client.get(path)).status_code in (404, 405)


# ---- logs in ----------------------------------------------------------------------------------------------------------


async def test_a_file_comes_as_a_form_or_as_it_is(door: Door) -> None:  # R09, R10
    ways = (
        lambda url: door.client.post(url, files={"whatever": ("diag.log", b"hello", "text/plain")}),
        lambda url: door.client.put(url, files={"f": ("diag.log", b"hello")}, data={"before": "a field"}),
        lambda url: door.client.post(url, content=b"hello"),
        lambda url: door.client.put(url, content=b"hello"),
        lambda url: door.client.put(f"{url}/diag.log", content=b"hello"),
        lambda url: door.client.put(f"{url}diag.log", content=b"hello"),  # appended without a slash
        lambda url: door.client.post(f"{url}/", content=pieces(5, 2)),
    )
    for way in ways:
        upload_id, url = door.place()
        answer = await way(url)
        assert answer.status_code == 201, answer.text
        row = door.upload(upload_id)
        assert (row.state, row.size, row.received_at) == ("received", 5, NOON)
        assert row.filename in ("diag.log", None)
        assert len(door.kept(upload_id)) == 5
    assert len(door.files()) == len(ways)
    with door.database.read() as connection:
        facts = connection.execute(select(JournalEntry.subject).where(JournalEntry.type == "upload_received")).all()
    assert len(facts) == len(ways)


async def test_an_address_works_once_for_its_charger_and_for_a_day(door: Door) -> None:  # R09
    upload_id, url = door.place()
    for wrong in (url[:-1] + ("a" if url[-1] != "a" else "b"), url.replace("/1/", "/2/"), f"{door.url}/uploads/x/y"):
        assert (await door.client.put(wrong, content=b"x")).status_code == 404
    assert (await door.client.put(url, content=b"first")).status_code == 201
    assert (await door.client.put(url, content=b"second")).status_code == 410
    assert door.kept(upload_id) == b"first"
    other_id, other = door.place("CP2")
    assert (await door.client.put(url.replace(f"/{upload_id}/", f"/{other_id}/"), content=b"x")).status_code == 404
    door.now = NOON + timedelta(hours=24, minutes=1)
    assert (await door.client.put(other, content=b"late")).status_code == 403
    assert door.files() == [f"{upload_id}-file"]
    with door.database.read() as connection:
        digest = connection.execute(select(Upload.key_digest).where(Upload.id == upload_id)).scalar_one()
    assert url.rpartition("/")[2] not in digest


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..\\..\\boot.ini", "/etc/shadow", "a\x00b", "." * 200, "%2e%2e%2fx", "ü.log"]
)
async def test_a_files_name_leads_nowhere(door: Door, name: str) -> None:  # R09
    upload_id, url = door.place()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="' + name.encode() + b'"\r\n\r\nhello\r\n--b--\r\n'
    )
    answer = await door.client.post(url, content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 201
    (kept,) = door.files()
    assert re.fullmatch(rf"{upload_id}-[A-Za-z0-9._-]+", kept)
    assert door.kept(upload_id) == b"hello"
    assert [path.name for path in door.folder.iterdir()] == ["uploads"]


@pytest.mark.parametrize("way", ["form", "raw"])
@pytest.mark.parametrize("announced", [True, False])
async def test_50_megabytes_are_taken_and_a_byte_more_is_not(door: Door, way: str, announced: bool) -> None:  # R10
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="l.gz"\r\n\r\n' if way == "form" else b""
    tail = b"\r\n--b--\r\n" if way == "form" else b""

    async def body(size: int) -> AsyncIterator[bytes]:
        yield head
        async for piece in pieces(size):
            yield piece
        yield tail

    headers = {"content-type": "multipart/form-data; boundary=b" if way == "form" else "application/gzip"}
    for size, status, state in ((LARGEST, 201, "received"), (LARGEST + 1, 413, "waiting")):
        upload_id, url = door.place()
        length = {"content-length": str(len(head) + size + len(tail))} if announced else {}
        answer = await door.client.post(url, content=body(size), headers=headers | length)
        assert answer.status_code == status
        assert door.upload(upload_id).state == state
    assert [(door.folder / "uploads" / name).stat().st_size for name in door.files()] == [LARGEST]


async def test_too_large_a_file_is_refused_before_it_is_sent(door: Door) -> None:  # R10
    upload_id, url = door.place()
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    head = f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {LARGEST + 1}\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(LIMIT_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()
    assert door.upload(upload_id).state == "waiting"
    assert door.files() == []


async def test_a_large_file_goes_to_the_disk_and_not_into_memory(door: Door) -> None:  # R10
    """The client's memory counts, too: both are this process."""
    _, url = door.place()
    assert (await door.client.put(url, content=pieces(MEGABYTE))).status_code == 201  # whatever is made once
    upload_id, url = door.place()
    before = memory_now()
    form = {"content-type": "multipart/form-data; boundary=b"}

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="large.log"\r\n\r\n'
        async for piece in pieces(LARGEST):
            yield piece
        yield b"\r\n--b--\r\n"

    assert (await door.client.post(url, content=body(), headers=form)).status_code == 201
    assert memory("VmHWM") - before < 16 * MEGABYTE
    assert door.upload(upload_id).size == LARGEST


def memory_now() -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    return memory("VmRSS")


def memory(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def test_what_broke_off_leaves_nothing_and_may_come_again(door: Door) -> None:  # R09
    upload_id, url = door.place()
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    _, writer = await asyncio.open_connection(name, int(port))
    writer.write(f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n\r\n".encode() + b"x" * 50_000)
    await writer.drain()
    await until(lambda: door.upload(upload_id).state == "receiving")
    assert [file[-5:] for file in door.files()] == [".part"]
    writer.transport.abort()
    await until(lambda: door.upload(upload_id).state == "waiting")
    assert door.files() == []
    assert (await door.client.put(url, content=b"whole")).status_code == 201
    assert door.kept(upload_id) == b"whole"


async def test_a_charger_need_not_wait_for_its_own_dead_line(door: Door) -> None:  # R09
    """Its first connection hangs; it comes again over another, and the first, should it end after all, changes nothing."""
    upload_id, url = door.place()
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b" and more"

    first = asyncio.create_task(door.client.put(url, content=slow()))
    await until(lambda: door.upload(upload_id).state == "receiving")
    assert (await door.client.put(url, content=b"second")).status_code == 201
    go_on.set()
    assert (await first).status_code == 410
    assert door.kept(upload_id) == b"second"
    assert len(door.files()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\nonly a field\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="cut.log"\r\n\r\nwithout an end',
    ],
)
async def test_a_form_without_a_whole_file_is_refused_and_may_come_again(door: Door, body: bytes) -> None:  # R10
    upload_id, url = door.place()
    for content_type in ("multipart/form-data; boundary=b", "multipart/form-data"):
        answer = await door.client.post(url, content=body, headers={"content-type": content_type})
        assert answer.status_code == 400
    assert (door.upload(upload_id).state, door.files()) == ("waiting", [])


async def test_no_more_than_a_few_files_come_at_a_time(door: Door) -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"begun"
        await go_on.wait()

    places = [door.place() for _ in range(AT_ONCE)]
    running = [asyncio.create_task(door.client.put(url, content=slow())) for _, url in places]
    await until(lambda: all(door.upload(upload_id).state == "receiving" for upload_id, _ in places))
    upload_id, url = door.place()
    refused = await door.client.put(url, content=b"one too many")
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
    assert door.upload(upload_id).state == "waiting"
    go_on.set()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [201] * AT_ONCE
    assert (await door.client.put(url, content=b"now")).status_code == 201


async def test_one_charger_takes_the_room_of_no_other(door: Door) -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"begun"
        await go_on.wait()

    upload_id, url = door.place()
    running = [asyncio.create_task(door.client.put(url, content=slow())) for _ in range(2)]
    await until(lambda: len(door.files()) == 2)
    assert (await door.client.put(url, content=b"a third")).status_code == 503
    assert (await door.client.put(door.place()[1], content=b"another's")).status_code == 201
    go_on.set()
    assert sorted([answer.status_code for answer in await asyncio.gather(*running)]) == [201, 410]
    assert door.kept(upload_id) == b"begun"


async def test_a_form_whose_headers_have_no_end_is_refused(door: Door) -> None:
    upload_id, url = door.place()
    head = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="' + b"x" * 100_000 + b'"\r\n\r\nlog\r\n--b--\r\n'
    )
    answer = await door.client.post(url, content=head, headers={"content-type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, door.upload(upload_id).state, door.files()) == (400, "waiting", [])


@pytest.mark.parametrize("limits", [{"silent_after_s": 0.05}, {"ends_after_s": 0.05}])
async def test_an_upload_that_falls_silent_is_ended(
    database: Database, tmp_path: Path, limits: dict[str, float]
) -> None:
    """Straight at the application: nothing comes, and nobody hangs up."""
    door = Door(database, tmp_path)
    upload_id, url = door.place()
    uploads = Uploads(database, data_dir=tmp_path, wake=Wake(), clock=lambda: NOON, **limits)
    app = FastAPI()
    app.router.add_route("/uploads/{upload_id}/{rest:path}", uploads.bring, methods=["PUT"])
    sent: list[Any] = []

    async def receive() -> Any:
        if sent:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "PUT", "path": url, "headers": [], "query_string": b"", "root_path": ""}
    async with asyncio.timeout(LIMIT_S):
        await app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert (door.upload(upload_id).state, door.files()) == ("waiting", [])
    await door.client.aclose()
    with database.read() as connection:
        assert connection.execute(select(Station.station_id)).scalars().all() == ["CP1"]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110 - the other end of a socket has no event for us
            await asyncio.sleep(0.01)
