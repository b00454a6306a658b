"""Partners' commands: judged at once from what we know, handed to the station's remote control, answered before it answers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, Row, insert, select

from adapters.commands import ACCEPTED, NOT_SUPPORTED, REJECTED, UNKNOWN_SESSION, command_response
from adapters.datatypes import optional_text
from crud.caller import Caller, Party, Refusal
from crud.locations import find as find_location
from crud.models import CommandCallback
from crud.scope import body, caller, own, request
from crud.sessions import shown
from crud.tokens import store
from csms.commands import Command, StartRemotely, StopRemotely, UnlockConnector
from csms.database import Database
from csms.events import ConnectorStatus
from csms.lifecycle import State
from csms.locations import Availability, availability
from csms.models import Connector, Evse, Station, Transaction
from csms.remote import tag_for

log = structlog.get_logger(__name__)

SEND_TIMEOUT_S = 30.0  # how long the station may take
RESULT_MARGIN_S = 10  # from the station's silence until its result has left us (CM-06)

_EVSE = Evse.__table__.c


class Remote(Protocol):
    """The core's remote control: returns the receipt's id at once, and writes `also` with the receipt."""

    async def request(
        self,
        command: Command[Any],
        *,
        requested_by: str,
        token_id: int | None = None,
        authorization_reference: str | None = None,
        timeout_s: float = SEND_TIMEOUT_S,
        also: Callable[[Connection, str], None] | None = None,
    ) -> str: ...


UrlAllowed = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command that may be sent, and for which party of the caller."""

    command: Command[Any]
    party: Party
    token_id: int | None = None
    authorization_reference: str | None = None


class Declined(Exception):
    """The direct answer is `result`, and nothing was sent."""

    def __init__(self, result: str, why: str) -> None:
        super().__init__(why)
        self.result = result


Judge = Callable[[Connection, Caller, Mapping[str, Any]], Order]


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
        }

    async def do(self, action: Any, data: Mapping[str, Any], *, command: Any, **_: Any) -> dict[str, Any]:
        """The CommandResponse. Raises Refusal: 2003 for an unknown location, 2001 for what cannot be used."""
        asking, kind, sent = caller(), str(getattr(command, "value", command)), body(data)
        judge = self._judges.get(kind)
        if judge is None:
            return command_response(NOT_SUPPORTED)
        response_url = str(sent.get("response_url", ""))
        if not await self._url_allowed(response_url):
            raise Refusal(200, 2001, "response_url leads where nothing may be sent", {"field": "response_url"})
        try:
            order = await asyncio.to_thread(self._judged, judge, asking, sent)
        except Declined as declined:
            log.info("command_declined", command=kind, partner=asking.name, result=declined.result, why=str(declined))
            return command_response(declined.result, message=str(declined))

        def also(connection: Connection, request_id: str) -> None:
            connection.execute(
                insert(CommandCallback).values(
                    request_id=request_id,
                    partner_id=asking.partner_id,
                    command=kind,
                    response_url=response_url,
                    country_code=order.party[0],
                    party_id=order.party[1],
                    created_at=self._clock(),
                )
            )

        await self._remote.request(
            order.command,
            requested_by=f"partner:{asking.partner_id}",
            token_id=order.token_id,
            authorization_reference=order.authorization_reference,
            timeout_s=self._send_timeout_s,
            also=also,
        )
        return command_response(ACCEPTED, timeout_s=int(self._send_timeout_s) + RESULT_MARGIN_S)

    def _judged(self, judge: Judge, asking: Caller, sent: Mapping[str, Any]) -> Order:
        with self._database.write() as connection:
            return judge(connection, asking, sent)

    def _start(self, connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Order:
        """CM-20 to CM-26. The token's data is kept for Session and CDR; whether it is good is the partner's business."""
        token = sent.get("token")
        if not isinstance(token, Mapping):
            raise Refusal(200, 2001, "token: missing", {"field": "token"})
        party = (str(token.get("country_code")), str(token.get("party_id")))
        if not asking.speaks_for(*party):
            raise Declined(REJECTED, "the token is not one of yours")
        if sent.get("connector_id") and not sent.get("evse_uid"):
            raise Refusal(200, 2001, "connector_id needs evse_uid", {"field": "evse_uid"})
        location = _location(connection, sent)
        if sent.get("evse_uid"):
            evse = _evse(connection, location, sent)
            if sent.get("connector_id"):
                _connector(connection, evse, sent)
        else:
            evse = _free_evse(connection, location)
        row, _ = store(connection, token, asking.partner_id, self._clock())
        return Order(
            command=StartRemotely(station_id=evse.station_id, evse=evse.evse, id_token=tag_for(connection, row)),
            party=party,
            token_id=row.id,
            authorization_reference=optional_text(sent.get("authorization_reference"), 36),
        )


def _stop(connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Order:
    """CM-30: another partner's session is as unknown as none."""
    session_id = str(sent.get("session_id", ""))
    query = select(Transaction.__table__).where(
        Transaction.id.in_({session_id, session_id.lower()}), *shown(), *own(Transaction)
    )
    transaction = connection.execute(query).first()
    if transaction is None:
        raise Declined(UNKNOWN_SESSION, "no such session")
    if transaction.state not in (State.ACTIVE, State.ORPHANED):
        raise Declined(REJECTED, "the session has ended")
    _require_online(connection, transaction.station_id)
    reference = transaction.transaction_ref or str(transaction.number)
    command = StopRemotely(station_id=transaction.station_id, transaction_ref=reference)
    return Order(command=command, party=_party(asking))


def _unlock(connection: Connection, asking: Caller, sent: Mapping[str, Any]) -> Order:
    """CM-31."""
    evse = _evse(connection, _location(connection, sent), sent)
    connector = _connector(connection, evse, sent)
    command = UnlockConnector(station_id=evse.station_id, evse=evse.evse, connector=connector.position)
    return Order(command=command, party=_party(asking))


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


def _free_evse(connection: Connection, location: Row[Any]) -> Row[Any]:
    """One where a session can start; first where a car is plugged in already (CM-23)."""
    query = (
        select(Evse.__table__)
        .join(Station, Station.station_id == _EVSE.station_id)
        .where(_EVSE.location_row == location.id, Station.connection_id.is_not(None))
        .order_by(_EVSE.station_id, _EVSE.evse)
    )
    free = [
        evse
        for evse in connection.execute(query)
        if availability(evse, station_offline=False) is Availability.AVAILABLE
    ]
    plugged = [evse for evse in free if evse.status == ConnectorStatus.PREPARING]
    if not free:
        raise Declined(REJECTED, "no EVSE is free")
    return (plugged or free)[0]


def _require_online(connection: Connection, station_id: str) -> None:
    query = select(Station.connection_id).where(Station.station_id == station_id)
    if connection.execute(query).scalar() is None:
        raise Declined(REJECTED, "the station is offline")


def _party(asking: Caller) -> Party:
    """The commanding party, to which the result is addressed (RT-13): as the headers say, else the caller's eMSP role."""
    incoming = request()
    if incoming is not None and incoming.from_party is not None and asking.speaks_for(*incoming.from_party):
        return incoming.from_party
    roles = sorted(asking.roles, key=lambda role: role[2] != "EMSP")
    return (roles[0][0], roles[0][1]) if roles else asking.our_party
