"""Logs that stations bring: asked for, told of, kept as long as the message log, and read by people."""

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from csms import diagnostics, firmware_images
from csms.commands import Answer, LogKind, Outcome, UploadAnswer
from csms.database import Database
from csms.diagnostics import (
    Keeper,
    Requested,
    UnknownUpload,
    UploadExpired,
    UploadUsed,
    request_diagnostics,
    stored_name,
)
from csms.events import DiagnosticsStatusReported, LogStatusReported, SecurityEventReported
from csms.gateway.redaction import redact
from csms.journal import Wake
from csms.log_text import LONGEST_LINE, Unreadable, open_text
from csms.models import Alert, JournalEntry, RemoteRequest, Station, Upload
from csms.outcomes import follow
from csms.remote import RemoteControl
from csms.requests import told as kept_command
from csms.stations import UnknownStation
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

PUBLIC = "https://charge.example.com"


def ask(story: Story, station_id: str = "CP1", **options: Any) -> Requested:
    with story.database.write() as connection:
        return request_diagnostics(
            connection, station_id, requested_by="test", now=story.now, public_url=PUBLIC, **options
        )


def command(story: Story, asked: Requested) -> Any:
    """The request as it goes to the station."""
    (row,) = story.rows(RemoteRequest, RemoteRequest.id == asked.request_id)
    return RemoteControl(story.database, send=story._send, wake=Wake(), clock=lambda: story.now)._read(
        row.id, row.command
    )


def answer(story: Story, asked: Requested, answer: Answer) -> None:
    with story.database.write() as connection:
        follow(connection, asked.request_id, command(story, asked), answer, story.now)


async def says(story: Story, status: str, request_id: int | None = None) -> None:
    if request_id is None:
        event = story._event(DiagnosticsStatusReported, "CP1", None, status=status)
    else:
        event = story._event(LogStatusReported, "CP1", None, status=status, request_id=request_id)
    await story.csms.report(event)


def upload(story: Story, asked: Requested) -> Any:
    (row,) = story.rows(Upload, Upload.id == asked.upload_id)
    return row


