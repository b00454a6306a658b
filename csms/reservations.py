"""An EVSE is kept free for a card until a time: asked of the station, refused or held, and used by the start that follows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select, update

from csms.bus import Admission
from csms.clock import SKEW_LIMIT
from csms.commands import Answer, CancelReservation, Outcome, ReserveEvse
from csms.database import insert_into
from csms.events import TransactionStarted
from csms.journal import Fact, FactType, append
from csms.models import Evse, RemoteRequest, Reservation, Station, Token
from csms.requests import WIRE_TAG_LENGTH, enqueue, tag_for
from csms.reserved_sessions import OPEN as OPEN
from csms.reserved_sessions import granted
from csms.stations import UnknownStation
from csms.tokens import normalize

LONGEST = timedelta(days=31)
GRACE = timedelta(seconds=60)  # a station's clock may be behind ours
REMEMBERED = timedelta(days=7)  # a start that a station kept while it was alone may come as late
UNCERTAIN = (Outcome.TIMEOUT, Outcome.FAILED)  # the station may have taken it all the same
OURSELVES = "job:reservations"

Row_ = dict[str, Any]


class UnknownEvse(Exception):
    """The station has no such EVSE."""


class UnknownReservation(Exception):
    """There is no reservation of this number."""


class ReservationOver(Exception):
    """It is refused, cancelled, used or expired; the text is its state."""


class NotReservable(Exception):
    """No station could be told so: the time is over, or the card has no name that fits the wire. The text says why."""


# ---- verbs ----------------------------------------------------------------------------------------------------------


def reserve(
    connection: Connection,
    *,
    station_id: str,
    evse: int | None,
    token_id: int | None = None,
    tag: str | None = None,
    expires_at: datetime,
    requested_by: str,
    now: datetime,
    owner_id: int | None = None,
    reference: str | None = None,
    authorization_reference: str | None = None,
    timeout_s: float = 30.0,
) -> int:
    """Ask the station to keep `evse` (None: any) for a card; returns the number on the wire, the row's key.

    The card is `token_id`, or `tag` as it is for one we do not know. An open reservation of the same owner and reference is
    replaced: at the same station under its number, and what it said holds until the station accepts the new; elsewhere it
    is cancelled first. `remote_request_id` of the row names the request to wait for. Raises UnknownStation, UnknownEvse,
    NotReservable.
    """
    _must_exist(connection, station_id, evse)
    if expires_at <= now:
        raise NotReservable("it would be over already")
    if expires_at > now + LONGEST:
        raise NotReservable(f"at most for {LONGEST.days} days")
    known = _open(connection, owner_id, reference)
    if known is not None and known.station_id != station_id:
        cancel(connection, known.number, requested_by=requested_by, now=now, timeout_s=timeout_s)
        append(connection, _told(connection, known, now, state="cancelled", detail=None, finished_at=now), now=now)
        known = None
    card = _card(connection, token_id)
    tag = _tag(connection, card, tag, known)
    wished = {
        "station_id": station_id,
        "evse": evse or 0,
        "token_id": token_id,
        "tag": tag,
        "tag_key": normalize(tag),
        "authorization_reference": authorization_reference,
        "requested_by": requested_by,
        "expires_at": expires_at,
    }
    number = known.number if known is not None else _insert(connection, owner_id, reference, wished, now)
    if number is None:  # somebody else was first with the same reference
        number = _open(connection, owner_id, reference, known=True).number
    group_id = card.group_id if card is not None else None
    command = ReserveEvse(
        station_id=station_id,
        reservation_id=number,
        evse=evse or 0,
        id_token=tag,
        expires_at=expires_at,
        group_id=group_id if group_id and len(group_id) <= WIRE_TAG_LENGTH else None,
    )
    request_id = enqueue(
        connection,
        command,
        requested_by=requested_by,
        now=now,
        timeout_s=timeout_s,
        token_id=token_id,
        authorization_reference=authorization_reference,
    )
    _change(connection, number, remote_request_id=request_id, detail=None)
    return number


def cancel(connection: Connection, number: int, *, requested_by: str, now: datetime, timeout_s: float = 30.0) -> str:
    """Ask the station to forget it; returns the id of the request. It is cancelled when the station has answered. Raises
    UnknownReservation, ReservationOver."""
    row = connection.execute(_ROWS.where(Reservation.number == number).with_for_update()).one_or_none()
    if row is None:
        raise UnknownReservation(number)
    if row.state not in OPEN:
        raise ReservationOver(row.state)
    command = CancelReservation(station_id=row.station_id, reservation_id=number)
    return enqueue(connection, command, requested_by=requested_by, now=now, timeout_s=timeout_s)


def find(connection: Connection, *, owner_id: int | None, reference: str) -> Row[Any] | None:
    """The newest reservation that this owner calls so, whatever became of it."""
    query = _ROWS.where(_called(owner_id, reference)).order_by(Reservation.number.desc()).limit(1)
    return connection.execute(query).one_or_none()


def held_tag(connection: Connection, *, station_id: str, token_id: int, evse: int | None = None) -> str | None:
    """Under which id_token a station keeps an EVSE for this card, if it does: a remote start must name the same."""
    query = select(Reservation.tag).where(
        Reservation.station_id == station_id, Reservation.token_id == token_id, Reservation.state == "active"
    )
    if evse is not None:
        query = query.where(Reservation.evse.in_((0, evse)))
    return connection.execute(query.order_by(Reservation.number.desc()).limit(1)).scalar()


# ---- what follows from a station's answer ---------------------------------------------------------------------------


def was_reserved(
    connection: Connection, request_id: str, command: ReserveEvse, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """A reservation that a start has used, or that is over, stays so. One that is replaced holds as it was until the new one
    is accepted. Where nobody knows whether the station took it, it is asked to forget it: an EVSE must not be kept for
    somebody who was told no."""
    row = _locked(connection, command)
    if row is None or row.state not in OPEN:
        return []
    if answer.outcome is Outcome.ACCEPTED:
        asked = select(RemoteRequest.token_id, RemoteRequest.authorization_reference)
        request = connection.execute(asked.where(RemoteRequest.id == request_id)).one()
        return _told(
            connection,
            row,
            now,
            **granted(connection, row, evse=command.evse, token_id=request.token_id, now=now),
            state="active",
            detail=None,
            evse=command.evse,
            tag=command.id_token,
            tag_key=normalize(command.id_token),
            token_id=request.token_id,
            authorization_reference=request.authorization_reference,
            expires_at=command.expires_at,
        )
    if row.remote_request_id != request_id:
        return []  # a newer request decides
    if row.state == "active":
        return _told(connection, row, now, detail=answer.outcome.value)
    if answer.outcome in UNCERTAIN:
        forget = CancelReservation(station_id=row.station_id, reservation_id=row.number)
        enqueue(connection, forget, requested_by=OURSELVES, now=now, timeout_s=30.0)
    return _told(connection, row, now, state="refused", detail=answer.outcome.value, finished_at=now)


def was_cancelled(
    connection: Connection, _request_id: str, command: CancelReservation, answer: Answer, now: datetime
) -> Sequence[Fact]:
    """A station that refuses knows of no such reservation, so it keeps nothing. One that could not be asked still does."""
    row = _locked(connection, command)
    if row is None or row.state not in OPEN:
        return []
    if answer.outcome is Outcome.ACCEPTED:
        return _told(connection, row, now, state="cancelled", detail=None, finished_at=now)
    if answer.outcome in (Outcome.REJECTED, Outcome.NOT_FOUND):
        return _told(connection, row, now, state="cancelled", detail=answer.outcome.value, finished_at=now)
    return _told(connection, row, now, detail=answer.outcome.value)


# ---- what time decides (watch rule) ---------------------------------------------------------------------------------


def expire(connection: Connection, now: datetime) -> Sequence[Fact]:
    """Their time is over, and nobody came. A start that is told later still finds its own."""
    rows = connection.execute(
        update(Reservation)
        .where(Reservation.state.in_(OPEN), Reservation.expires_at < now - GRACE)
        .values(state="expired", finished_at=now, last_updated=now)
        .returning(Reservation.number, Reservation.station_id)
    ).all()
    return [_fact(number, station_id, state="expired") for number, station_id in rows]


# ---- the start that uses one ----------------------------------------------------------------------------------------


def for_starts(connection: Connection, starts: Sequence[TransactionStarted], now: datetime) -> list[Row_]:
    """The reservations that these starts may use, with the group of the card each is for."""
    if not starts:
        return []
    open_ = Reservation.state.in_(OPEN)
    lately = and_(Reservation.state == "expired", Reservation.finished_at > now - REMEMBERED)
    named = Reservation.number.in_([start.reservation_id for start in starts if start.reservation_id])
    query = (
        select(Reservation.__table__, Token.group_id, Token.owner_id.label("card_owner_id"))
        .outerjoin(Token, Token.id == Reservation.token_id)
        .where(Reservation.station_id.in_({start.station_id for start in starts}), or_(open_, lately, named))
        .order_by(Reservation.evse.desc(), Reservation.number)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


def used_by(found: Sequence[Row_], start: TransactionStarted, card: Any, at: datetime) -> Row_ | None:
    """The one that this start, at `at` with `card`, uses: the one it names, if that is for this card or one of its group,
    whatever became of it; else, when it names none, the one that is kept for this very card here and then."""
    for row in found:
        if row["station_id"] == start.station_id and row["state"] != "used" and _fits(row, start, card, at):
            return row
    return None


def _fits(row: Row_, start: TransactionStarted, card: Any, at: datetime) -> bool:
    same_card = row["tag_key"] == normalize(start.id_token) or (card is not None and card.id == row["token_id"])
    if start.reservation_id is not None and start.reservation_id > 0:
        return bool(start.reservation_id == row["number"]) and (same_card or _same_group(row, card))
    in_time = row["created_at"] - SKEW_LIMIT <= at <= row["expires_at"] + GRACE
    kept = row["state"] in (*OPEN, "expired") and row["created_at"] <= start.received_at
    return same_card and in_time and kept and row["evse"] in (0, start.evse)


def _same_group(row: Row_, card: Any) -> bool:
    if card is None or not card.group_id or not row["group_id"]:
        return False
    return bool(card.owner_id == row["card_owner_id"] and card.group_id.casefold() == row["group_id"].casefold())


# ---- rows -----------------------------------------------------------------------------------------------------------

_ROWS = select(Reservation.__table__)


def _called(owner_id: int | None, reference: str) -> Any:
    owner = Reservation.owner_id.is_(None) if owner_id is None else Reservation.owner_id == owner_id
    return and_(owner, Reservation.reference == reference)


def _open(connection: Connection, owner_id: int | None, reference: str | None, *, known: bool = False) -> Any:
    """The open one that this owner calls so; `known`: it must be there."""
    if reference is None:
        return None
    query = _ROWS.where(_called(owner_id, reference), Reservation.state.in_(OPEN)).with_for_update()
    found = connection.execute(query)
    return found.one() if known else found.one_or_none()


def _insert(
    connection: Connection, owner_id: int | None, reference: str | None, wished: Row_, now: datetime
) -> int | None:
    new = {**wished, "owner_id": owner_id, "reference": reference, "state": "requested", "created_at": now}
    statement = insert_into(connection, Reservation).values(**new).on_conflict_do_nothing()
    return connection.execute(statement.returning(Reservation.number)).scalar()


def _locked(connection: Connection, command: ReserveEvse | CancelReservation) -> Row[Any] | None:
    which = (Reservation.number == command.reservation_id, Reservation.station_id == command.station_id)
    return connection.execute(_ROWS.where(*which).with_for_update()).one_or_none()


def _told(connection: Connection, row: Row[Any], now: datetime, **changes: Any) -> Sequence[Fact]:
    _change(connection, row.number, **changes, last_updated=now)
    said = {"state": changes.get("state", row.state), "detail": changes.get("detail")}
    return [_fact(row.number, row.station_id, **said)]


def _change(connection: Connection, number: int, **changes: Any) -> None:
    connection.execute(update(Reservation).where(Reservation.number == number).values(**changes))


def _fact(number: int, station_id: str, **data: Any) -> Fact:
    return Fact(type=FactType.RESERVATION_CHANGED, subject=str(number), station_id=station_id, data=data)


def _must_exist(connection: Connection, station_id: str, evse: int | None) -> None:
    known = (Station.station_id == station_id, Station.admission == Admission.KNOWN.value)
    if connection.execute(select(Station.station_id).where(*known)).scalar() is None:
        raise UnknownStation(station_id)
    of_station = (Evse.station_id == station_id, Evse.removed.is_(False))
    numbers = set(connection.execute(select(Evse.evse).where(*of_station)).scalars())
    if evse and numbers and evse not in numbers:
        raise UnknownEvse(evse)


def _card(connection: Connection, token_id: int | None) -> Row[Any] | None:
    if token_id is None:
        return None
    return connection.execute(select(Token.__table__).where(Token.id == token_id)).one()


def _tag(connection: Connection, card: Any, tag: str | None, known: Any) -> str:
    if tag is None and known is not None and card is not None and known.token_id == card.id:
        tag = known.tag  # a minted one stays what it was
    if tag is None and card is not None:
        tag = tag_for(connection, card)
    if tag is None or not normalize(tag) or len(tag) > WIRE_TAG_LENGTH:
        raise NotReservable(f"a card's number has 1 to {WIRE_TAG_LENGTH} characters there")
    return tag
