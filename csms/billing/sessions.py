"""One price for a session, while it runs and when it is billed: everything that was told of it is read, then priced purely."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select

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
SAMPLES_AT_ONCE = 2_000  # of several sessions; one that has more is read alone
SESSIONS_AT_ONCE = 50


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
    return known_of_all(connection, [transaction], rounding=rounding)[transaction.id]


def known_of_all(
    connection: Connection, transactions: Sequence[Any], *, rounding: Rounding | None = None
) -> Mapping[str, Known]:
    """As `known_of`, of several by their ids, with a few statements for all; `in_parts` keeps them from being too many."""
    frames = _frames(connection, transactions)
    told = statuses.changes(connection, transactions)
    tariffs = _tariffs(connection, {one.tariff_row for one in transactions if one.tariff_row is not None})
    currencies = {tariff.currency for tariff in tariffs.values()} | {DEFAULT_CURRENCY}
    roundings = {currency: rounding or rounding_of(connection, currency) for currency in currencies}
    found = {}
    for one in transactions:
        tariff = None if one.tariff_row is None else tariffs[one.tariff_row]
        found[one.id] = Known(
            frames=frames.get(one.id, ()),
            statuses=told[one.id],
            tariff=tariff,
            rounding=roundings[tariff.currency if tariff else DEFAULT_CURRENCY],
        )
    return found


def in_parts(transactions: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """In order, so few at a time that what is known of them can be held."""
    part: list[Any] = []
    held = 0
    for one in transactions:
        if part and (held + one.sample_count > SAMPLES_AT_ONCE or len(part) >= SESSIONS_AT_ONCE):
            yield part
            part, held = [], 0
        part.append(one)
        held += one.sample_count
    if part:
        yield part


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


_S = MeterSampleRow
_SAMPLES = (
    select(_S.transaction_id, _S.received_at, _S.occurred_at, _S.samples, _S.event_id)
    .where(
        _S.transaction_id.in_(bindparam("ids", expanding=True)),
        _S.late.is_(False),
        _S.received_at.between(bindparam("since"), bindparam("until")),
    )
    .order_by(_S.transaction_id, _S.received_at, _S.event_id)
)
_VERSIONS = select(TariffVersion.__table__).where(TariffVersion.id.in_(bindparam("ids", expanding=True)))


def _frames(connection: Connection, transactions: Sequence[Any]) -> Mapping[str, Sequence[Frame]]:
    """By transaction, each within its own span."""
    spans = {one.id: span_of(one) for one in transactions}
    whole = {"since": min(one.since for one in spans.values()), "until": max(one.until for one in spans.values())}
    found: defaultdict[str, list[Frame]] = defaultdict(list)
    rows: Iterable[Any] = connection.execute(_SAMPLES, {"ids": [*spans], **whole})
    for id, received_at, occurred_at, samples, event_id in rows:
        if spans[id].since <= received_at <= spans[id].until:
            found[id].append(
                Frame(
                    received_at=received_at,
                    occurred_at=occurred_at,
                    samples=SAMPLES.decode(samples),
                    event_id=event_id,
                )
            )
    return found


def _tariffs(connection: Connection, versions: Set[int]) -> Mapping[int, Tariff]:
    """Raises KeyError for a version that there is not."""
    found = {}
    for row in connection.execute(_VERSIONS, {"ids": sorted(versions)}) if versions else ():
        document = {**row.details, "currency": row.currency, "type": row.type, "elements": row.elements}
        found[row.id] = _read(row.tariff_id, row.version, msgspec.json.encode(document))
    return found


@lru_cache(maxsize=512)
def _read(tariff_id: str, version: int, document: bytes) -> Tariff:
    return Tariff.from_json(id=tariff_id, version=version, document=msgspec.json.decode(document))
