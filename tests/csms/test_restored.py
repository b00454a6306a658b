"""A journal that came to another PostgreSQL server in a dump: each reader goes on where it stood, and misses nothing."""

import threading

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

from csms import restored
from csms.database import Database
from csms.journal import append
from csms.journal_lag import facts_behind
from csms.models import DeadLetter, JournalCursor, JournalEntry
from csms.schema import migrate
from tests.csms.test_journal import NOW, Seen, drain, fact, reader, tell

FURTHER = 1_000_000_000  # so many transactions more than this server the other one had counted

postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


def bring_from_elsewhere(connection: Connection) -> None:
    """As a dump brings it: rows as they were written where transactions had higher ids."""
    for table in ("journal", "journal_cursors"):
        connection.execute(
            text(f"UPDATE {table} SET xid = CAST(CAST(xid::text AS bigint) + {FURTHER} AS text)::xid8 WHERE xid > '0'")
        )


@postgresql
def test_readers_of_a_restored_journal_go_on_where_each_stood(database: Database, database_url: str) -> None:
    quick, slow, never = Seen(), Seen(), Seen()
    with database.engine.connect() as late, late.begin():  # the lower id has the higher place: it commits last
        append(late, [fact("a")], now=NOW)
        tell(database, "b")
    drain(reader(database, slow, name="slow"))
    tell(database, "c", "d")
    drain(reader(database, quick, name="quick"))
    tell(database, "e")
    with database.write() as connection:
        bring_from_elsewhere(connection)
    tell(database, "written here before anybody noticed")
    unheard = Seen()
    drain(reader(database, unheard, name="quick"))
    assert unheard.subjects == []  # this is what is to be mended

    assert migrate(database_url) == []
    with database.read() as connection:
        assert facts_behind(connection) == {"quick": 2, "slow": 4}
    tell(database, "written here")
    new = ["e", "written here before anybody noticed", "written here"]
    drain(reader(database, quick, name="quick"))
    drain(reader(database, slow, name="slow"))
    drain(reader(database, never, name="never"))
    assert quick.subjects == ["a", "b", "c", "d", *new]
    assert slow.subjects == ["a", "b", "c", "d", *new]
    assert never.subjects == slow.subjects
    with database.read() as connection:
        assert facts_behind(connection) == {"never": 0, "quick": 0, "slow": 0}
        assert not any(connection.execute(select(JournalEntry.xid >= str(FURTHER))).scalars())
    assert restored.follow(database) is False


@postgresql
def test_facts_that_nobody_has_read_yet_and_none_at_all(database: Database) -> None:
    assert restored.follow(database) is False
    tell(database, "a", "b")
    with database.write() as connection:
        bring_from_elsewhere(connection)
    assert restored.follow(database) is True
    seen = Seen()
    drain(reader(database, seen))
    assert seen.subjects == ["a", "b"]
    with database.write() as connection:
        connection.execute(delete(JournalEntry))  # as old facts are
        connection.execute(update(JournalCursor).values(xid=str(FURTHER)))
    assert restored.follow(database) is True
    tell(database, "c")
    drain(reader(database, seen))
    assert seen.subjects == ["a", "b", "c"]


@postgresql
def test_a_dead_letter_still_names_its_fact(database: Database) -> None:
    tell(database, "a", "poison")
    slow = Seen()
    with database.write() as connection:
        connection.execute(insert(JournalCursor).values(subscriber="slow"))
        poison = connection.execute(select(JournalEntry.id).where(JournalEntry.subject == "poison")).scalar_one()
        connection.execute(insert(DeadLetter).values(subscriber="quick", journal_id=poison, reason="x", at=NOW))
        bring_from_elsewhere(connection)
    assert restored.follow(database) is True
    named = select(JournalEntry.subject).join(DeadLetter, DeadLetter.journal_id == JournalEntry.id)
    with database.read() as connection:
        assert connection.execute(named).scalars().all() == ["poison"]
    drain(reader(database, slow, name="slow"))
    assert slow.subjects == ["a", "poison"]


@postgresql
def test_roles_that_start_at_once_on_a_restored_database_mend_it_once(database: Database) -> None:
    tell(database, "a")
    with database.write() as connection:
        bring_from_elsewhere(connection)
    barrier, mended = threading.Barrier(4), list[bool]()

    def start() -> None:
        barrier.wait()
        mended.append(restored.follow(database))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(mended) == [False, False, False, True]
    seen = Seen()
    drain(reader(database, seen))
    assert seen.subjects == ["a"]
