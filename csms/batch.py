"""One commit for many events: what they read is read once, what they write is written together, one conflict harms one.

Handlers decide on what `Batch` has loaded and add to it; they never execute SQL. A row that the database refuses as a
duplicate (another worker was first) takes all that its event wrote out of the batch, and the event is decided again.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection, Table, inspect

from csms.alerts import Alarm, raise_alarms
from csms.bulk import insert_rows
from csms.database import insert_into
from csms.events import AnyEvent
from csms.journal import Fact, append
from csms.many_rows import THE_KEY, ManyChanges
from csms.models import Base, Station, Tap, Transaction

Values = dict[str, Any]
Update = tuple[int, type[Base], str, Any, Values]

EITHER_WAY = -1  # belongs to no event: kept, whichever of them lose their claims
CLAIM_ORDER: dict[type[Base], tuple[str, ...]] = {  # the same in every worker, so that two never wait for each other
    Station: ("station_id",),
    Tap: ("token_id",),
    Transaction: ("token_id", "station_id", "dedup_key"),
}


class Batch:
    """The working set of one round. `claims` are inserts that may find the row already there; each returns its key."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.event = EITHER_WAY  # the event being handled; what is written belongs to it
        self._claims: list[tuple[int, type[Base], Values]] = []
        self._inserts: list[tuple[int, type[Base], Values]] = []
        self._first: list[Update] = []
        self._updates: list[Update] = []
        self._facts: list[tuple[int, Fact]] = []
        self._alarms: list[tuple[int, Alarm]] = []

    def claim(self, model: type[Base], values: Values) -> None:
        """Insert a row that only one event may own; when it is taken, the event is handled again in the next round."""
        self._claims.append((self.event, model, values))

    def insert(self, model: type[Base], values: Values) -> None:
        self._inserts.append((self.event, model, values))

    def update(self, model: type[Base], key: str, value: Any, changes: Values) -> None:
        """Change the row whose column `key` is `value`; in the order in which it was asked."""
        self._updates.append((self.event, model, key, value, changes))

    def update_first(self, model: type[Base], key: str, value: Any, changes: Values, fact: Fact) -> None:
        """As `update`, before any claim: it makes room for one. It and its `fact` are kept even if its event loses its
        claim, so they must be true either way."""
        self._first.append((EITHER_WAY, model, key, value, changes))
        self._facts.append((EITHER_WAY, fact))

    @property
    def told(self) -> set[str]:
        """The types of all facts, also of those whose events lose their claims."""
        return {fact.type.value for _, fact in self._facts}

    def tell(self, fact: Fact) -> None:
        self._facts.append((self.event, fact))

    def alarm(self, alarm: Alarm) -> None:
        self._alarms.append((self.event, alarm))

    def fact(self, type_: Any, subject: str, event: AnyEvent, **data: Any) -> None:
        """A fact that `event` made true."""
        self.tell(fact_of(type_, subject, event, **data))

    def flush(self) -> set[int]:
        """Write everything, and return the events that lost a claim: nothing else they wrote is kept."""
        self._flush_updates(self._first)
        lost = self._flush_claims()
        self._flush_updates([entry for entry in self._updates if entry[0] not in lost])
        kept = [entry for entry in self._inserts if entry[0] not in lost]
        for model, rows in _grouped(kept):
            insert_rows(self.connection, cast(Table, model.__table__), rows)
        append(self.connection, [fact for event, fact in self._facts if event not in lost], now=self.now)
        raise_alarms(self.connection, [alarm for event, alarm in self._alarms if event not in lost], self.now)
        return lost

    def _flush_updates(self, updates: Sequence[Update]) -> None:
        """One UPDATE for each row, whatever was said of it; rows that change alike share one executemany."""
        rows: dict[tuple[type[Base], str, Any], Values] = {}
        for _, model, key, value, changes in updates:
            rows.setdefault((model, key, value), {}).update(changes)
        alike: dict[tuple[type[Base], str, tuple[str, ...]], list[Values]] = {}
        for (model, key, value), changes in self._by_key(rows):
            columns = tuple(changes)
            changes[THE_KEY] = value
            alike.setdefault((model, key, columns), []).append(changes)
        for (model, key, columns), changed in alike.items():
            _update(model, key, columns).execute(self.connection, changed)

    def _by_key(self, rows: dict[tuple[type[Base], str, Any], Values]) -> Iterable[tuple[Any, Values]]:
        """In the order in which every worker locks them; SQLite has one writer."""
        if self.connection.dialect.name == "sqlite":
            return rows.items()
        return sorted(rows.items(), key=lambda row: (row[0][0].__tablename__, row[0][1:]))

    def _flush_claims(self) -> set[int]:
        lost: set[int] = set()
        for model, rows in _grouped(self._in_order(self._claims)):
            key = inspect(model).primary_key[0]
            statement = insert_into(self.connection, model).on_conflict_do_nothing().returning(key)
            got = set(self.connection.execute(statement, rows).scalars())
            missed = [values for values in rows if values[key.name] not in got]
            lost |= {event for event, _, values in self._claims if any(values is one for one in missed)}
        return lost

    @staticmethod
    def _in_order(claims: Sequence[tuple[int, type[Base], Values]]) -> Iterable[tuple[int, type[Base], Values]]:
        def place(claim: tuple[int, type[Base], Values]) -> tuple[str, ...]:
            _, model, values = claim
            return (model.__tablename__, *(str(values[column]) for column in CLAIM_ORDER[model]))

        return sorted(claims, key=place)


def fact_of(type_: Any, subject: str, event: AnyEvent, **data: Any) -> Fact:
    """A fact that `event` made true."""
    return Fact(
        type=type_,
        subject=subject,
        station_id=event.station_id,
        event_id=event.event_id,
        ocpp_version=event.ocpp_version,
        data=data,
    )


@cache
def _update(model: type[Base], key: str, columns: tuple[str, ...]) -> ManyChanges:
    return ManyChanges(cast(Table, model.__table__), key, columns)


def _grouped(entries: Iterable[tuple[int, type[Base], Values]]) -> Iterable[tuple[type[Base], Sequence[Values]]]:
    """Rows by table and shape, each in the order in which they came."""
    groups: dict[tuple[type[Base], tuple[str, ...]], list[Values]] = {}
    for _, model, values in entries:
        groups.setdefault((model, tuple(values)), []).append(values)
    return ((model, rows) for (model, _), rows in groups.items())
