"""One price for a session, while it runs and when it is billed: everything that was told of it is read, then priced purely."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from csms import clock
from csms.billing import parking, statuses
from csms.billing.parking import Change
from csms.billing.periods import (
    Frame,
    Point,
    Seen,
    asks_for_current,
    asks_for_power,
    currents_a,
    periods,
    points_from,
    powers_w,
    seen,
)
from csms.billing.pricing import Price, Reservation, Rounding, price
from csms.billing.roundings import rounding_of
from csms.billing.tariffs import Tariff
from csms.lifecycle import Cause
from csms.models import MeterSampleRow
from csms.models import Tariff as TariffVersion
from csms.sample_span import span_of
from csms.samples import SAMPLES

DEFAULT_CURRENCY = "EUR"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a session is priced by, beside its transaction's own row."""

    frames: Sequence[Frame]
    statuses: Sequence[Change]
    tariff: Tariff | None
    rounding: Rounding


@dataclass(frozen=True, kw_only=True)
class Priced:
    """`price` of its own periods, with the readings and the points that these were cut from."""

    price: Price
    readings: Sequence[Seen]
    points: Sequence[Point]


def known_of(connection: Connection, transaction: Any, *, rounding: Rounding | None = None) -> Known:
    """Of a row of the transactions' table. The tariff is the one it began with. Samples that came after the end are
    evidence and change no price (E04). `rounding` None: as its currency is rounded today."""
    tariff = _tariff(connection, transaction)
    return Known(
        frames=_frames(connection, transaction),
        statuses=statuses.changes(connection, transaction),
        tariff=tariff,
        rounding=rounding or rounding_of(connection, tariff.currency if tariff else DEFAULT_CURRENCY),
    )


def priced(transaction: Any, known: Known) -> Priced:
    """A running one is priced up to its last register reading. Its last period still grows; the others are final as long as
    what is told of it comes in order. A reservation that nobody used has no session to be priced."""
    if transaction.cause == Cause.NOBODY_CAME:
        return Priced(price=_of_reservation_alone(transaction, known), readings=(), points=())
    started_at = transaction.started_at
    readings = seen(known.frames, started_at)
    heard_at = max((at for at, _, _ in readings), default=transaction.last_sample_at or started_at)
    until = transaction.ended_at or max(heard_at, started_at)
    points = points_from(
        [(at, shown) for at, shown, _ in readings],
        started_at=started_at,
        until=until,
        meter_start_mwh=transaction.meter_start_mwh,
        energy_mwh=transaction.energy_mwh,
    )
    tariff, time_zone = known.tariff, time_zone_of(transaction)
    stretches = periods(
        started_at,
        until,
        points,
        tariff=tariff,
        time_zone=time_zone,
        parked=parking.stretches(known.statuses, started_at, until, transaction.started_rule),
        currents_a=currents_a(known.frames, started_at) if asks_for_current(tariff) else (),
        powers_w=powers_w(known.frames, started_at) if asks_for_power(tariff) else (),
    )
    cost = price(
        tariff,
        stretches,
        time_zone,
        DEFAULT_CURRENCY,
        reservation=_reservation(transaction),
        rounding=known.rounding,
    )
    return Priced(price=cost, readings=readings, points=points)


def _of_reservation_alone(transaction: Any, known: Known) -> Price:
    return price(
        known.tariff,
        (),
        time_zone_of(transaction),
        DEFAULT_CURRENCY,
        reservation=_reservation(transaction),
        rounding=known.rounding,
    )


def _reservation(transaction: Any) -> Reservation | None:
    """For how long the EVSE was kept for it (TC-26): until its start, or until that expired. For no time where the charger's
    clock says that it began before it was granted."""
    kept = transaction.snapshot.get("reservation") or {}
    since, until = clock.read(kept.get("granted_at")), clock.read(kept.get("expires_at"))
    if since is None or until is None:
        return None
    end = min(transaction.started_at, until)
    return Reservation(start=min(since, end), end=end, expired=bool(kept.get("expired")))


def time_zone_of(transaction: Any) -> str:
    return (transaction.snapshot.get("location") or {}).get("time_zone") or "UTC"


# ---- reading --------------------------------------------------------------------------------------------------------


def _frames(connection: Connection, transaction: Any) -> Sequence[Frame]:
    row = MeterSampleRow
    received = span_of(transaction).holds()
    query = (
        select(row.received_at, row.occurred_at, row.samples, row.event_id)
        .where(row.transaction_id == transaction.id, row.late.is_(False), received)
        .order_by(row.received_at, row.event_id)
    )
    return [
        Frame(received_at=received_at, occurred_at=occurred_at, samples=SAMPLES.decode(samples), event_id=event_id)
        for received_at, occurred_at, samples, event_id in connection.execute(query)
    ]


def _tariff(connection: Connection, transaction: Any) -> Tariff | None:
    if transaction.tariff_row is None:
        return None
    table = TariffVersion.__table__
    version = connection.execute(select(table).where(table.c.id == transaction.tariff_row)).one()
    document = {**version.details, "currency": version.currency, "type": version.type, "elements": version.elements}
    return _read(version.tariff_id, version.version, msgspec.json.encode(document))


@lru_cache(maxsize=512)
def _read(tariff_id: str, version: int, document: bytes) -> Tariff:
    return Tariff.from_json(id=tariff_id, version=version, document=msgspec.json.decode(document))
