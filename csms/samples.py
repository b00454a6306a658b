"""Meter samples: every frame is kept once, and moves the running transaction on when it is news."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Table, bindparam, or_, select

from csms.batch import Batch
from csms.clock import SKEW_LIMIT
from csms.events import Ack, Event, MeterSample, MeterSampled
from csms.journal import FactType
from csms.lifecycle import OPEN_STATES, Flag, State
from csms.metering import delivered, latest_power_w, meter_readings, register_readings
from csms.models import MeterSampleRow, RawEvent, Transaction
from csms.prepared import Look, among
from csms.sample_span import COLUMNS as SPANNED
from csms.sample_span import around, stretched

SAMPLES = msgspec.json.Decoder(tuple[MeterSample, ...])
ENCODER = msgspec.json.Encoder()
SECOND_DIGITS = 9

_T = Transaction.__table__
_NEEDED = (
    _T.c.id,
    _T.c.number,
    _T.c.transaction_ref,
    _T.c.station_id,
    _T.c.evse,
    _T.c.state,
    _T.c.flags,
    _T.c.started_at,
    _T.c.meter_start_mwh,
    _T.c.meter_last_mwh,
    _T.c.energy_mwh,
    _T.c.power_w,
    _T.c.last_sample_at,
    _T.c.sample_count,
    *SPANNED,
)
_NAMES = [column.name for column in _NEEDED]
_S = cast(Table, MeterSampleRow.__table__).c
_LOCKED = select(*_NEEDED).order_by(_T.c.id).with_for_update()
_NAMED = Look(_LOCKED.where(among(_T.c.number, "numbers")))
_RUNNING = Look(_LOCKED.where(among(_T.c.station_id, "stations"), or_(*(_T.c.state == state for state in OPEN_STATES))))
_STORED = select(_S.digest).where(among(_S.digest, "digests"))
_SEEN = Look(_STORED)
_SEEN_THEN = Look(_STORED.where(_S.received_at.between(bindparam("since"), bindparam("until"))))


def number_of(transaction_ref: str | None) -> int | None:
    """Our number, if the text can be one: a positive int32."""
    if transaction_ref is None or len(transaction_ref) > 10 or not transaction_ref.isdecimal():
        return None
    number = int(transaction_ref)
    return number if 0 < number < 2**31 else None


def digest_of(station_id: str, transaction_ref: str | None, samples: Sequence[MeterSample], encoded: str) -> str:
    """What tells a frame that is sent again from a new one, whatever its message id (E03). It begins with the second that the
    frame itself claims, so that what is told at one time lies together in the index, which else would write a page of its
    own for each row; the rest of it is all that rows of before this was so have (`former`)."""
    at = samples[0].occurred_at if samples else None
    second = 0 if at is None else min(max(0, int(at.timestamp())), 16**SECOND_DIGITS - 1)
    text = f"{station_id}|{transaction_ref}|{encoded}".encode("utf-8", "replace")
    return f"{second:0{SECOND_DIGITS}x}{blake2b(text, digest_size=12).hexdigest()}"


def former(digest: str) -> str:
    """As it was written before it began with a time."""
    return digest[SECOND_DIGITS:]


def points_of(samples: Sequence[MeterSample]) -> Sequence[int]:
    """What the register showed, in order."""
    return [reading.energy_mwh for reading in register_readings(samples)]


def sample_row(event: Event[Any], evse: int, points: Sequence[int], encoded: str, digest: str) -> dict[str, Any]:
    """Of one frame; the caller adds whose it is."""
    return {
        "event_id": event.event_id,
        "received_at": event.received_at,
        "station_id": event.station_id,
        "evse": evse,
        "occurred_at": event.received_at,
        "digest": digest,
        "energy_mwh": points[-1] if points else None,
        "samples": encoded,
        "raw": event.raw,
    }


def raw_row(event: Event[Any], transaction_id: str | None) -> dict[str, Any]:
    """What broke the schema, as it came (T10)."""
    return {
        "event_id": event.event_id,
        "station_id": event.station_id,
        "received_at": event.received_at,
        "type": type(event).__name__,
        "transaction_id": transaction_id,
        "violations": list(event.violations),
        "raw": event.raw or "",
    }


class Samples:
    """The meter samples of one batch."""

    def __init__(self, batch: Batch, events: Sequence[MeterSampled]) -> None:
        """Loads the transactions that the events name, or that run on their EVSEs when they name none we know."""
        self._batch = batch
        self._encoded = {event.event_id: ENCODER.encode(event.samples).decode() for event in events}
        self._digests = {
            event.event_id: digest_of(
                event.station_id, event.transaction_ref, event.samples, self._encoded[event.event_id]
            )
            for event in events
        }
        numbers = {event.event_id: number_of(event.transaction_ref) for event in events}
        told = sorted({number for number in numbers.values() if number is not None})
        named = self._load(_NAMED, numbers=told) if told else []
        self._named = {(row["station_id"], row["number"]): row for row in named}
        unnamed = {e.station_id for e in events if (e.station_id, numbers[e.event_id]) not in self._named}
        running = self._load(_RUNNING, stations=sorted(unnamed)) if unnamed else []
        self._running = [self._named.get((row["station_id"], row["number"]), row) for row in running]
        if batch.connection.dialect.name == "sqlite":
            self._seen = _found(_SEEN, batch.connection, list(self._digests.values()))
        else:
            meant = {event.event_id: self._named.get((event.station_id, numbers[event.event_id])) for event in events}
            self._seen = self._stored(meant)

    def _load(self, look: Look, **named: Sequence[Any]) -> list[dict[str, Any]]:
        return [dict(zip(_NAMES, row, strict=True)) for row in look.rows(self._batch.connection, **named)]

    def _stored(self, meant: Mapping[str, dict[str, Any] | None]) -> set[str]:
        """Which of the digests are in the table, by the event and the transaction that it names. A frame that names one of
        ours was stored with it, if ever, in its months; when any other came first nobody knows."""
        connection, found = self._batch.connection, set[str]()
        if known := [transaction for transaction in meant.values() if transaction is not None]:
            there = [self._digests[event_id] for event_id, transaction in meant.items() if transaction is not None]
            found |= _found(_SEEN_THEN, connection, there, **around(known)._asdict())
        if anywhere := [self._digests[event_id] for event_id, transaction in meant.items() if transaction is None]:
            found |= _found(_SEEN, connection, anywhere)
        return found

    def sample(self, event: MeterSampled) -> Ack:
        """E03, E04, E09: a repeat changes nothing, a late one is evidence, a register that falls is no energy."""
        digest = self._digests[event.event_id]
        if digest in self._seen or former(digest) in self._seen:
            return Ack()
        self._seen.add(digest)
        transaction = self._find(event)
        late = transaction is not None and transaction["state"] == State.ENDED
        at = _believed(event, transaction)
        points = points_of(event.samples)
        row = sample_row(event, event.evse, points, self._encoded[event.event_id], digest)
        transaction_id = transaction["id"] if transaction else None
        self._batch.insert(MeterSampleRow, row | {"occurred_at": at, "transaction_id": transaction_id, "late": late})
        if event.violations:
            self._batch.insert(RawEvent, raw_row(event, transaction_id))
        if transaction is None:
            return Ack()
        if stretch := stretched(transaction, event.received_at):
            transaction |= stretch
            self._batch.update(Transaction, "id", transaction["id"], stretch)
        if late:
            self._flag(transaction, Flag.LATE_SAMPLES, event)
        else:
            self._advance(transaction, event, at, points)
        if event.violations:
            self._flag(transaction, Flag.SCHEMA_VIOLATION, event)
        return Ack()

    def _find(self, event: MeterSampled) -> dict[str, Any] | None:
        """By our number, at the station that has it; else what runs on the EVSE. Another station's number names nothing."""
        ref = event.transaction_ref
        if named := self._named.get((event.station_id, number_of(ref))):
            return named
        running = [t for t in self._running if t["station_id"] == event.station_id and t["evse"] == event.evse]
        if ref is None:  # a clock-aligned sample belongs to a transaction only while one is active
            running = [t for t in running if t["state"] == State.ACTIVE]
        return max(running, key=lambda t: t["started_at"], default=None)

    def _advance(self, transaction: dict[str, Any], event: MeterSampled, at: datetime, points: Sequence[int]) -> None:
        """The running sum. An older sample than the newest counts when the end is reconciled, not here."""
        if transaction["last_sample_at"] is not None and at < transaction["last_sample_at"]:
            return
        last = transaction["meter_last_mwh"]
        points = points or [reading.energy_mwh for reading in meter_readings(event.samples, last)]
        energy = transaction["energy_mwh"] + delivered(points if last is None else [last, *points])
        power = latest_power_w(event.samples)
        changes = {
            "energy_mwh": energy,
            "meter_last_mwh": points[-1] if points else last,
            "power_w": transaction["power_w"] if power is None else power,
            "last_sample_at": at,
            "sample_count": transaction["sample_count"] + 1,
            "last_updated": event.received_at,
        }
        transaction |= changes
        self._batch.update(Transaction, "id", transaction["id"], changes)
        self._batch.fact(FactType.TRANSACTION_SAMPLED, transaction["id"], event)

    def _flag(self, transaction: dict[str, Any], flag: Flag, event: MeterSampled) -> None:
        if flag not in transaction["flags"]:
            transaction["flags"] = sorted({*transaction["flags"], flag})
            self._batch.update(Transaction, "id", transaction["id"], {"flags": transaction["flags"]})


def _found(look: Look, connection: Connection, digests: Sequence[str], **span: datetime) -> set[str]:
    return {found for (found,) in look.rows(connection, digests=[*digests, *map(former, digests)], **span)}


def _believed(event: MeterSampled, transaction: dict[str, Any] | None) -> datetime:
    """A claim within the limit, or one inside its own transaction (an offline burst); else our reception (T2)."""
    claimed, received = event.occurred_at, event.received_at
    if claimed is None or claimed > received + SKEW_LIMIT:
        return received
    inside = transaction is not None and transaction["started_at"] <= claimed
    return claimed if received - claimed <= SKEW_LIMIT or inside else received