def brought(story: Story, asked: Requested, folder: Path, content: bytes = b"a log\n", name: str | None = None) -> None:
    path = folder / diagnostics.FOLDER / stored_name(asked.upload_id, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    kept = {"path": path.name, "filename": name, "size": len(content), "content_type": None}
    with story.database.write() as connection:
        diagnostics.received(connection, asked.upload_id, **kept, now=story.now)  # type: ignore[arg-type]


async def test_a_station_is_asked_in_the_words_it_knows(database: Database) -> None:  # R09
    async with told(database) as story:
        story.site("CP1")
        window = {"since": NOON - timedelta(hours=2), "until": NOON}
        plain = command(story, ask(story, **window))
        assert (plain.__struct_config__.tag, plain.since, plain.until) == ("get_diagnostics", *window.values())
        security = ask(story, kind=LogKind.SECURITY)
        asked = command(story, security)
        assert (asked.__struct_config__.tag, asked.request_id, asked.kind) == (
            "get_log",
            security.upload_id,
            "security",
        )
        await story.csms.report(story._event(SecurityEventReported, "CP1", None, kind="MemoryExhaustion"))
        newer = ask(story)
        assert command(story, newer).__struct_config__.tag == "get_log"
        with pytest.raises(UnknownStation):
            ask(story, "NOBODY")
        assert len(command(story, newer).url) < 100

        # It has the extension but not this request: the older one goes to the same address.
        answer(story, newer, UploadAnswer(outcome=Outcome.NOT_SUPPORTED))
        older = Requested(upload_id=newer.upload_id, request_id=upload(story, newer).remote_request_id)
        assert older.request_id != newer.request_id
        assert command(story, older).__struct_config__.tag == "get_diagnostics"
        assert command(story, older).url == command(story, newer).url
        answer(story, older, UploadAnswer(outcome=Outcome.NOT_SUPPORTED))
        assert (upload(story, older).state, upload(story, older).detail) == ("failed", "not_supported")


@pytest.mark.parametrize(
    ("given", "state", "filename"),
    [
        (UploadAnswer(outcome=Outcome.ACCEPTED, filename="diag.zip"), "waiting", "diag.zip"),
        (UploadAnswer(outcome=Outcome.ACCEPTED), "waiting", None),
        (Answer(outcome=Outcome.TIMEOUT), "waiting", None),
        (Answer(outcome=Outcome.OFFLINE), "failed", None),
        (Answer(outcome=Outcome.REJECTED), "failed", None),
    ],
)
async def test_what_an_answer_makes_of_an_upload(
    database: Database, given: Answer, state: str, filename: str | None
) -> None:  # R09
    async with told(database) as story:
        story.site("CP1")
        asked = ask(story)
        answer(story, asked, given)
        assert (upload(story, asked).state, upload(story, asked).filename) == (state, filename)


async def test_the_address_is_nowhere_but_on_its_way(database: Database) -> None:  # R09
    async with told(database) as story:
        story.site("CP1")
        asked = ask(story)
        going = command(story, asked)
        secret = going.url.rpartition("/")[2]
        row = upload(story, asked)
        assert row.key_digest == hashlib.sha256(secret.encode()).hexdigest()
        assert kept_command(going)["url"] == f"{PUBLIC}/uploads/{asked.upload_id}/[redacted]"
        for frame in (
            f'[2,"1","GetDiagnostics",{{"location":"{going.url}"}}]',
            f'[2,"1","Get{going.url}"',
            f"x {going.url}/a.log",
        ):
            assert secret not in redact(frame)
            assert f"/uploads/{asked.upload_id}/" in redact(frame)


async def test_an_address_is_of_its_upload_only(database: Database, tmp_path: Path) -> None:  # R09
    async with told(database) as story:
        story.site("CP1")
        one, other = ask(story), ask(story)
        secret, others = (command(story, asked).url.rpartition("/")[2] for asked in (one, other))
        with database.write() as connection:
            assert diagnostics.expected(connection, one.upload_id, secret, NOON).id == one.upload_id
            for id_, key in ((one.upload_id, others), (one.upload_id, ""), (99, secret)):
                with pytest.raises(UnknownUpload):
                    diagnostics.expected(connection, id_, key, NOON)
            with pytest.raises(UploadExpired):
                diagnostics.expected(connection, one.upload_id, secret, NOON + timedelta(hours=24, seconds=1))
        brought(story, one, tmp_path)
        with database.write() as connection, pytest.raises(UploadUsed):
            diagnostics.expected(connection, one.upload_id, secret, NOON)
        with pytest.raises(UploadUsed):
            brought(story, one, tmp_path)


async def test_what_a_station_tells_is_beside_the_upload(
    database: Database, tmp_path: Path
) -> None:  # R09, TC_045_2_CSMS
    async with told(database) as story:
        story.site("CP1")
        plain, security = ask(story), ask(story, kind=LogKind.SECURITY)
        await says(story, "Uploading")
        await says(story, "Uploading", security.upload_id)
        assert [row.status for row in story.rows(Upload)] == ["Uploading", "Uploading"]
        await says(story, "UploadFailed")
        await says(story, "PermissionDenied", security.upload_id)
        await says(story, "PermissionDenied", security.upload_id)
        await says(story, "BadMessage", 99)
        assert [(row.state, row.detail) for row in story.rows(Upload)] == [
            ("failed", "UploadFailed"),
            ("failed", "PermissionDenied"),
        ]
        failed = [(alert.kind, alert.subject) for alert in story.rows(Alert)]
        assert failed == [("upload_failed", str(plain.upload_id)), ("upload_failed", str(security.upload_id))]
        brought(story, plain, tmp_path)  # it tried again
        assert upload(story, plain).state == "received"
        (_, still) = story.rows(Alert)
        assert (still.subject, still.closed_at) == (str(security.upload_id), None)
        for late in ("Uploaded", "UploadFailed", "Idle"):
            await says(story, late)
        assert (upload(story, plain).state, upload(story, plain).status) == ("received", "UploadFailed")
        (station,) = story.rows(Station)
        assert station.diagnostics_status == "Idle"
        facts = [entry.type for entry in story.rows(JournalEntry)]
        assert (facts.count("diagnostics_status"), facts.count("log_status"), facts.count("upload_received")) == (
            5,
            4,
            1,
        )
        with database.read() as connection:
            listed = diagnostics.uploads(connection, "CP1")
        assert [row.id for row in listed] == [security.upload_id, plain.upload_id]


async def test_an_address_that_nobody_used_expires(database: Database, tmp_path: Path) -> None:  # R09
    async with told(database) as story:
        story.site("CP1")
        unused, used = ask(story), ask(story)
        brought(story, used, tmp_path)
        watch = Watch(database, wake=Wake(), clock=lambda: story.now)
        for hours, state in ((24, "waiting"), (1, "expired")):
            story.pass_time(hours=hours)
            watch.apply("uploads_expired")
            assert (upload(story, unused).state, upload(story, used).state) == (state, "received")
        [alert] = story.rows(Alert)
        assert (alert.kind, alert.subject) == ("upload_failed", str(unused.upload_id))


@pytest.mark.parametrize("kind", [LogKind.DIAGNOSTICS, LogKind.SECURITY])
async def test_a_file_that_was_brought_by_word_only_is_alerted(  # R09
    database: Database, tmp_path: Path, kind: LogKind
) -> None:
    async with told(database) as story:
        story.site("CP1")
        asked = ask(story, kind=kind)
        watch = Watch(database, wake=Wake(), clock=lambda: story.now)
        await says(story, "Uploaded", asked.upload_id if kind is LogKind.SECURITY else None)
        story.pass_time(minutes=4)
        watch.apply("uploads_missing")
        assert story.rows(Alert) == []
        story.pass_time(minutes=2)
        for _ in range(2):
            watch.apply("uploads_missing")
        assert (upload(story, asked).state, upload(story, asked).detail) == ("failed", diagnostics.NOTHING_CAME)
        [alert] = story.rows(Alert)
        assert (alert.kind, alert.subject, alert.closed_at) == ("upload_failed", str(asked.upload_id), None)
        brought(story, asked, tmp_path)  # later than it said
        assert story.rows(Alert)[0].closed_at is not None
        story.pass_time(hours=25)
        watch.apply("uploads_expired")
        assert upload(story, asked).state == "received"


async def test_files_are_kept_as_long_as_messages(database: Database, tmp_path: Path) -> None:
    async with told(database) as story:
        story.site("CP1")
        old, unused = ask(story), ask(story)
        brought(story, old, tmp_path)
        story.pass_time(days=80)
        young = ask(story)
        brought(story, young, tmp_path)
        folder = tmp_path / diagnostics.FOLDER
        for name, hours in ((".7-ab.part", 3), (".8-cd.part", 1)):
            (folder / name).touch()
            at = (story.now - timedelta(hours=hours)).timestamp()
            os.utime(folder / name, (at, at))
        image = tmp_path / firmware_images.FOLDER / ".image.part"
        image.parent.mkdir()
        image.touch()
        os.utime(image, (at - 7200, at - 7200))
        keeper = Keeper(database, data_dir=tmp_path, days=90, clock=lambda: story.now)
        assert keeper.sweep() == 0
        assert not image.exists()
        story.pass_time(days=10, seconds=1)
        os.utime(folder / ".8-cd.part", (story.now.timestamp(), story.now.timestamp()))
        assert keeper.sweep() == 2
        assert {one.id for one in story.rows(Upload)} == {young.upload_id} != {old.upload_id, unused.upload_id}
        assert {path.name for path in folder.iterdir()} == {f"{young.upload_id}-file", ".8-cd.part"}
        (folder / f"{young.upload_id}-file").unlink()
        assert diagnostics.file_of(tmp_path, upload(story, young)) is None
        with database.read() as connection:
            assert connection.execute(select(Upload.path)).scalar() is not None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("diag.tar.gz", "7-diag.tar.gz"),
        ("../../etc/passwd", "7-passwd"),
        ("C:\\logs\\a b.log", "7-a-b.log"),
        ("..", "7-file"),
        (None, "7-file"),
        ("\x00\n", "7-file"),
        ("x" * 300 + ".zip", "7-" + "x" * 76 + ".zip"),
    ],
)
def test_a_name_is_harmless_where_it_is_kept(given: str | None, kept: str) -> None:  # R09
    assert stored_name(7, given) == kept


