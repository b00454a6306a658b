"""Old rows go, a little at a time, and never those that a bill still needs."""

from datetime import timedelta

from sqlalchemy import insert, select

from csms import message_store
from csms.bus import LoggedFrame
from csms.database import Database
from csms.models import Message, MeterSampleRow, Review
from csms.retention import Retention, delete_samples
from tests.csms.core_story import NOON, told


async def test_samples_of_running_and_disputed_transactions_outlive_their_age(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2", "CP3")
        for number, station in enumerate(("CP1", "CP2", "CP3")):
            story.card(f"CARD{number}")
            started = await story.start(f"CARD{number}", station_id=station)
            await story.sample(started.transaction_id, 1100, station_id=station)
            if station != "CP1":
                await story.end(started.transaction_id, 1_100_000, station_id=station)
        disputed = next(row for row in story.transactions() if row.station_id == "CP3")
        with database.write() as connection:
            connection.execute(
                insert(Review).values(transaction_id=disputed.id, reasons=["x"], state="open", opened_at=NOON)
            )
        with database.write() as connection:
            assert delete_samples(connection, 400, NOON + timedelta(days=400)) == 0
            assert delete_samples(connection, 400, NOON + timedelta(days=401)) == 1
        assert {row.station_id for row in story.rows(MeterSampleRow)} == {"CP1", "CP3"}


def test_messages_go_after_their_days(database: Database) -> None:
    def frame(days: int) -> LoggedFrame:
        at = NOON - timedelta(days=days)
        return LoggedFrame(at=at, station_id=f"{days}", ocpp_version="1.6", direction="in", message_type="call")

    with database.write_log() as connection:
        message_store.write(connection, [frame(days) for days in (1, 89, 91, 400)])
    retention = Retention(database, message_days=90, sample_days=400, clock=lambda: NOON)
    assert retention.trim_messages() is False
    with database.write_log() as connection:
        assert sorted(connection.execute(select(Message.station_id)).scalars()) == ["1", "89"]
