"""The journal: in order, exactly once, nothing skipped, and no fact that stops its reader."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, exists, insert, select, text, update
from structlog.testing import capture_logs

from csms import journal
from csms.database import Database
from csms.events import SCHEMA_VERSION
from csms.journal import Fact, FactType, Recorded, Subscriber, Wake, append
from csms.journal_lag import facts_behind, seconds_behind
from csms.models import DeadLetter, JournalEntry, Station

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def fact(subject: str, **data: Any) -> Fact:
    return Fact(
        type=FactType.STATION_BOOTED, subject=subject, station_id="CP1", event_id="e", ocpp_version="1.6", data=data
    )


def tell(database: Database, *subjects: str) -> None:
    with database.write() as connection:
        append(connection, [fact(subject) for subject in subjects], now=NOW)


def reader(
    database: Database, handle: Callable[[Connection, Sequence[Recorded]], None], *, name: str = "reader", **more: Any
) -> Subscriber:
    return Subscriber(name, database, handle, wake=Wake(), **more)


class Seen:
    """A handler that remembers what it was given, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, _: Connection, facts: Sequence[Recorded]) -> None:
        self.batches.append([recorded.subject for recorded in facts])

    @property
    def subjects(self) -> list[str]:
        return [subject for batch in self.batches for subject in batch]


def drain(subscriber: Subscriber) -> None:
    while subscriber.catch_up():
        pass


def dead(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        return [(row.subscriber, row.reason) for row in connection.execute(select(DeadLetter.__table__))]


def test_facts_are_read_once_in_order_in_batches(database: Database) -> None:
    tell(database, *"abcde")
    seen = Seen()
    subscriber = reader(database, seen, batch=2)
    drain(subscriber)
    assert seen.batches == [["a", "b"], ["c", "d"], ["e"]]
    assert subscriber.catch_up() == 0
    tell(database, "f")
    drain(reader(database, seen))  # another process with the same name goes on where this one was
    assert seen.subjects == [*"abcdef"]


def test_a_fact_is_read_as_it_was_written(database: Database) -> None:
    with database.write() as connection:  # A11
        append(connection, [fact("CP1", reason="ü\x00", n=[1, None])], now=NOW)
    found: list[Recorded] = []
    drain(reader(database, lambda _, facts: found.extend(facts)))
    [recorded] = found
    assert (recorded.type, recorded.subject, recorded.station_id) == ("station_booted", "CP1", "CP1")
    assert (recorded.event_id, recorded.ocpp_version, recorded.schema_version) == ("e", "1.6", SCHEMA_VERSION)
    assert (recorded.recorded_at, recorded.data) == (NOW, {"reason": "ü\x00", "n": [1, None]})


def test_a_fact_of_a_transaction_that_failed_was_never_true(database: Database) -> None:
    def fails() -> None:
        with database.write() as connection:
            append(connection, [fact("never")])
            raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError):
        fails()
    tell(database, "true")
    seen = Seen()
    drain(reader(database, seen))
    assert seen.subjects == ["true"]


def test_each_subscriber_reads_at_its_own_pace(database: Database) -> None:
    tell(database, *"ab")
    quick, slow = Seen(), Seen()
    drain(reader(database, quick, name="quick"))
    tell(database, "c")
    drain(reader(database, slow, name="slow"))
    assert (quick.subjects, slow.subjects) == ([*"ab"], [*"abc"])
    with database.read() as connection:
        assert facts_behind(connection) == {"quick": 1, "slow": 0}


