"""A reader of the journal meets a database that fails it: no fact is buried for that, and one bad fact delays no other."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from csms.database import Database
from csms.journal import Fact, FactType, Recorded, Subscriber, Wake, append
from csms.journal_lag import facts_behind
from csms.models import DeadLetter

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Refused(Exception):
    sqlstate = "40P01"


def tell(database: Database, *subjects: str) -> None:
    with database.write() as connection:
        append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject=subject) for subject in subjects], now=NOW)


def buried(database: Database) -> Sequence[Any]:
    with database.read() as connection:
        return connection.execute(select(DeadLetter.reason)).scalars().all()


def test_a_deadlock_is_no_fault_of_the_fact(database: Database) -> None:  # A11
    failures = [Refused(), Refused()]
    read: list[str] = []

    def handle(_: Connection, facts: Sequence[Recorded]) -> None:
        if failures:
            raise OperationalError("UPDATE", {}, failures.pop())
        read.extend(fact.subject for fact in facts)

    tell(database, "1", "2")
    subscriber = Subscriber("billing", database, handle, wake=Wake())
    with pytest.raises(OperationalError):
        subscriber.catch_up()
    assert subscriber.catch_up() == 2
    assert (read, buried(database)) == (["1", "2"], [])


def test_a_bad_fact_at_the_end_of_a_batch_costs_one_look(database: Database) -> None:  # A11
    read: list[str] = []

    def handle(_: Connection, facts: Sequence[Recorded]) -> None:
        if any(fact.subject == "bad" for fact in facts):
            raise ValueError("bad")
        read.extend(fact.subject for fact in facts)

    tell(database, *(str(n) for n in range(9)), "bad", "last")
    subscriber = Subscriber("billing", database, handle, wake=Wake(), batch=10)
    assert subscriber.catch_up() == 10
    assert subscriber.catch_up() == 1
    assert (read, buried(database)) == ([*(str(n) for n in range(9)), "last"], ["ValueError: bad"])
    with database.read() as connection:
        assert facts_behind(connection) == {"billing": 0}
