"""Partners' commands: judged at once from what we know, handed to the station's remote control, answered before it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, Row, and_, insert, select

from adapters import v211
from adapters.commands import ACCEPTED, NOT_SUPPORTED, REJECTED, UNKNOWN_SESSION, command_response
from adapters.datatypes import Unreadable, optional_text, read_moment
from adapters.locations import capabilities
from adapters.v211.commands import command_from_211
from crud.caller import Caller, Party, Refusal
from crud.locations import find as find_location
from crud.models import CommandCallback
from crud.scope import acts_for, body, caller, own, request
from crud.sessions import is_reserved, shown
from crud.tokens import store
from csms import reservations
from csms.availability import Availability
from csms.commands import Command, StartRemotely, StopRemotely, UnlockConnector
from csms.database import Database
from csms.events import ConnectorStatus
from csms.features import features_of
from csms.lifecycle import State
from csms.locations import availability
from csms.models import Connector, Evse, Reservation, Station, Transaction
from csms.requests import tag_for
from csms.reservations import NotReservable, UnknownEvse
from csms.stations import UnknownStation

log = structlog.get_logger(__name__)

SEND_TIMEOUT_S = 30.0  # how long the station may take
RESULT_MARGIN_S = 10  # from the station's silence until its result has left us (CM-06)

_EVSE = Evse.__table__.c


class Remote(Protocol):
    """The core's remote control: a receipt in the transaction that judged the command, then the command on its way."""

    def receipt(
        self,
        connection: Connection,
        command: Command[Any],
        *,
        requested_by: str,
        token_id: int | None = None,
        authorization_reference: str | None = None,
        timeout_s: float = SEND_TIMEOUT_S,
    ) -> str: ...

    def carry_out(self, request_id: str, command: Command[Any], *, requested_by: str, timeout_s: float) -> None: ...


UrlAllowed = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command that may be sent, and for which party of the caller."""

    command: Command[Any]
    party: Party
    token_id: int | None = None
    authorization_reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A request that waits in the database already, and for which party of the caller."""

    request_id: str
    party: Party


class Declined(Exception):
    """The direct answer is `result`, and nothing was sent."""

    def __init__(self, result: str, why: str) -> None:
        super().__init__(why)
        self.result = result


Judge = Callable[[Connection, Caller, Mapping[str, Any]], Order | Queued]