def test_how_long_the_next_fact_of_a_reader_waits_is_told(database: Database) -> None:  # P08
    tell(database, "a")
    drain(reader(database, Seen(), name="quick"))
    drain(reader(database, Seen(), name="slow"))
    with database.write() as connection:
        append(connection, [fact("b")], now=NOW + timedelta(seconds=10))
        append(connection, [fact("c")], now=NOW + timedelta(seconds=50))
    drain(reader(database, Seen(), name="quick"))
    with database.read() as connection:
        assert facts_behind(connection) == {"quick": 0, "slow": 2}
        assert seconds_behind(connection, NOW + timedelta(seconds=60)) == {"quick": 0.0, "slow": 50.0}
        assert seconds_behind(connection, NOW) == {"quick": 0.0, "slow": 0.0}  # a clock that was set back


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_transaction_left_open_is_seen_in_the_lag_of_all(database: Database) -> None:  # P08
    """The lower id commits last: by ids alone nobody would be behind."""
    seen = Seen()
    subscriber = reader(database, seen)
    tell(database, "passed")
    drain(subscriber)
    with database.engine.connect() as slow, slow.begin():
        append(slow, [fact("first, committed last")], now=NOW)
        tell(database, "second, committed first")
        drain(subscriber)
        with database.read() as connection:
            assert facts_behind(connection) == {"reader": 1}
            assert seconds_behind(connection, NOW + timedelta(minutes=5)) == {"reader": 300.0}
    drain(subscriber)
    assert seen.subjects == ["passed", "first, committed last", "second, committed first"]
    with database.read() as connection:
        assert facts_behind(connection) == {"reader": 0}


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_commits_in_any_order_are_each_read_once(database: Database) -> None:
    """Eight writers, each of whose transactions stays open for a while that has nothing to do with its ids."""
    seen = Seen()
    subscriber = reader(database, seen, batch=7)

    def write(number: int) -> None:
        with database.write() as connection:
            append(connection, [fact(f"{number}-1")], now=NOW)
            connection.execute(text("SELECT pg_sleep(:s)"), {"s": (number * 7 % 8) / 100})
            append(connection, [fact(f"{number}-2")], now=NOW)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
    for portion in (threads[n : n + 8] for n in range(0, 40, 8)):
        for thread in portion:
            thread.start()
        drain(subscriber)
    for thread in threads:
        thread.join(30)
    drain(subscriber)
    assert sorted(seen.subjects) == sorted(f"{number}-{part}" for number in range(40) for part in (1, 2))
    for number in range(40):
        assert seen.subjects.index(f"{number}-1") + 1 == seen.subjects.index(f"{number}-2")


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_forgotten_transaction_is_ended_by_the_server(database: Database) -> None:
    """What would stall every reader: our connections say how long they may be idle in a transaction."""
    with database.read() as connection:
        limit = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert limit == "1min"


def test_a_subscriber_of_some_types_passes_the_others_by(database: Database) -> None:
    with database.write() as connection:
        append(connection, [fact("boot"), Fact(type=FactType.TOKEN_CHANGED, subject="token"), fact("again")])
    seen = Seen()
    subscriber = reader(database, seen, types={FactType.TOKEN_CHANGED})
    drain(subscriber)
    assert seen.subjects == ["token"]
    assert subscriber.catch_up() == 0


class Killed(BaseException):
    """The process ends here."""


def test_what_a_handler_writes_is_one_with_its_cursor(database: Database) -> None:
    """A crash after the handler and before the commit: read again, and it takes effect once."""
    tell(database, "CP1")
    crashes = [True]

    def provision(connection: Connection, facts: Sequence[Recorded]) -> None:
        for recorded in facts:
            connection.execute(insert(Station).values(station_id=recorded.subject, admission="known", created_at=NOW))
        if crashes.pop():
            raise Killed

    with pytest.raises(Killed):
        reader(database, provision).catch_up()
    crashes.append(False)
    drain(reader(database, provision))
    with database.read() as connection:
        assert connection.execute(select(Station.station_id)).scalars().all() == ["CP1"]
    assert dead(database) == []


def test_a_fact_that_always_fails_is_buried_and_the_others_go_on(database: Database) -> None:
    tell(database, "a", "poison", "b")
    seen = Seen()

    def handle(connection: Connection, facts: Sequence[Recorded]) -> None:
        if any(recorded.subject == "poison" for recorded in facts):
            connection.execute(text("SELECT nonsense FROM nowhere"))  # on PostgreSQL it spoils the transaction too
        seen(connection, facts)

    with capture_logs() as logs:
        drain(reader(database, handle))
    assert seen.subjects == ["a", "b"]
    assert "journal_fact_failed" in [line["event"] for line in logs]
    [(name, reason)] = dead(database)
    assert name == "reader"
    assert "nowhere" in reason


def test_a_fact_of_a_newer_version_is_parked(database: Database) -> None:
    tell(database, *"abc")  # A11
    with database.write() as connection:
        newer = update(JournalEntry).where(JournalEntry.subject == "b").values(schema_version=SCHEMA_VERSION + 1)
        connection.execute(newer)
    seen = Seen()
    drain(reader(database, seen))
    assert seen.subjects == ["a", "c"]
    assert dead(database) == [("reader", f"schema_version {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}")]


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_commit_that_comes_late_is_not_skipped(database: Database) -> None:
    """PostgreSQL gives ids before commits: the lower id may become visible last. SQLite has one writer."""
    seen = Seen()
    subscriber = reader(database, seen)
    with database.engine.connect() as slow:
        with slow.begin():
            append(slow, [fact("first, committed last")])
            tell(database, "second, committed first")
            drain(subscriber)
            assert seen.subjects == []  # not before it is sure that nothing can precede it
        drain(subscriber)
    assert seen.subjects == ["first, committed last", "second, committed first"]


