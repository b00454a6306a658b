"""An image of firmware, an update that begins, what the station says of it, and what an operator sees."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from csms import firmware, firmware_images, signed_urls
from csms.commands import Answer, Outcome
from csms.events import FirmwareStatusReported
from csms.firmware_images import keep_file
from csms.journal import Wake, append
from csms.models import (
    Alert,
    FirmwareUpdate,
    RemoteRequest,
)
from csms.outcomes import follow
from csms.remote import RemoteControl
from csms.watch import Watch
from tests.csms.core_story import Story

KEY = signed_urls.signing_key("a key that only the tests have")
PUBLIC = "https://charge.example.com"
OLD, NEW = "1.0", "2.0"


def image(story: Story, folder: Path, *, model: str | None = "X", signed: bool = False, version: str = NEW) -> int:
    file = folder / f"acme {version}.bin"
    file.write_bytes(f"firmware {version}".encode())
    proof = {"certificate": "PEM", "signature": "c2lnbmVk"} if signed else {}
    made_for: dict[str, Any] = {"vendor": "Acme", "model": model, "version": version}
    with story.database.write() as connection:
        return firmware_images.add_image(
            connection, keep_file(folder / "data", file), **made_for, **proof, added_by="test", now=story.now
        )


def begin(story: Story, image_id: int, station_id: str = "CP1", **more: Any) -> int:
    options = {"retrieve_at": story.now, "public_url": PUBLIC, "key": KEY, "requested_by": "test", **more}
    with story.database.write() as connection:
        return firmware.update(connection, station_id, image_id, now=story.now, **options).update_id


def answer(story: Story, update_id: int, outcome: Outcome = Outcome.ACCEPTED) -> None:
    """What the service does when the station has answered."""
    with story.database.write() as connection:
        row = connection.execute(
            select(RemoteRequest.__table__)
            .join(FirmwareUpdate, FirmwareUpdate.remote_request_id == RemoteRequest.id)
            .where(FirmwareUpdate.id == update_id)
        ).one()
        command = RemoteControl(story.database, send=story._send, wake=Wake(), clock=lambda: story.now)._read(
            row.id, row.command
        )
        assert command is not None
        append(connection, follow(connection, row.id, command, Answer(outcome=outcome), story.now))


async def says(story: Story, *statuses: str, station_id: str = "CP1", request_id: int | None = None) -> None:
    for status in statuses:
        await story.csms.report(
            story._event(FirmwareStatusReported, station_id, None, status=status, request_id=request_id)
        )


def row(story: Story, update_id: int) -> Any:
    (found,) = story.rows(FirmwareUpdate, FirmwareUpdate.id == update_id)
    return found


def look(story: Story, *rules: str) -> None:
    watch = Watch(story.database, wake=Wake(), clock=lambda: story.now)
    for rule in rules or ("firmware_boots", "firmware_stuck"):
        watch.apply(rule)


def alerts(story: Story) -> list[tuple[str, str]]:
    return [
        (alert.kind, alert.subject)
        for alert in story.rows(Alert)
        if alert.closed_at is None and "firmware" in alert.kind
    ]