# ---- reading ----------------------------------------------------------------------------------------------------------

LOG = "".join(f"12:00:{number:02} {'ERROR contactor' if number % 10 == 3 else 'ok'}\n" for number in range(60))


def packed(folder: Path, how: str) -> Path:
    path = folder / "log"
    raw = LOG.encode()
    inner = gzip.compress(raw) if how.endswith("gz in it") else raw
    if how.startswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("logs/", b"")
            archive.writestr("logs/a.log", inner)
            archive.writestr("logs/b.log", b"another\n")
    elif how.startswith("tar"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in (("logs/a.log", inner), ("logs/b.log", b"another\n")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        path.write_bytes(gzip.compress(buffer.getvalue()) if how.startswith("tar.gz") else buffer.getvalue())
    else:
        path.write_bytes(gzip.compress(raw) if how == "gz" else raw)
    return path


ARCHIVES = ("zip", "zip, gz in it", "tar", "tar.gz", "tar.gz, gz in it")


@pytest.mark.parametrize("how", ["plain", "gz", *ARCHIVES])
def test_a_log_is_read_and_searched_however_it_is_packed(tmp_path: Path, how: str) -> None:  # R11
    path = packed(tmp_path, how)
    text = open_text(path, limit=50)
    assert [line.text for line in text.lines] == LOG.splitlines()[:50]
    assert text.next_offset == 50
    rest = open_text(path, offset=50)
    assert ([line.number for line in rest.lines], rest.next_offset) == (list(range(51, 61)), None)
    first = open_text(path, search="error", limit=4)
    assert [line.number for line in first.lines] == [4, 14, 24, 34]
    assert first.next_offset is not None
    more = open_text(path, search="ERROR", offset=first.next_offset)
    assert ([line.number for line in more.lines], more.next_offset) == ([44, 54], None)
    if how in ARCHIVES:
        assert (text.members, text.member) == (["logs/a.log", "logs/b.log"], "logs/a.log")
        assert [line.text for line in open_text(path, member="logs/b.log").lines] == ["another"]
    with pytest.raises(Unreadable):
        open_text(path, member="/etc/passwd")


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04 broken", b"\x1f\x8b broken", gzip.compress(b"x" * 1000)[:20], b"PK\x05\x06" + b"\x00" * 18],
    ids=["no zip", "no gzip", "half a gzip", "an empty zip"],
)
def test_what_cannot_be_read_says_so(tmp_path: Path, content: bytes) -> None:  # R11
    (tmp_path / "log").write_bytes(content)
    with pytest.raises(Unreadable):
        open_text(tmp_path / "log")


def test_a_log_may_be_anything_and_nothing(tmp_path: Path) -> None:  # R11
    path = tmp_path / "log"
    path.write_bytes(b"")
    assert open_text(path).lines == []
    path.write_bytes(b"\xff\x00\xfe\r\n" + b"x" * (LONGEST_LINE * 3) + b"\nlast")
    lines = [line.text for line in open_text(path).lines]
    assert [len(line) for line in lines] == [3, LONGEST_LINE, 4]


@pytest.mark.parametrize("how", ["gz", "zip"])
def test_what_unpacks_without_end_is_cut(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:  # R11
    monkeypatch.setattr("csms.log_text.UNPACKED_AT_MOST", 1_000_000)
    path = tmp_path / "log"
    if how == "gz":
        path.write_bytes(gzip.compress(b"\x00" * 30_000_000))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", b"nothing\n" * 4_000_000)
    assert open_text(path, search="something").cut


def test_an_archive_of_nothing_but_names_is_not_opened(tmp_path: Path) -> None:  # R11
    path = tmp_path / "log"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(25_000):
            archive.writestr(f"{number}", b"")
    with pytest.raises(Unreadable, match="too many files"):
        open_text(path)
    path.write_bytes(b"PK\x05\x06" + b"\x00" * 18)
    with pytest.raises(Unreadable, match="empty"):
        open_text(path)
