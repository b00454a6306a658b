"""What a fleet of simulated chargers was told is kept, looked for in the database: all of it, and each of it once."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from csms.database import Database
from csms.models import MeterSampleRow, Transaction

AT_ONCE = 500
MWH = 1_000  # of a Wh


class Played(Protocol):
    """A transaction as its charger knows it (csms.simulator.tally)."""

    station_id: str
    started_at: str
    meter_start_wh: int
    step_wh: int
    number: int | None
    samples: int
    acknowledged: int
    stopped: bool
    stop_acknowledged: bool


class Stored(NamedTuple):
    id: str
    number: int
    station_id: str
    started_claimed_at: datetime | None
    meter_start_mwh: int | None
    meter_stop_mwh: int | None
    ended_at: datetime | None


class Samples(NamedTuple):
    """Rows, different ones, and the registers of the first and the last."""

    rows: int
    different: int
    first_mwh: int | None
    last_mwh: int | None


NONE = Samples(0, 0, None, None)


def losses(database_url: str, played: Sequence[Played], *, since: datetime) -> list[str]:
    """A line for each that is missing, differs, or is there twice. `since`: no charge of this run claims to be older.
    ValueError for what is no database's address."""
    _exists(database_url)
    database = Database(database_url)
    try:
        with database.read() as connection:
            # Also when nothing was played: is it one of ours?
            connection.execute(select(Transaction.id).limit(1)).all()
            return list(_losses(connection, played, since - timedelta(seconds=1)))
    finally:
        database.dispose()


def _exists(database_url: str) -> None:
    """SQLite would make the file."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ValueError(f"{database_url} is no database's address, such as sqlite:///roambridge.db") from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"{url.get_backend_name()} is neither sqlite nor postgresql")
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise ValueError(f"there is no file {url.database}")


def _losses(connection: Connection, played: Sequence[Played], since: datetime) -> Iterator[str]:
    by_station: dict[str, list[Played]] = {}
    for one in played:
        by_station.setdefault(one.station_id, []).append(one)
    for stations in _chunks(sorted(by_station)):
        stored = _stored(connection, stations, since)
        samples = _samples(connection, [row.id for row in stored])
        of_number = {(row.station_id, row.number): row for row in stored}
        claimed: dict[tuple[str, datetime | None], int] = {}
        for row in stored:
            key = (row.station_id, row.started_claimed_at)
            claimed[key] = claimed.get(key, 0) + 1
        for (station_id, at), count in claimed.items():
            if count > 1:
                yield f"{station_id}: the start of {at} is there {count} times"
        for station_id in stations:
            here, known = sum(row.station_id == station_id for row in stored), by_station[station_id]
            if here > len(known):
                yield f"{station_id}: {here} transactions, its charger knows of {len(known)}"
            for one in known:
                yield from _of_one(one, of_number.get((station_id, one.number or 0)), samples)


def _of_one(one: Played, row: Stored | None, samples: dict[str, Samples]) -> Iterator[str]:
    name = f"{one.station_id}, transaction {one.number}"
    if one.number is None:
        return  # never acknowledged; its charger counts it
    if row is None:
        yield f"{name}: the acknowledged start is not there"
        return
    if row.meter_start_mwh != one.meter_start_wh * MWH:
        yield f"{name}: begins at {row.meter_start_mwh} mWh, its charger said {one.meter_start_wh} Wh"
    if one.stop_acknowledged and row.ended_at is None:
        yield f"{name}: the acknowledged end is not there"
    if one.stop_acknowledged and row.meter_stop_mwh != (one.meter_start_wh + one.samples * one.step_wh) * MWH:
        yield f"{name}: ends at {row.meter_stop_mwh} mWh, its charger said otherwise"
    found = samples.get(row.id, NONE)
    if found.rows != found.different:
        yield f"{name}: {found.rows - found.different} samples are there twice"
    if not one.acknowledged <= found.different <= one.samples:
        yield f"{name}: {found.different} samples of {one.acknowledged} that were acknowledged ({one.samples} sent)"
    elif found.different:
        first = (one.meter_start_wh + one.step_wh) * MWH
        last = first + (found.different - 1) * one.step_wh * MWH
        if (found.first_mwh, found.last_mwh) != (first, last):
            yield f"{name}: samples from {found.first_mwh} to {found.last_mwh} mWh, sent were {first} to {last}"


def _stored(connection: Connection, stations: Sequence[str], since: datetime) -> Sequence[Stored]:
    table = Transaction.__table__.c
    query = select(*(table[name] for name in Stored._fields)).where(
        table.station_id.in_(stations), table.started_claimed_at >= since
    )
    return [Stored(*row) for row in connection.execute(query)]


def _samples(connection: Connection, transactions: Sequence[str]) -> dict[str, Samples]:
    table = MeterSampleRow.__table__.c
    energy = table.energy_mwh
    found: dict[str, Samples] = {}
    for ids in _chunks(transactions):
        query = (
            select(
                table.transaction_id,
                func.count(),
                func.count(energy.distinct()),
                func.min(energy),
                func.max(energy),
            )
            .where(table.transaction_id.in_(ids))
            .group_by(table.transaction_id)
        )
        found |= {id: Samples(*told) for id, *told in connection.execute(query)}
    return found


def _chunks(names: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE))
