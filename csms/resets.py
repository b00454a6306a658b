"""Restarting a station: softly by whoever may ask, the hard way by a person with a reason and after the soft way failed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from csms import effects, people
from csms.alerts import Alarm, raise_alarms
from csms.commands import Answer, Outcome, ResetKind, ResetStation
from csms.effects import NEEDS_HARD
from csms.journal import Fact, FactType, append
from csms.lifecycle import State
from csms.models import RemoteRequest, Transaction
from csms.requests import PERSON, enqueue
from csms.stations import must_exist
from csms.users import Role

SOFT_FAILED_WITHIN = timedelta(minutes=30)
NO_DECISION = ("timed_out", "failed")
REASON_LENGTH = 500


class NotAllowed(Exception):
    """This one may not reset a station the hard way; says why."""


class TooEarly(Exception):
    """The soft way has not failed yet, or it may still work; says what is missing."""


class Charging(Exception):
    """Somebody charges there."""


def soft(
    connection: Connection,
    station_id: str,
    *,
    requested_by: str,
    now: datetime,
    only_idle: bool = False,
    timeout_s: float = 30.0,
) -> str:
    """Restart the station after it ended its transactions; returns the request's id. `only_idle`: raises Charging while
    anybody charges there, which is what jobs ask. Raises UnknownStation. A Boot must follow (csms.effects)."""
    must_exist(connection, station_id)
    if only_idle and (running := charging(connection, station_id)):
        raise Charging(f"{running} transactions run at {station_id}")
    return enqueue(
        connection, ResetStation(station_id=station_id), requested_by=requested_by, now=now, timeout_s=timeout_s
    )


def hard(
    connection: Connection,
    station_id: str,
    *,
    person: str,
    reason: str,
    now: datetime,
    override: bool = False,
    even_charging: bool = False,
    timeout_s: float = 60.0,
) -> str:
    """Cut the station's controller off and on again; returns the request's id (R04, R05).

    `person` is the name of a user who may operate, and never a key, a partner or a job. Refused with TooEarly unless a soft
    reset failed within the last 30 minutes; `override` is the person's word that it need not be tried. Refused with Charging
    while somebody charges there, unless `even_charging`. Raises also UnknownStation, NotAllowed, and ValueError without a
    reason. Who asked, when and why stays with the request, and is told in the journal and by an alert.
    """
    must_exist(connection, station_id)
    who = people.find(connection, person)
    if who is None or who.disabled_at is not None:
        raise NotAllowed(f"{person} is no user who may log in here")
    if not who.may(Role.OPERATOR):
        raise NotAllowed(f"{person} is {who.role.value}; it takes an operator")
    why = " ".join(reason.split())[:REASON_LENGTH]
    if not why:
        raise ValueError("a hard reset needs a reason")
    if not override and (missing := too_early(connection, station_id, now)):
        raise TooEarly(missing)
    running = charging(connection, station_id)
    if running and not even_charging:
        raise Charging(f"{running} transactions run at {station_id}")
    command = ResetStation(station_id=station_id, kind=ResetKind.HARD)
    asked = f"{PERSON}{who.name}"
    request_id = enqueue(connection, command, requested_by=asked, now=now, timeout_s=timeout_s, reason=why)
    detail = {
        "person": who.name,
        "reason": why,
        "without_soft": override and too_early(connection, station_id, now) is not None,
        "transactions": running,
    }
    fact = Fact(type=FactType.HARD_RESET_ORDERED, subject=request_id, station_id=station_id, data=detail)
    append(connection, [fact], now=now)
    alarm = Alarm(kind="hard_reset", subject=request_id, station_id=station_id, detail=detail)
    raise_alarms(connection, [alarm], now)
    return request_id


def needs_hard(connection: Connection, station_id: str, why: str, now: datetime) -> None:
    """Put it on the list of what people have to do: no job resets a station the hard way (T12). Raises UnknownStation."""
    must_exist(connection, station_id)
    alarm = Alarm(kind=NEEDS_HARD, subject=station_id, station_id=station_id, detail={"why": why})
    raise_alarms(connection, [alarm], now)


def was_reset(
    connection: Connection, request_id: str, command: ResetStation, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """A soft reset that a job asked for and did not get is a task for people (outcomes.FOLLOWS)."""
    if answer.outcome in (Outcome.ACCEPTED, Outcome.SCHEDULED, Outcome.OFFLINE):
        return []
    asked = connection.execute(select(RemoteRequest.requested_by).where(RemoteRequest.id == request_id)).scalar()
    if command.kind is ResetKind.SOFT and asked is not None and asked.startswith("job:"):
        needs_hard(connection, command.station_id, f"{asked} asked for a soft reset: {answer.outcome.value}", now)
    return []


def too_early(connection: Connection, station_id: str, now: datetime) -> str | None:
    """What still speaks against a hard reset; None when the last soft one failed a short while ago."""
    row = RemoteRequest
    asked = connection.execute(
        select(row.__table__)
        .where(row.station_id == station_id, row.kind == "reset_station", row.created_at > now - SOFT_FAILED_WITHIN)
        .order_by(row.created_at.desc())
    ).all()
    softly = next((request for request in asked if request.command.get("kind") == ResetKind.SOFT.value), None)
    if softly is None:
        return "no soft reset was tried in the last 30 minutes"
    return verdict(softly, booted=effects.booted(connection, softly))


def verdict(softly: Row[Any], *, booted: bool) -> str | None:
    """Of the last soft reset: why it is no reason for a hard one; None when it is. `booted`: a Boot came since."""
    if softly.state == "rejected":
        return None
    if booted:
        return "the station booted after the soft reset"
    if softly.state in NO_DECISION or (softly.state == "accepted" and softly.effect == "missing"):
        return None
    return {
        "accepted": "the soft reset was accepted, and its Boot may still come",
        "offline": "the soft reset did not reach the station",
    }.get(softly.state, "the soft reset has no outcome yet")


def charging(connection: Connection, station_id: str) -> int:
    """How many transactions run at the station."""
    query = select(Transaction.id).where(Transaction.station_id == station_id, Transaction.state == State.ACTIVE.value)
    return len(connection.execute(query).all())
