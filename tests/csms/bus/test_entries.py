"""What crosses Redis comes out as it went in, in the stream where every process looks for it."""

from datetime import UTC, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest

from csms.bus import names
from csms.bus.durability import judge
from csms.bus.entries import (
    Asked,
    Closed,
    Duplicated,
    NotHandled,
    Opened,
    Reported,
    Seen,
    entry_from_bytes,
    entry_to_bytes,
    messages_from_bytes,
    messages_to_bytes,
    raw,
    reply_from,
)
from csms.commands import AnyCommand, Outcome, TriggerKind, TriggerMessage, answer_to
from csms.events import AnyEvent, AuthorizationReply, AuthorizationStatus, StartReply
from tests.csms.bus.words import boot, closed, end, opened, sample, start, tap
from tests.csms.core_story import NOON

SAID = [
    Reported(boot("CP1", serial_number="S-1"), "gateway-1"),
    Reported(start("CP1"), "gateway-1"),
    Reported(sample("CP1", 1500, 7), "gateway-1"),
    Reported(end("CP1", 7, 2_000_000), "gateway-1"),
    Reported(tap("CP1", "\x0004A1"), "gateway-1"),
    Opened(opened("CP1", "c1")),
    Closed(closed("CP1", "c1")),
    Duplicated("CP1", "c1", "c2"),
    Seen({"CP1": NOON}),
]


@pytest.mark.parametrize("entry", SAID, ids=lambda entry: type(entry).__name__)
def test_an_entry_comes_out_as_it_went_in(entry: Any) -> None:
    assert entry_from_bytes(entry_to_bytes(entry)) == entry


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=2)))
    [read] = [entry_from_bytes(entry_to_bytes(Reported(sample("CP1", 1, at=there), "g")))]
    assert isinstance(read, Reported)
    assert (read.event.occurred_at, read.event.occurred_at.tzinfo) == (NOON, UTC)  # type: ignore[union-attr]


def test_half_a_surrogate_pair_is_replaced_and_takes_nothing_along() -> None:
    read = entry_from_bytes(entry_to_bytes(Reported(boot("CP1", model="M\ud800"), "gateway-1")))
    assert isinstance(read, Reported)
    assert read.event == msgspec.structs.replace(read.event, model="M?", vendor="Acme", received_at=NOON)


def test_a_command_and_a_failure_come_out_as_they_went_in() -> None:
    said = [
        Asked("r1", TriggerMessage(station_id="CP1", kind=TriggerKind.BOOT), 2.5, "api-1"),
        NotHandled("e1", "out of range"),
    ]
    assert list(messages_from_bytes(messages_to_bytes(said))) == said


def test_a_reply_is_read_as_what_its_event_is_answered_by() -> None:
    reply = StartReply(
        transaction_id=7, authorization=AuthorizationReply(status=AuthorizationStatus.ACCEPTED, expires_at=NOON)
    )
    assert reply_from(raw(reply), start("CP1")) == reply


@pytest.mark.parametrize("kind", get_args(AnyEvent), ids=lambda kind: kind.__name__)
def test_every_event_names_what_answers_it(kind: Any) -> None:
    assert issubclass(kind.reply_type(), msgspec.Struct)
    assert kind.reply_type().__name__ in {"Ack"} or kind.reply_type().__name__.endswith("Reply")


@pytest.mark.parametrize("kind", get_args(AnyCommand), ids=lambda kind: kind.__name__)
def test_every_command_names_what_answers_it(kind: Any) -> None:
    answer = kind.answer_type()(outcome=Outcome.OFFLINE, detail="not connected")
    assert (answer.outcome, answer.detail) == (Outcome.OFFLINE, "not connected")
    assert type(answer).__name__.endswith("Answer")


def test_an_answer_instead_of_the_chargers_is_of_the_commands_own_kind() -> None:
    command = TriggerMessage(station_id="CP1", kind=TriggerKind.BOOT)
    assert type(answer_to(command, Outcome.TIMEOUT, "no answer")) is TriggerMessage.answer_type()


@pytest.mark.parametrize(("station_id", "stream"), [("CP1", 5), ("CP2", 15), ("BE*ABC*E1", 11), ("Ladesäule", 13)])
def test_a_station_is_in_the_same_stream_in_every_process_and_release(station_id: str, stream: int) -> None:
    assert names.stream_of(station_id) == stream


def test_stations_are_spread_over_all_streams() -> None:
    counts = [0] * names.STREAMS
    for number in range(1600):
        counts[names.stream_of(f"CP{number:05}")] += 1
    assert min(counts) > 50


DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory": "0", "maxmemory-policy": "allkeys-lru"}


@pytest.mark.parametrize(
    ("changed", "version", "told"),
    [
        ({}, "7.0.15", []),
        ({"maxmemory": "100", "maxmemory-policy": "noeviction"}, "7.2.0", []),
        ({"appendfsync": "everysec"}, "7.0.15", ["appendfsync is everysec"]),
        ({"appendfsync": "no"}, "7.0.15", ["appendfsync is no:"]),
        ({"appendonly": "no", "appendfsync": "no"}, "7.0.15", ["appendonly is not yes"]),
        ({"maxmemory": "100"}, "7.0.15", ["maxmemory-policy is not noeviction"]),
        ({}, "6.2.7", ["Redis 6.2.7 is older"]),
    ],
)
def test_what_a_redis_may_lose_is_told(changed: dict[str, str], version: str, told: list[str]) -> None:
    doubts = judge(DURABLE | changed, version=version)
    assert len(doubts) == len(told)
    assert all(doubt.startswith(begins) for doubt, begins in zip(doubts, told, strict=True))
