"""One commit for many events: what they read is read once, what they write is written together, one conflict harms one.

Handlers decide on what `Batch` has loaded and add to it; they never execute SQL. A row that the database refuses as a
duplicate (another worker was first) takes all that its event wrote out of the batch, and the event is decided again.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, inspect, update
from sqlalchemy.dialects import postgresql, sqlite

from csms.alerts import Alarm, raise_alarms
from csms.events import AnyEvent
from csms.journal import Fact, append
from csms.models import Base

Values = dict[str, Any]
Update = tuple[int, type[Base], str, Any, Values]


class Batch:
    """The working set of one round. `claims` are inserts that may find the row already there; each returns its key."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.event: int = -1  # the event being handled; what is written belongs to it
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

    def update_first(self, model: type[Base], key: str, value: Any, changes: Values) -> None:
        """As `update`, before any claim: it makes room for one. It is kept even if its event loses its claim, so it must be
        true either way."""
        self._first.append((self.event, model, key, value, changes))

    def tell(self, fact: Fact) -> None:
        self._facts.append((self.event, fact))

    def alarm(self, alarm: Alarm) -> None:
        self._alarms.append((self.event, alarm))

    def fact(self, type_: Any, subject: str, event: AnyEvent, **data: Any) -> None:
        """A fact that `event` made true."""
        self.tell(
            Fact(
                type=type_,
                subject=subject,
                station_id=event.station_id,
                event_id=event.event_id,
                ocpp_version=event.ocpp_version,
                data=data,
            )
        )

    def flush(self) -> set[int]:
        """Write everything, and return the events that lost a claim: nothing else they wrote is kept."""
        self._flush_updates(self._first)
        lost = self._flush_claims()
        self._flush_updates([entry for entry in self._updates if entry[0] not in lost])
        kept = [entry for entry in self._inserts if entry[0] not in lost]
        for model, rows in _grouped(kept):
            self.connection.execute(insert(model), rows)
        append(self.connection, [fact for event, fact in self._facts if event not in lost], now=self.now)
        raise_alarms(self.connection, [alarm for event, alarm in self._alarms if event not in lost], self.now)
        return lost

    def _flush_updates(self, updates: Sequence[Update]) -> None:
        """Runs of the same shape share one executemany."""
        run: list[Values] = []
        shape: tuple[Any, ...] | None = None
        for _, model, key, value, changes in updates:
            this = (model, key, tuple(changes))
            if this != shape and run:
                self._execute_updates(shape, run)
                run = []
            shape = this
            run.append({"the_key": value} | {f"new_{column}": new for column, new in changes.items()})
        if run:
            self._execute_updates(shape, run)

    def _execute_updates(self, shape: Any, rows: list[Values]) -> None:
        model, key, columns = shape
        statement = (
            update(model)
            .where(model.__table__.c[key] == bindparam("the_key"))
            .values({column: bindparam(f"new_{column}") for column in columns})
        )
        self.connection.execute(statement.execution_options(synchronize_session=False), rows)

    def _flush_claims(self) -> set[int]:
        dialect = postgresql if self.connection.dialect.name == "postgresql" else sqlite
        lost: set[int] = set()
        for model in dict.fromkeys(model for _, model, _ in self._claims):
            wanted = [(event, values) for event, of, values in self._claims if of is model and event not in lost]
            if not wanted:
                continue
            key = inspect(model).primary_key[0]
            statement = dialect.insert(model).on_conflict_do_nothing().returning(key)
            got = set(self.connection.execute(statement, [values for _, values in wanted]).scalars())
            lost |= {event for event, values in wanted if values[key.name] not in got}
        return lost


def _grouped(entries: Iterable[tuple[int, type[Base], Values]]) -> Iterable[tuple[type[Base], Sequence[Values]]]:
    """Rows by table and shape, each in the order in which they came."""
    groups: dict[tuple[type[Base], tuple[str, ...]], list[Values]] = {}
    for _, model, values in entries:
        groups.setdefault((model, tuple(values)), []).append(values)
    return ((model, rows) for (model, _), rows in groups.items())
