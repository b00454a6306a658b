"""How it goes with each partner, module by module; what does not answer is left alone for a while."""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection, select

from crud.models import PartnerHealth
from csms.database import Database, insert_into
from ocpi_bridge.emsp_client import Delivery, Reply

log = structlog.get_logger(__name__)

OPENS_AFTER = 5  # failures in a row
FIRST_OPEN, LAST_OPEN = timedelta(seconds=5), timedelta(minutes=5)
NEWEST_COUNTS = 0.1  # of an error rate that forgets
KEPT_EVERY_S = 1.0
FAILED = frozenset({Delivery.UNSURE, Delivery.UNREACHABLE})  # a refusal is an answer: the platform is there

Key = tuple[int, str]  # partner id, module


@dataclass(kw_only=True)
class Circuit:
    """As crud.models.PartnerHealth."""

    calls: int = 0
    errors: int = 0
    error_rate: float = 0.0
    failures: int = 0
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_error: str | None = None
    opened_at: datetime | None = None
    open_until: datetime | None = None


class Health:
    """In memory, so that asking costs nothing; `run` keeps it where other processes can read it, and after a restart."""

    def __init__(self, *, clock: Callable[[], datetime], chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._chance = chance
        self._circuits: dict[Key, Circuit] = {}
        self._changed: set[Key] = set()
        self._recovered: set[Key] = set()

    def heard(self, partner_id: int, module: str, reply: Reply) -> None:
        """What a call came to; see emsp_client.Heard."""
        key = (partner_id, module)
        circuit = self._circuits.setdefault(key, Circuit())
        failed = reply.delivery in FAILED
        circuit.calls += 1
        circuit.errors += failed
        circuit.error_rate += NEWEST_COUNTS * (failed - circuit.error_rate)
        (self._failed if failed else self._answered)(key, circuit, reply)
        self._changed.add(key)

    def room(self, partner_id: int, module: str) -> int | None:
        """How many calls may be out at a time: None is no limit of ours, 0 none, 1 the one that tries (half-open)."""
        circuit = self._circuits.get((partner_id, module))
        if circuit is None or circuit.open_until is None:
            return None
        return 0 if self._clock() < circuit.open_until else 1

    def broken(self) -> Iterable[Key]:
        """Those that are open or half-open."""
        return [key for key, circuit in self._circuits.items() if circuit.open_until is not None]

    def recovered(self) -> set[Key]:
        """Those that closed again since the last call of this."""
        found, self._recovered = self._recovered, set()
        return found

    def _answered(self, key: Key, circuit: Circuit, reply: Reply) -> None:
        if circuit.open_until is not None:
            log.info("partner_answers_again", partner_id=key[0], module=key[1])
            self._recovered.add(key)
        circuit.failures = 0
        circuit.opened_at = circuit.open_until = None
        circuit.last_success_at = reply.at

    def _failed(self, key: Key, circuit: Circuit, reply: Reply) -> None:
        now = self._clock()
        circuit.last_failure_at = reply.at
        circuit.last_error = f"{reply.delivery.value}: HTTP {reply.http_status}" if reply.http_status else "no answer"
        if circuit.open_until is not None and now < circuit.open_until:
            return  # was out already when it opened
        circuit.failures += 1
        if circuit.failures < OPENS_AFTER:
            return
        longer = min(FIRST_OPEN * (1 << min(circuit.failures - OPENS_AFTER, 20)), LAST_OPEN)
        circuit.opened_at = circuit.opened_at or now
        circuit.open_until = now + longer * (0.8 + 0.4 * self._chance())
        log.warning("partner_left_alone", partner_id=key[0], module=key[1], failures=circuit.failures)

    # ---- kept -------------------------------------------------------------------------------------------------------

    async def run(self, database: Database) -> None:
        await asyncio.to_thread(self.load, database)
        while True:
            await asyncio.sleep(KEPT_EVERY_S)
            if self._changed:
                await asyncio.to_thread(self.keep, database)

    def load(self, database: Database) -> None:
        """What was kept, of modules that nothing was heard of since."""
        with database.read() as connection:
            for row in connection.execute(select(PartnerHealth.__table__)):
                values = {name: getattr(row, name) for name in Circuit.__dataclass_fields__}
                self._circuits.setdefault((row.partner_id, row.module), Circuit(**values))

    def keep(self, database: Database) -> None:
        changed, self._changed = self._changed, set()
        rows = [{"partner_id": key[0], "module": key[1], **asdict(self._circuits[key])} for key in sorted(changed)]
        if rows:
            with database.write() as connection:
                _write(connection, rows)


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    insert = insert_into(connection, PartnerHealth).values(rows)
    values = {name: insert.excluded[name] for name in Circuit.__dataclass_fields__}
    connection.execute(insert.on_conflict_do_update(index_elements=["partner_id", "module"], set_=values))
