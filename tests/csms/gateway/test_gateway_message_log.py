import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from csms.bus import LoggedFrame
from csms.gateway.message_log import MessageLogWriter

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def row(number: int) -> LoggedFrame:
    return LoggedFrame(
        at=NOW, station_id="CP1", ocpp_version="1.6", direction="in", message_type="call", message_id=str(number)
    )


class Table:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self.refuses = False

    def __call__(self, rows: Sequence[LoggedFrame]) -> None:
        if self.refuses:
            raise OSError("disk full")
        self.threads.add(threading.get_ident())
        self.batches.append([row.message_id for row in rows])

    @property
    def ids(self) -> list[str]:
        return [message_id for batch in self.batches for message_id in batch]


async def test_a_thousand_frames_are_a_thousand_rows_in_their_order() -> None:  # A04
    table = Table()
    writer = MessageLogWriter(table, batch_size=300, interval_s=0.01)
    for number in range(1000):
        writer.record(row(number))
    await writer.flush()
    assert table.ids == [str(number) for number in range(1000)]
    assert [len(batch) for batch in table.batches] == [300, 300, 300, 100]
    assert threading.get_ident() not in table.threads


async def test_what_is_left_when_it_stops_is_written() -> None:
    table = Table()
    writer = MessageLogWriter(table, interval_s=60)
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    writer.record(row(1))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert table.ids == ["1"]


async def test_a_stop_in_the_middle_of_a_batch_loses_and_doubles_nothing() -> None:
    begun, go_on = threading.Event(), threading.Event()
    written: list[str] = []

    def slow(rows: Sequence[LoggedFrame]) -> None:
        begun.set()
        go_on.wait(5)
        written.extend(row.message_id for row in rows)

    writer = MessageLogWriter(slow, batch_size=1, interval_s=0)
    writer.record(row(1))
    writer.record(row(2))
    running = asyncio.create_task(writer.run())
    await asyncio.to_thread(begun.wait, 5)
    running.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert written == ["1", "2"]


async def test_when_the_table_cannot_follow_the_oldest_rows_give_way_and_are_counted() -> None:
    table = Table()
    writer = MessageLogWriter(table, capacity=3)
    for number in range(5):
        writer.record(row(number))
    await writer.flush()
    assert table.ids == ["2", "3", "4"]
    assert (writer.dropped, writer.written) == (2, 3)


async def test_a_batch_that_the_table_refuses_does_not_stop_the_log() -> None:
    table = Table()
    writer = MessageLogWriter(table)
    table.refuses = True
    writer.record(row(1))
    await writer.flush()
    table.refuses = False
    writer.record(row(2))
    await writer.flush()
    assert table.ids == ["2"]
    assert writer.dropped == 1
