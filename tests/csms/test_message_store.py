"""The message log: each frame a row, each request beside its answer."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from csms.bus import LoggedFrame
from csms.database import Database
from csms.message_store import Exchange, delete_older, paired, write
from csms.models import Message

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


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
        return paired(connection, **asked)


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


def test_the_last_ones_or_those_after_an_id(database: Database) -> None:
    store(database, *[frame(n, "in", "call", str(n)) for n in range(10)])
    last = exchanges(database, limit=3)
    assert [e.first.message_id for e in last] == ["7", "8", "9"]
    following = exchanges(database, after_id=last[0].first.id, limit=1)
    assert [e.first.message_id for e in following] == ["8"]


def test_what_is_older_than_its_time_goes_in_portions(database: Database) -> None:
    store(database, *[frame(-n * 86_400_000, "in", "call", str(n)) for n in range(100)])
    with database.write_log() as connection:
        assert delete_older(connection, 90, NOW, at_most=5) == 5
        assert delete_older(connection, 90, NOW, at_most=5) == 4
        assert delete_older(connection, 90, NOW) == 0
        assert connection.execute(select(func.count()).select_from(Message)).scalar() == 91
