"""What must follow a charger's yes: a Boot after a reset, an end after a stop. What does not follow is noticed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, or_, select, update

from csms.alerts import Alarm, close, raise_alarms
from csms.commands import Answer, Command, Outcome, ResetStation, TriggerMessage
from csms.events import ConnectorStatus, RegistrationStatus
from csms.journal import Fact
from csms.lifecycle import State
from csms.models import Evse, MeterSampleRow, RemoteRequest, Station, StationBoot, Transaction
from csms.requests import kind_of

AT_MOST = 1000  # requests looked at in one round

Seen = Callable[[Connection, Row[Any]], bool]


class Effect(NamedTuple):
    """`seen` tells of a request's row whether it has happened; `alarm` is what is raised when it has not, None for nothing."""

    seen: Seen
    within: timedelta
    alarm: str | None


# ---- how each is recognised -----------------------------------------------------------------------------------------


def booted(connection: Connection, request: Row[Any]) -> bool:
    """A Boot came after the request; one that was rejected came from another box."""
    query = select(StationBoot.id).where(
        StationBoot.station_id == request.station_id,
        StationBoot.received_at >= request.created_at,
        StationBoot.answer != RegistrationStatus.REJECTED.value,
    )
    return connection.execute(query.limit(1)).first() is not None


def _ended(connection: Connection, request: Row[Any]) -> bool:
    reference = str(request.command["transaction_ref"])
    number = int(reference) if reference.isdecimal() and len(reference) < 10 else -1
    query = select(Transaction.id).where(
        Transaction.station_id == request.station_id,
        or_(Transaction.transaction_ref == reference, Transaction.number == number),
        Transaction.state == State.ENDED.value,
    )
    return connection.execute(query.limit(1)).first() is not None


def _in_service(connection: Connection, request: Row[Any]) -> bool:
    """What the station says of the EVSE, or of itself, is what was asked for."""
    if request.command["evse"] == 0:
        query = select(Station.status).where(Station.station_id == request.station_id)
    else:
        query = select(Evse.status).where(
            Evse.station_id == request.station_id, Evse.evse == request.command["evse"], Evse.removed.is_(False)
        )
    status = connection.execute(query).scalar()
    out_of_service = status == ConnectorStatus.UNAVAILABLE.value
    return status is not None and out_of_service is not bool(request.command["operative"])


def _metered(connection: Connection, request: Row[Any]) -> bool:
    query = select(MeterSampleRow.event_id).where(
        MeterSampleRow.station_id == request.station_id, MeterSampleRow.received_at >= request.created_at
    )
    return connection.execute(query.limit(1)).first() is not None


# ---- the table ------------------------------------------------------------------------------------------------------

# By kind, and what decides within it. A status or a heartbeat that was triggered cannot be told from one that came by itself.
EFFECT: Final[Mapping[tuple[str, str], Effect]] = {
    ("reset_station", "soft"): Effect(booted, timedelta(minutes=5), "reset_without_boot"),
    ("reset_station", "hard"): Effect(booted, timedelta(minutes=10), "reset_without_boot"),
    ("stop_remotely", "accepted"): Effect(_ended, timedelta(minutes=2), "stop_without_end"),
    ("change_availability", "accepted"): Effect(_in_service, timedelta(minutes=2), "availability_not_changed"),
    ("change_availability", "scheduled"): Effect(_in_service, timedelta(hours=24), "availability_not_changed"),
    ("trigger_message", "boot"): Effect(booted, timedelta(minutes=2), None),
    ("trigger_message", "meter_values"): Effect(_metered, timedelta(minutes=2), None),
}
PROMISED = frozenset({Outcome.ACCEPTED, Outcome.SCHEDULED})


def key_of(command: Command[Any], outcome: Outcome) -> tuple[str, str]:
    """Where in EFFECT the answer is found, if anything must follow it."""
    within = command.kind.value if isinstance(command, ResetStation | TriggerMessage) else outcome.value
    return kind_of(command), within


def promised(command: Command[Any], answer: Answer, now: datetime) -> dict[str, Any]:
    """What the request's row must know of that which has to follow."""
    effect = EFFECT.get(key_of(command, answer.outcome)) if answer.outcome in PROMISED else None
    return {} if effect is None else {"effect": "awaited", "effect_by": now + effect.within}


# ---- what time decides (a watch rule) -------------------------------------------------------------------------------


def look(connection: Connection, now: datetime) -> Sequence[Fact]:
    """What was awaited has been seen, or is missing."""
    row = RemoteRequest
    waiting = connection.execute(
        select(row.__table__).where(row.effect == "awaited").order_by(row.effect_by, row.id).limit(AT_MOST)
    ).all()
    alarms = []
    for request in waiting:
        effect = _effect_of(request)
        if effect is None or effect.seen(connection, request):
            state = "seen"
            if effect is not None and effect.alarm is not None:
                close(connection, effect.alarm, request.station_id, now)
        elif request.effect_by <= now:
            state = "missing"
            if effect.alarm is not None:
                alarms.append(_alarm(effect.alarm, request))
                if effect.alarm == "reset_without_boot" and request.requested_by.startswith("job:"):
                    alarms.append(_alarm(NEEDS_HARD, request))  # T12: a job goes no further
        else:
            continue
        still = (row.id == request.id, row.effect == "awaited")
        connection.execute(update(row).where(*still).values(effect=state, effect_at=now))
    raise_alarms(connection, alarms, now)
    return []


NEEDS_HARD = "hard_reset_needed"  # what people are asked to do by hand, since no job may (T12)


def _alarm(kind: str, request: Row[Any]) -> Alarm:
    why = {"request_id": request.id, "requested_by": request.requested_by}
    return Alarm(kind=kind, subject=request.station_id, station_id=request.station_id, detail=why)


def _effect_of(request: Row[Any]) -> Effect | None:
    """None for what a newer version asked and awaits."""
    within = request.command.get("kind") if request.kind in ("reset_station", "trigger_message") else request.outcome
    return EFFECT.get((request.kind, str(within)))
