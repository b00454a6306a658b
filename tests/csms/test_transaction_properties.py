"""No order, repetition or delay of what chargers say makes a doubled transaction, a negative amount, or a card used twice."""

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from csms.database import Database
from csms.journal import Wake
from csms.models import AuthorizationDecision, Base, JournalEntry, LogBase, MeterSampleRow, Tap, Transaction
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

CARDS = ["ONE", "two", "\x00ONE", "NOBODY"]
TWO = st.integers(1, 2)
CLAIMS = [0, 1, 5, 30, -5, -700, -4_000_000]  # minutes after what it claims it was sent

saying = st.one_of(
    st.tuples(st.just("tap"), st.sampled_from(CARDS), TWO),
    st.tuples(
        st.just("start"),
        st.sampled_from(CARDS),
        st.integers(1, 2),
        st.integers(1, 2),
        st.integers(0, 3),
        st.sampled_from(CLAIMS),
    ),
    st.tuples(st.just("sample"), st.integers(-1, 4), TWO, st.integers(0, 9), st.sampled_from(CLAIMS)),
    st.tuples(st.just("end"), st.integers(-1, 4), TWO, st.integers(0, 9), st.sampled_from(CLAIMS)),
    st.tuples(st.just("boot"), TWO),
    st.tuples(st.just("wait"), st.sampled_from([1, 11, 60, 800])),
)
stories = st.lists(st.one_of(saying, st.tuples(st.just("again"), st.integers(0, 30))), min_size=1, max_size=25)


async def say(story: Story, word: tuple[Any, ...]) -> None:
    kind, *said = word
    if kind == "tap":
        card, station = said
        await story.tap(card, station_id=f"CP{station}")
    elif kind == "start":
        card, station, evse, meter, claim = said
        at = NOON + timedelta(minutes=claim)
        await story.start(card, station_id=f"CP{station}", evse=evse, meter=meter * 1_000_000, at=at)
    elif kind == "sample":
        number, station, kwh, claim = said
        at = NOON + timedelta(minutes=claim)
        await story.sample(number, kwh * 1000, station_id=f"CP{station}", at=at)
    elif kind == "end":
        number, station, kwh, claim = said
        at = NOON + timedelta(minutes=claim)
        await story.end(number, kwh * 1_000_000, station_id=f"CP{station}", at=at)
    elif kind == "boot":
        await story.boot(f"CP{said[0]}")
    else:
        story.pass_time(minutes=said[0])
        watch = Watch(story.database, wake=Wake(), clock=lambda: story.now)
        for rule in ("silent_transactions", "never_stopped", "forgotten_taps"):
            watch.apply(rule)


def check(story: Story) -> None:
    rows = story.transactions()
    for row in rows:
        assert row.energy_mwh >= 0
        assert (row.ended_at is None) == (row.state != "ended")
        assert row.ended_at is None or row.ended_at >= row.started_at
    active = Counter(row.token_id for row in rows if row.state == "active")
    assert set(active.values()) <= {1}
    evses = Counter((row.station_id, row.evse) for row in rows if row.state == "active" and not row.flags)
    assert set(evses.values()) <= {1}
    keys = Counter((row.station_id, row.dedup_key, row.dedup_epoch) for row in rows)
    assert set(keys.values()) <= {1}
    numbers = Counter(row.number for row in rows)
    assert set(numbers.values()) <= {1}
    once = ("transaction_started", "transaction_ended", "transaction_orphaned", "transaction_refused")
    facts = Counter((e.type, e.subject) for e in story.rows(JournalEntry) if e.type in once)
    assert set(facts.values()) <= {1}
    known = {row.id: row for row in rows}
    for type_, subject in facts:
        assert type_ != "transaction_ended" or known[subject].state == "ended"
    ended = {row.id for row in rows if row.state == "ended"}
    assert ended == {subject for (type_, subject) in facts if type_ == "transaction_ended"}


def forget(database: Database) -> None:
    with database.write() as connection:
        for model in (MeterSampleRow, AuthorizationDecision, JournalEntry, Tap, Transaction):
            connection.execute(delete(model))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=stories)
def test_whatever_chargers_say_and_repeat_the_books_are_sound(
    sqlite_url: str, words: list[Any]
) -> None:  # E03, E09, D06
    asyncio.run(_tell(sqlite_url, words, at_once=False))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=stories)
def test_said_all_at_once_the_books_are_sound_too(sqlite_url: str, words: list[Any]) -> None:  # E03, D06, A13
    asyncio.run(_tell(sqlite_url, words, at_once=True))


async def _tell(url: str, words: list[Any], *, at_once: bool) -> None:
    database = _prepared(url)
    said: list[Any] = []
    async with told(database) as story:
        waiting = []
        for word in words:
            if word[0] == "again":
                if not said:
                    continue
                word = said[word[1] % len(said)]
            elif word[0] != "wait":
                said.append(word)
            if at_once and word[0] != "wait":
                waiting.append(say(story, word))
            else:
                await say(story, word)
        await asyncio.gather(*waiting)
        check(story)
    forget(database)
    database.dispose()


def _prepared(url: str) -> Database:
    new = not Path(url.removeprefix("sqlite:///")).exists()
    database = Database(url)
    if new:
        Base.metadata.create_all(database.engine)
        LogBase.metadata.create_all(database.log_engine)
        story = Story(database)
        story.site("CP1", "CP2")
        story.card("ONE")
        story.card("TWO")
    return database
