"""The message log: each frame a row, each request beside its answer."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from csms import message_store
from csms.bus import LoggedFrame
from csms.database import Database
from csms.message_store import Exchange, Wanted, entries_after, exchange_of, following, page, write
from csms.models import Message
from csms.retention import delete_messages
from tests.csms.month_rows import message

NOW = datetime.now(UTC).replace(microsecond=0)  # ids are of the time of writing


def frame(after_ms: float, direction: str, type_: str, id_: str, action: str = "Heartbeat", **more: Any) -> LoggedFrame:
    return LoggedFrame(
        at=NOW + timedelta(milliseconds=after_ms),
        station_id=more.pop("station", "CP1"),
        ocpp_version="1.6",
        direction=direction,
        message_type=type_,
        message_id=id_,
        action=action,
        text=f'[{id_}, "{direction} {type_}"]',
        **more,
    )


def store(database: Database, *frames: LoggedFrame) -> None:
    with database.write_log() as connection:
        write(connection, frames)


def exchanges(database: Database, **asked: Any) -> Sequence[Exchange]:
    with database.log_engine.connect() as connection:
        return page(connection, Wanted(**asked)).exchanges


def said(found: Sequence[Exchange]) -> list[tuple[str, str | None, str]]:
    return [(e.first.text, e.answer and e.answer.text, e.result) for e in found]


def test_every_frame_is_a_row_with_an_id_of_its_own_that_sorts_by_time(database: Database) -> None:
    frames = [frame(n, "in", "call", str(n)) for n in range(1000)]  # A04
    store(database, *frames[:600])
    store(database, *frames[600:])
    with database.log_engine.connect() as connection:
        rows = connection.execute(select(Message.id, Message.message_id).order_by(Message.id)).all()
    assert [row.message_id for row in rows] == [str(n) for n in range(1000)]
    assert len({row.id for row in rows}) == 1000
    assert all(0 < row.id < 2**63 for row in rows)


def test_nothing_to_write_is_no_statement(database: Database) -> None:
    store(database)
    assert exchanges(database) == []


def test_a_frame_keeps_its_text(database: Database) -> None:
    store(database, frame(0, "in", "call", "ü\u0000\U0001f50c"))
    [exchange] = exchanges(database)
    assert exchange.first.message_id == "ü\U0001f50c"  # NUL is what PostgreSQL cannot hold
    assert exchange.first.at == NOW


def test_requests_are_paired_with_their_answers_in_both_directions(database: Database) -> None:
    store(
        database,
        frame(0, "in", "call", "1"),
        frame(1, "out", "call", "1", "Reset"),  # the same id in the other direction
        frame(2, "in", "call", "1", station="CP2"),
        frame(3, "out", "result", "1", latency_ms=2.5),
        frame(9, "in", "result", "1", "Reset"),
    )
    first, second, third = exchanges(database)
    assert (first.answer and first.answer.text) == '[1, "out result"]'
    assert (first.complete, first.result, first.latency_ms) == (True, "ok", 2.5)
    assert (second.answer and second.answer.text) == '[1, "in result"]'
    assert (second.first.action, second.latency_ms) == ("Reset", 8.0)
    assert (third.complete, third.result, third.latency_ms) == (False, "waiting", None)


def test_a_call_and_its_result_are_twins_when_nothing_of_their_station_came_between(database: Database) -> None:
    store(
        database,
        frame(0, "in", "call", "1"),
        frame(1, "in", "call", "1", station="CP2"),
        frame(2, "out", "result", "1", latency_ms=2),
        frame(3, "out", "call", "9", "Reset", station="CP2"),
        frame(4, "out", "result", "1", station="CP2", latency_ms=3),
        frame(5, "in", "call", "2"),
    )
    store(database, frame(6, "out", "result", "2", latency_ms=1), frame(7, "in", "call", "3"))
    store(
        database,
        frame(8, "out", "error", "3", result="rejected"),
        frame(9, "in", "call", "4", result="malformed"),
        frame(10, "out", "result", "4"),
        frame(11, "in", "result", "9", "Reset", station="CP2"),
    )
    with database.log_engine.connect() as connection:
        frames = entries_after(connection, 0, limit=100)
        whole = {entry.id: exchange_of(connection, entry.id) for entry in frames}
    assert [entry.twin for entry in frames] == [1, -1] + 10 * [None]
    for exchange in whole.values():
        assert exchange is not None
        assert all(whole[entry.id] == exchange for entry in exchange.frames)
    of_first = [entry for entry in frames if entry.station_id == "CP1"]
    assert [entry.at for entry in of_first] == sorted(entry.at for entry in of_first)
    assert len({entry.id for entry in frames}) == 12
    call, answer = frames[:2]
    assert answer.id == call.id + 1
    assert (call.at, call.latency_ms) == (NOW, None)
    assert (answer.at, answer.latency_ms) == (NOW + timedelta(milliseconds=2), 2)
    assert (answer.direction, answer.message_type, answer.result) == ("out", "result", "ok")
    assert (answer.message_id, answer.action, answer.text) == ("1", "Heartbeat", '[1, "out result"]')
    assert [(e.first.station_id, e.first.message_id, e.result) for e in exchanges(database)] == [
        ("CP1", "1", "ok"),
        ("CP2", "1", "ok"),
        ("CP2", "9", "ok"),
        ("CP1", "2", "ok"),
        ("CP1", "3", "rejected"),
        ("CP1", "4", "ok"),
    ]
    assert [e.latency_ms for e in exchanges(database, station="CP1", message_id="2")] == [1]


def test_twins_are_found_by_their_id_once_among_those_that_are_looked_for(database: Database) -> None:
    store(database, frame(0, "in", "call", "7"))
    store(database, frame(1, "in", "call", "7"), frame(2, "out", "result", "7", latency_ms=1))
    store(database, frame(3, "in", "call", "7"))
    store(database, frame(4, "out", "result", "7", latency_ms=2))
    for asked in ({}, {"message_id": "7"}, {"message_id": "7", "station": "CP1"}, {"action": "heartbeat"}):
        assert [e.result for e in exchanges(database, **asked)] == ["waiting", "ok", "ok"]
        assert [e.latency_ms for e in exchanges(database, **asked)] == [None, 1, 2]


def test_an_id_used_again_is_paired_with_the_call_before_it(database: Database) -> None:
    store(
        database,
        frame(0, "in", "call", "7", "BootNotification"),
        frame(1, "out", "result", "7", "BootNotification", latency_ms=1),
        frame(2, "in", "call", "7", "Heartbeat"),
        frame(3, "out", "result", "7", "Heartbeat", latency_ms=3),
    )
    assert [(e.first.action, e.latency_ms) for e in exchanges(database)] == [("BootNotification", 1), ("Heartbeat", 3)]


def test_what_has_no_partner_stands_alone(database: Database) -> None:
    store(
        database,
        frame(0, "in", "unreadable", "", "", result="refused"),
        frame(1, "in", "unreadable", "-1", "", result="malformed"),
        frame(2, "out", "error", "-1", "", result="rejected"),
        frame(3, "in", "result", "99", "", result="unsolicited"),
        frame(4, "out", "call", "5", "Reset"),
        frame(5, "in", "result", "5", "Reset", result="timeout", latency_ms=30_000),
    )
    assert said(exchanges(database)) == [
        ('[, "in unreadable"]', None, "refused"),
        ('[-1, "in unreadable"]', '[-1, "out error"]', "rejected"),
        ('[99, "in result"]', None, "unsolicited"),
        ('[5, "out call"]', '[5, "in result"]', "timeout"),
    ]


def test_exchanges_are_found_by_station_action_and_time(database: Database) -> None:
    store(
        database,
        frame(0, "in", "call", "1", "Heartbeat"),
        frame(1, "in", "call", "2", "StatusNotification"),
        frame(2, "in", "call", "3", "StatusNotification", station="CP2"),
    )
    assert [e.first.message_id for e in exchanges(database, station="CP1")] == ["1", "2"]
    assert [e.first.message_id for e in exchanges(database, action="statusnotification")] == ["2", "3"]
    assert [e.first.message_id for e in exchanges(database, since=NOW + timedelta(milliseconds=2))] == ["3"]
    assert exchanges(database, action="%") == []


def test_exchanges_are_found_by_message_id_direction_text_and_error(database: Database) -> None:  # P12
    store(
        database,
        frame(0, "in", "call", "1", "Heartbeat"),
        frame(1, "out", "result", "1", "Heartbeat"),
        frame(2, "out", "call", "2", "Reset"),
        frame(3, "in", "error", "2", "Reset", result="rejected"),
        frame(4, "in", "call", "3", "StatusNotification", result="malformed"),
        frame(5, "out", "error", "3", "StatusNotification", result="rejected"),
        frame(6, "in", "call", "4", "Heartbeat"),
        frame(7, "in", "unreadable", "", "", result="refused", station="CP2"),
    )

    def ids(**asked: Any) -> list[str]:
        return [exchange.first.message_id for exchange in exchanges(database, **asked)]

    assert ids(message_id="2") == ["2"]
    assert ids(message_id="2", station="CP9") == []
    assert ids(message_id="2", action="heartbeat") == []
    assert ids(errors=True) == ["2", "3", ""]
    assert ids(errors=True, station="CP1") == ["2", "3"]
    assert ids(errors=True, direction="out") == ["2"]
    assert ids(errors=True, action="reset") == ["2"]
    assert ids(direction="out") == ids(direction="out", station="CP1") == ["2"]
    assert ids(direction="in") == ["1", "3", "4", ""]
    assert ids(text="[2, ") == ["2"]
    assert ids(text="in error") == ["2"]  # in the answer
    assert ids(until=NOW + timedelta(milliseconds=2)) == ["1", "2"]
    assert all(e.answer is not None for e in exchanges(database, message_id="3"))


def test_pages_follow_each_other_without_loss_or_double(database: Database) -> None:
    store(database, *[frame(n, *("in call" if n % 2 == 0 else "out result").split(), str(n // 2)) for n in range(40)])
    store(database, *[frame(50, "out", "error", str(n), result="rejected") for n in range(0, 20, 3)])
    for asked in ({}, {"errors": True}, {"station": "CP1"}, {"message_id": "3"}, {"text": "result"}):
        with database.log_engine.connect() as connection:
            whole = page(connection, Wanted(**asked)).exchanges
            found: list[Exchange] = []
            before = None
            while True:
                part = page(connection, Wanted(**asked), before=before, limit=3)
                found = [*part.exchanges, *found]
                before = part.more_before
                if before is None:
                    break
        assert [e.first.id for e in found] == [e.first.id for e in whole]


def test_a_page_looks_at_so_many_rows_and_says_where_to_go_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_store, "SCANNED_AT_MOST", 100)
    monkeypatch.setattr(message_store, "AT_ONCE", 50)
    store(database, *[frame(n, "in", "call", f"m{n}") for n in range(200)])
    with database.log_engine.connect() as connection:
        first = page(connection, Wanted(text="[m3,"), limit=10)
        assert (list(first.exchanges), first.more_before is not None) == ([], True)
        second = page(connection, Wanted(text="[m3,"), limit=10, before=first.more_before)
    assert [e.first.message_id for e in second.exchanges] == ["m3"]


def test_the_last_ones_or_those_after_an_id(database: Database) -> None:
    store(database, *[frame(n, "in", "call", str(n)) for n in range(10)])
    with database.log_engine.connect() as connection:
        last = page(connection, Wanted(), limit=3).exchanges
        next_ = following(connection, Wanted(), after=last[0].first.id, limit=1)
    assert [e.first.message_id for e in last] == ["7", "8", "9"]
    assert [e.first.message_id for e in next_] == ["8"]


def test_an_exchange_is_found_by_each_of_its_frames(database: Database) -> None:
    store(database, frame(0, "in", "call", "1"), frame(1, "out", "result", "1"), frame(2, "in", "call", "1"))
    with database.log_engine.connect() as connection:
        call, answer, again = connection.execute(select(Message.id).order_by(Message.id)).scalars()
        assert exchange_of(connection, call) == exchange_of(connection, answer)
        assert exchange_of(connection, again) != exchange_of(connection, call)
        assert exchange_of(connection, again + 1) is None


def test_what_is_older_than_its_time_goes_in_portions(database: Database) -> None:
    with database.write_log() as connection:
        days = [message(NOW - timedelta(days=n), n) for n in range(100)]
        connection.execute(insert(Message.__table__), days)  # type: ignore[arg-type]
        assert delete_messages(connection, 90, NOW, at_most=5) == 5
        assert delete_messages(connection, 90, NOW, at_most=5) == 4
        assert delete_messages(connection, 90, NOW) == 0
        assert connection.execute(select(func.count()).select_from(Message)).scalar() == 91
