"""What no charger should send is stored alike by COPY on PostgreSQL and by INSERTs on SQLite, and stops nobody's batch."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, delete, insert, select

from csms.bulk import insert_rows
from csms.bus import LoggedFrame
from csms.database import Database
from csms.events import MeterSample, MeterSampled, SampledValue
from csms.message_store import write
from csms.models import Message, MeterSampleRow
from tests.csms.core_story import Story, told
from tests.csms.month_rows import sample

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SAMPLES: Table = MeterSampleRow.__table__  # type: ignore[assignment]
TEXTS = [
    "",
    "\\N",
    "\\.",
    "a\tb\nc\r\\",
    "\x00",
    "\x0004A1",
    "ü🔌\ufeff\u202e",
    "\ud800",
    "x\udfff\x00y",
    '"{},NULL',
    "N" * 70_000,
]


def test_a_copy_holds_what_an_insert_would(database: Database) -> None:
    rows = [
        sample(NOW + timedelta(microseconds=number), f"{number}", raw=text, samples=text, energy_mwh=energy)
        for number, (text, energy) in enumerate(zip(TEXTS, (None, 0, -1, 2**63 - 1, -(2**63), *range(6)), strict=True))
    ]
    with database.write() as connection:
        insert_rows(connection, SAMPLES, rows)
        copied = [dict(row._mapping) for row in connection.execute(select(SAMPLES).order_by(SAMPLES.c.received_at))]
        connection.execute(delete(SAMPLES))
        connection.execute(insert(SAMPLES), rows)
        inserted = [dict(row._mapping) for row in connection.execute(select(SAMPLES).order_by(SAMPLES.c.received_at))]
    assert copied == inserted
    assert [row["raw"] for row in copied][3:7] == ["a\tb\nc\r\\", "", "04A1", "ü🔌\ufeff\u202e"]


@pytest.mark.parametrize("latency", [None, 0.0, 1e-300, math.inf])
def test_a_frame_of_any_text_is_logged(database: Database, latency: float | None) -> None:
    frames = [
        LoggedFrame(
            station_id="CP1",
            ocpp_version="1.6",
            direction="in",
            message_type="call",
            message_id=text[:36],
            action=text[:50],
            result="ok",
            latency_ms=latency,
            text=text,
            at=NOW,
        )
        for text in TEXTS
        if "\ud800" not in text and "\udfff" not in text  # frames are UTF-8
    ]
    with database.write_log() as connection:
        write(connection, frames)
        kept = connection.execute(select(Message.text).order_by(Message.id)).scalars().all()
    assert kept == [frame.text.replace("\x00", "") for frame in frames]


@pytest.mark.parametrize("power", ["11000000000", "999999999999", "1e9", "NaN", "Infinity", "-5", "0x10", "1e400"])
async def test_a_sample_of_any_power_is_stored_and_moves_its_session(database: Database, power: str) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.start()
        number = story.transaction().number
        story.pass_time(minutes=1)
        await story.csms.report(odd(story, number, power))
        assert len(story.rows(MeterSampleRow)) == 1
        assert story.transaction().meter_last_mwh == 2_000_000


def odd(story: Story, number: Any, power: str) -> Any:
    values = (
        SampledValue(value="2000", unit="Wh"),
        SampledValue(value=power, unit="W", measurand="Power.Active.Import"),
    )
    return story._event(
        MeterSampled,
        "CP1",
        story.now,
        evse=1,
        transaction_ref=str(number),
        samples=(MeterSample(occurred_at=story.now, values=values),),
    )