class CommandsCrud:
    """`url_allowed`: may a result be posted there? Its answer comes before anything is sent."""

    def __init__(
        self,
        database: Database,
        remote: Remote,
        *,
        url_allowed: UrlAllowed,
        send_timeout_s: float = SEND_TIMEOUT_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._remote = remote
        self._url_allowed = url_allowed
        self._send_timeout_s = send_timeout_s
        self._clock = clock
        self._judges: dict[str, Judge] = {
            "START_SESSION": self._start,
            "STOP_SESSION": _stop,
            "UNLOCK_CONNECTOR": _unlock,
            "RESERVE_NOW": self._reserve,
            "CANCEL_RESERVATION": self._cancel,
        }

    async def do(
        self, action: Any, data: Mapping[str, Any], *, command: Any, version: str = "2.2.1", **_: Any
    ) -> dict[str, Any]:
        """The CommandResponse. Raises Refusal: 2003 for an unknown location, 2001 for what cannot be used."""
        asking, kind, sent = caller(), str(getattr(command, "value", command)), body(data)
        if version == v211.VERSION:
            sent = command_from_211(sent, commanding_party(asking))
        judge = self._judges.get(kind)
        if judge is None:
            return command_response(NOT_SUPPORTED)
        response_url = str(sent.get("response_url", ""))
        if not await self._url_allowed(response_url):
            raise Refusal(200, 2001, "response_url leads where nothing may be sent", {"field": "response_url"})

        def waits(connection: Connection, request_id: str, party: Party) -> None:
            connection.execute(
                insert(CommandCallback).values(
                    request_id=request_id,
                    partner_id=asking.partner_id,
                    command=kind,
                    response_url=response_url,
                    country_code=party[0],
                    party_id=party[1],
                    created_at=self._clock(),
                )
            )

        try:
            ready = await asyncio.to_thread(self._judged, judge, asking, sent, waits)
        except Declined as declined:
            log.info("command_declined", command=kind, partner=asking.name, result=declined.result, why=str(declined))
            return command_response(declined.result, message=str(declined))
        if ready is not None:
            request_id, ordered = ready
            self._remote.carry_out(request_id, ordered, requested_by=_asked_by(asking), timeout_s=self._send_timeout_s)
        return command_response(ACCEPTED, timeout_s=int(self._send_timeout_s) + RESULT_MARGIN_S)

    def _judged(
        self,
        judge: Judge,
        asking: Caller,
        sent: Mapping[str, Any],
        waits: Callable[[Connection, str, Party], None],
    ) -> tuple[str, Command[Any]] | None:
        """What is to be sent now, with its receipt's id; None: it is queued. One transaction for all that is written, so that
        the charger waits for one commit."""
        with self._database.write() as connection:
            order = judge(connection, asking, sent)
            if isinstance(order, Queued):
                waits(connection, order.request_id, order.party)
                return None
            request_id = self._remote.receipt(
                connection,
                order.command,
                requested_by=_asked_by(asking),
                token_id=order.token_id,
                authorization_reference=order.authorization_reference,
                timeout_s=self._send_timeout_s,
            )
            waits(connection, request_id, order.party)
            return request_id, order.command

    def _start(self, connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Order:
        """CM-20 to CM-26. The token's data is kept for Session and CDR; whether it is good is the partner's business."""
        token, party = _token(sent)
        if sent.get("connector_id") and not sent.get("evse_uid"):
            raise Refusal(200, 2001, "connector_id needs evse_uid", {"field": "evse_uid"})
        location = _location(connection, sent)
        row, _ = store(connection, token, asking.partner_id, self._clock())
        if sent.get("evse_uid"):
            evse = _evse(connection, location, sent)
            if sent.get("connector_id"):
                _connector(connection, evse, sent)
        else:
            evse = _kept_evse(connection, location, row.id) or _free_evse(connection, location)
        held = reservations.held_tag(connection, station_id=evse.station_id, token_id=row.id, evse=evse.evse)
        tag = held or tag_for(connection, row)
        return Order(
            command=StartRemotely(station_id=evse.station_id, evse=evse.evse, id_token=tag),
            party=party,
            token_id=row.id,
            authorization_reference=optional_text(sent.get("authorization_reference"), 36),
        )

    def _reserve(self, connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Queued:
        """CM-40 to CM-44. The station knows it by a number of ours; the partner's own id for it, sent again, replaces it."""
        token, party = _token(sent)
        location = _location(connection, sent)
        reference = _reference(asking, sent)
        row, _ = store(connection, token, asking.partner_id, self._clock())
        if sent.get("evse_uid"):
            evse = _evse(connection, location, sent)
            if not _reservable(connection, [evse]):
                raise Declined(NOT_SUPPORTED, "this EVSE cannot be reserved")
        else:
            known = reservations.find(connection, owner_id=asking.partner_id, reference=reference)
            evse = _same_evse(connection, location, known) or _free_evse(connection, location, _reservable)
        try:
            number = reservations.reserve(
                connection,
                station_id=evse.station_id,
                evse=evse.evse,
                token_id=row.id,
                expires_at=read_moment(sent.get("expiry_date"), "expiry_date"),
                requested_by=f"partner:{asking.partner_id}",
                now=self._clock(),
                owner_id=asking.partner_id,
                reference=reference,
                authorization_reference=optional_text(sent.get("authorization_reference"), 36),
                timeout_s=self._send_timeout_s,
            )
        except Unreadable as unreadable:
            raise Refusal(200, 2001, str(unreadable), {"field": unreadable.field}) from unreadable
        except (NotReservable, UnknownEvse, UnknownStation) as reason:
            raise Declined(REJECTED, str(reason) or "unknown EVSE") from reason
        asked = select(Reservation.remote_request_id).where(Reservation.number == number)
        return Queued(request_id=str(connection.execute(asked).scalar_one()), party=party)

    def _cancel(self, connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Queued:
        """CM-46: another partner's reservation is as unknown as none."""
        known = reservations.find(connection, owner_id=asking.partner_id, reference=_reference(asking, sent))
        if known is None:
            raise Declined(REJECTED, "no such reservation")
        if known.state not in reservations.OPEN:
            raise Declined(REJECTED, f"the reservation is {known.state}")
        _require_online(connection, known.station_id)
        request_id = reservations.cancel(
            connection,
            known.number,
            requested_by=f"partner:{asking.partner_id}",
            now=self._clock(),
            timeout_s=self._send_timeout_s,
        )
        return Queued(request_id=request_id, party=commanding_party(asking))


def _asked_by(asking: Caller) -> str:
    return f"partner:{asking.partner_id}"


def _stop(connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Order:
    """CM-30: another partner's session is as unknown as none."""
    session_id = str(sent.get("session_id", ""))
    query = select(Transaction.__table__).where(
        Transaction.id.in_({session_id, session_id.lower()}), *shown(), *own(Transaction)
    )
    transaction = connection.execute(query).first()
    if transaction is None and is_reserved(connection, session_id):
        raise Declined(REJECTED, "nobody charges in this session: its reservation can be cancelled")
    if transaction is None:
        raise Declined(UNKNOWN_SESSION, "no such session")
    if transaction.state not in (State.ACTIVE, State.ORPHANED):
        raise Declined(REJECTED, "the session has ended")
    _require_online(connection, transaction.station_id)
    reference = transaction.transaction_ref or str(transaction.number)
    command = StopRemotely(station_id=transaction.station_id, transaction_ref=reference)
    return Order(command=command, party=commanding_party(asking))


def _unlock(connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Order:
    """CM-31."""
    evse = _evse(connection, _location(connection, sent), sent)
    connector = _connector(connection, evse, sent)
    command = UnlockConnector(station_id=evse.station_id, evse=evse.evse, connector=connector.position)
    return Order(command=command, party=commanding_party(asking))


def _token(sent: Mapping[str, Any]) -> tuple[Mapping[str, Any], Party]:
    """The token in the command, which is one of the caller's (CM-20, CM-40), and its party."""
    token = sent.get("token")
    if not isinstance(token, Mapping):
        raise Refusal(200, 2001, "token: missing", {"field": "token"})
    party = (str(token.get("country_code")), str(token.get("party_id")))
    if not acts_for(*party):
        raise Declined(REJECTED, "the token is not one of yours")
    return token, party


def _reference(asking: Caller, sent: Mapping[str, Any]) -> str:
    """Without case, as OCPI's ids are (TY-04); behind a hub two clients may use the same."""
    reference = str(sent.get("reservation_id") or "")
    if not 0 < len(reference) <= 36:
        raise Refusal(200, 2001, "reservation_id: 1 to 36 characters", {"field": "reservation_id"})
    client = f"{'-'.join(commanding_party(asking))} ".upper() if asking.is_hub else ""
    return client + reference.casefold()


def _location(connection: Connection, sent: Mapping[str, Any]) -> Row[Any]:
    location = find_location(connection, str(sent.get("location_id", "")))
    if location is None:
        raise Refusal(200, 2003, "unknown location", {"field": "location_id"})
    return location


def _evse(connection: Connection, location: Row[Any], sent: Mapping[str, Any]) -> Row[Any]:
    """The one that is named, if it is there and its station is online (CM-09, CM-11)."""
    query = select(Evse.__table__).where(
        _EVSE.location_row == location.id,
        _EVSE.uid_key == str(sent.get("evse_uid", "")).casefold(),
        _EVSE.removed.is_(False),
    )
    evse = connection.execute(query).one_or_none()
    if evse is None:
        raise Declined(REJECTED, "unknown EVSE")
    _require_online(connection, evse.station_id)
    return evse


def _connector(connection: Connection, evse: Row[Any], sent: Mapping[str, Any]) -> Row[Any]:
    query = select(Connector.__table__).where(Connector.__table__.c.evse_row == evse.id, Connector.removed.is_(False))
    wanted = str(sent.get("connector_id", "")).casefold()
    for connector in connection.execute(query):
        if connector.connector_id.casefold() == wanted:
            return connector
    raise Declined(REJECTED, "unknown connector")


def _free_evse(
    connection: Connection,
    location: Row[Any],
    fit: Callable[[Connection, Sequence[Row[Any]]], Sequence[Row[Any]]] = lambda _, evses: evses,
) -> Row[Any]:
    """One where a session can start and that is `fit`; first where a car is plugged in already (CM-23)."""
    query = (
        select(Evse.__table__)
        .join(Station, Station.station_id == _EVSE.station_id)
        .where(_EVSE.location_row == location.id, Station.connection_id.is_not(None))
        .order_by(_EVSE.station_id, _EVSE.evse)
    )
    fitting = fit(connection, connection.execute(query).all())
    if not fitting:
        raise Declined(NOT_SUPPORTED if fit is _reservable else REJECTED, "no EVSE can do that")
    free = [evse for evse in fitting if availability(evse, station_offline=False) is Availability.AVAILABLE]
    plugged = [evse for evse in free if evse.status == ConnectorStatus.PREPARING]
    if not free:
        raise Declined(REJECTED, "no EVSE is free")
    return (plugged or free)[0]


def _reservable(connection: Connection, evses: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    """Those that advertise it (CM-10)."""
    can = features_of(connection, {evse.station_id for evse in evses})
    return [evse for evse in evses if "RESERVABLE" in capabilities(evse.details or {}, can.get(evse.station_id))]


def _kept_evse(connection: Connection, location: Row[Any], token_id: int) -> Row[Any] | None:
    """The one of the location that is kept for this token, if one is."""
    query = (
        select(Evse.__table__)
        .join(Reservation, and_(Reservation.station_id == _EVSE.station_id, Reservation.evse == _EVSE.evse))
        .join(Station, Station.station_id == _EVSE.station_id)
        .where(
            _EVSE.location_row == location.id,
            _EVSE.removed.is_(False),
            Station.connection_id.is_not(None),
            Reservation.token_id == token_id,
            Reservation.state == "active",
        )
    )
    return connection.execute(query.order_by(Reservation.number.desc()).limit(1)).one_or_none()


def _same_evse(connection: Connection, location: Row[Any], known: Row[Any] | None) -> Row[Any] | None:
    """Where this reservation is held already, if that is at this location (CM-42)."""
    if known is None or known.state not in reservations.OPEN:
        return None
    query = select(Evse.__table__).where(
        _EVSE.location_row == location.id,
        _EVSE.station_id == known.station_id,
        _EVSE.evse == known.evse,
        _EVSE.removed.is_(False),
    )
    evse = connection.execute(query).one_or_none()
    if evse is not None:
        _require_online(connection, evse.station_id)
    return evse


def _require_online(connection: Connection, station_id: str) -> None:
    query = select(Station.connection_id).where(Station.station_id == station_id)
    if connection.execute(query).scalar() is None:
        raise Declined(REJECTED, "the station is offline")


def commanding_party(asking: Caller) -> Party:
    """The commanding party, to which the result is addressed (RT-13): as the headers say, else the caller's eMSP role."""
    incoming = request()
    if incoming is not None and incoming.from_party is not None and asking.speaks_for(*incoming.from_party):
        return incoming.from_party
    roles = sorted(asking.roles, key=lambda role: role[2] != "EMSP")
    return (roles[0][0], roles[0][1]) if roles else asking.our_party