def test_two_processes_of_one_subscriber_share_the_facts(database: Database) -> None:
    tell(database, *(str(n) for n in range(60)))
    seen = Seen()
    lock = threading.Lock()

    def handle(connection: Connection, facts: Sequence[Recorded]) -> None:
        with lock:
            seen(connection, facts)

    workers = [threading.Thread(target=drain, args=(reader(database, handle, batch=7),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert seen.subjects == [str(n) for n in range(60)]


async def test_a_running_subscriber_is_woken_by_the_writer(database: Database) -> None:
    wake = Wake()
    told: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def handle(_: Connection, facts: Sequence[Recorded]) -> None:
        for recorded in facts:
            loop.call_soon_threadsafe(told.put_nowait, recorded.subject)

    subscriber = Subscriber("reader", database, handle, wake=wake, poll_s=30)
    running = asyncio.create_task(subscriber.run())
    try:
        async with asyncio.timeout(30):  # far below poll_s: only the wake can bring it
            for subject in "ab":
                await asyncio.to_thread(tell, database, subject)
                wake()
                assert await told.get() == subject
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_subscriber_is_not_woken_for_what_it_does_not_read() -> None:
    wake = Wake()
    with wake.listening([FactType.TRANSACTION_ENDED]) as few, wake.listening() as all_:
        wake({FactType.EVSE_STATUS})
        assert all_.woken
        assert not few.woken
        wake({FactType.EVSE_STATUS, FactType.TRANSACTION_ENDED})
        assert few.woken


def test_what_a_subscriber_does_not_read_is_passed_at_once(database: Database) -> None:
    tell(database, *(str(n) for n in range(25)))
    seen = Seen()
    subscriber = reader(database, seen, types=[FactType.TRANSACTION_ENDED], batch=10)
    assert subscriber.catch_up() == 0
    with database.read() as connection:
        assert facts_behind(connection) == {"reader": 0}


def test_what_a_condition_leaves_out_is_passed_and_its_passing_written_now_and_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The condition is asked anew at each look: what came before it held is gone, what comes after it is read."""
    seen = Seen()
    somebody = exists().where(Station.station_id == "somebody")
    subscriber = reader(database, seen, only=somebody)

    def behind() -> int:
        with database.read() as connection:
            return facts_behind(connection)["reader"]

    tell(database, *"ab")
    assert (subscriber.catch_up(), behind()) == (0, 0)
    tell(database, *"cd")
    assert (subscriber.catch_up(), behind()) == (0, 2)  # looked at, and not worth a transaction yet
    monkeypatch.setattr(journal, "PASSED_EVERY_S", 0.0)
    assert (subscriber.catch_up(), behind()) == (0, 0)
    monkeypatch.setattr(journal, "PASSED_EVERY_S", 3600.0)
    tell(database, "e")
    assert (subscriber.catch_up(), behind()) == (0, 1)
    with database.write() as connection:
        connection.execute(insert(Station).values(station_id="somebody", admission="known", created_at=NOW))
    assert subscriber.catch_up() == 0  # "e" was looked at when it concerned nobody
    tell(database, "f")
    drain(subscriber)
    assert seen.subjects[-1] == "f"
    assert not {*"abcd"} & {*seen.subjects}
    assert behind() == 0


def test_what_was_looked_at_and_not_yet_passed_is_looked_at_again_after_a_crash(database: Database) -> None:
    left_out = JournalEntry.subject != "out"
    tell(database, "a")
    drain(reader(database, Seen(), only=left_out))
    tell(database, "out")
    assert reader(database, Seen(), only=left_out).catch_up() == 0
    tell(database, "out", "b", "out")
    seen = Seen()
    drain(reader(database, seen, only=left_out))
    assert seen.subjects == ["b"]


async def test_a_running_subscriber_polls_for_what_others_wrote(database: Database) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def handle(_: Connection, facts: Sequence[Recorded]) -> None:
        loop.call_soon_threadsafe(told.put_nowait, facts[0].subject)

    running = asyncio.create_task(reader(database, handle, poll_s=0.05).run())
    try:
        async with asyncio.timeout(30):
            await asyncio.to_thread(tell, database, "from another process")
            assert await told.get() == "from another process"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
