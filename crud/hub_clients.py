"""Who stands behind a hub, as it says itself (HubClientInfo): whose objects may come from there, and who can be reached."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, delete, func, null, select, update

from adapters.datatypes import Unreadable, moment, read_moment
from crud.caller import OPERATOR, Caller, Party, Refusal
from crud.models import Delivery, HubClient, Partner
from crud.scope import caller
from csms.alerts import Alarm, close, raise_alarms
from csms.database import Database, insert_into

log = structlog.get_logger(__name__)

CONNECTED = "CONNECTED"
STATUSES = (CONNECTED, "OFFLINE", "PLANNED", "SUSPENDED")
ALARMS = {"PLANNED": "hub_party_planned", "SUSPENDED": "hub_party_suspended"}  # what a person must see to (HC-04)
KEYS = ("partner_id", "country_code", "party_id", "role")


@dataclass(frozen=True, kw_only=True)
class ClientInfo:
    """`party` and `role` in capitals."""

    party: Party
    role: str
    status: str
    last_updated: datetime


def client_from_ocpi(body: Mapping[str, Any], now: datetime) -> ClientInfo:
    """Raises Unreadable. The specification's own example has no last_updated: it is taken as of `now` (ER-10)."""
    words = {}
    for name, length in (("country_code", 2), ("party_id", 3)):
        value = body.get(name)
        if not isinstance(value, str) or len(value) != length or not (value.isascii() and value.isalnum()):
            raise Unreadable(name, f"not {length} letters or digits")
        words[name] = value.upper()
    role, status = (str(body.get(name) or "").upper() for name in ("role", "status"))
    if not 0 < len(role) <= 20:
        raise Unreadable("role", "missing")
    if status not in STATUSES:
        raise Unreadable("status", f"none of {', '.join(STATUSES)}")
    at = read_moment(body["last_updated"], "last_updated") if body.get("last_updated") else now
    return ClientInfo(party=(words["country_code"], words["party_id"]), role=role, status=status, last_updated=at)


def client_to_ocpi(row: Any) -> dict[str, Any]:
    return {
        "country_code": row.country_code,
        "party_id": row.party_id,
        "role": row.role,
        "status": row.status,
        "last_updated": moment(row.last_updated),
    }


# ---- what is known --------------------------------------------------------------------------------------------------


def known_parties(connection: Connection, partner_id: int) -> frozenset[Party] | None:
    """The hub's clients that may bring cards; None when it never told us all of them, so that any party may be one."""
    pulled = connection.execute(select(Partner.clients_pulled_at).where(Partner.id == partner_id)).scalar()
    if pulled is None:
        return None
    query = select(HubClient.country_code, HubClient.party_id).where(
        HubClient.partner_id == partner_id, HubClient.role != OPERATOR
    )
    return frozenset((row.country_code, row.party_id) for row in connection.execute(query))


def away(connection: Connection, partner_id: int, party: Party) -> str | None:
    """Why nothing may be sent to this party of the hub: its status there. None: it is connected, or nothing was said."""
    statuses = set(
        connection.execute(
            select(HubClient.status).where(
                HubClient.partner_id == partner_id,
                HubClient.country_code == party[0].upper(),
                HubClient.party_id == party[1].upper(),
            )
        ).scalars()
    )
    return None if CONNECTED in statuses else next((status for status in STATUSES if status in statuses), None)


def halted(party: Party | None, why: str) -> str:
    """What stands in a delivery that waits for a party of a hub; `release` finds it by its beginning."""
    return f"hub: {'-'.join(party) if party else '?'}: {why}"


# ---- what the hub says ----------------------------------------------------------------------------------------------


def keep(connection: Connection, partner_id: int, told: Iterable[ClientInfo], now: datetime) -> Collection[Party]:
    """Write what is newer than what we have, and let go what waited for parties that came back: it is told once, as it is
    then (HC-07). Returns those parties."""
    back: dict[Party, None] = {}
    for client in sorted(told, key=lambda client: (client.party, client.role)):
        before = _row(connection, partner_id, client)
        if before is not None and client.last_updated < before.last_updated:
            continue
        row = {
            "partner_id": partner_id,
            "country_code": client.party[0],
            "party_id": client.party[1],
            "role": client.role,
            "status": client.status,
            "last_updated": client.last_updated,
            "received_at": now,
        }
        changed = {name: value for name, value in row.items() if name not in KEYS}
        insert = insert_into(connection, HubClient).values(**row)
        connection.execute(insert.on_conflict_do_update(index_elements=list(KEYS), set_=changed))
        if before is not None and before.status == client.status:
            continue
        log.info("hub_client", partner_id=partner_id, party="-".join(client.party), status=client.status)
        _tell_operator(connection, partner_id, client, now)
        if client.status == CONNECTED:
            back[client.party] = None
    for party in back:
        release(connection, partner_id, party, now)
    return list(back)


def replace(
    connection: Connection, partner_id: int, told: Iterable[ClientInfo], started_at: datetime, now: datetime
) -> Collection[Party]:
    """The hub's whole list, read from `started_at` on: what it lacks is no longer valid, unless it came meanwhile."""
    listed = list(told)
    back = keep(connection, partner_id, listed, now)
    named = {(*client.party, client.role) for client in listed}
    query = select(HubClient.__table__).where(HubClient.partner_id == partner_id, HubClient.received_at < started_at)
    for row in connection.execute(query).all():
        if (row.country_code, row.party_id, row.role) not in named:
            connection.execute(delete(HubClient).where(*(getattr(HubClient, key) == getattr(row, key) for key in KEYS)))
    connection.execute(update(Partner).where(Partner.id == partner_id).values(clients_pulled_at=started_at))
    roles = connection.execute(select(Partner.roles).where(Partner.id == partner_id)).scalar_one()
    here = {(role["country_code"], role["party_id"]) for role in roles if role["role"] == "HUB"}
    for party in here | {client.party for client in listed if client.status == CONNECTED}:
        release(connection, partner_id, party, now)
    return back


def forget(connection: Connection, partner_id: int) -> None:
    connection.execute(delete(HubClient).where(HubClient.partner_id == partner_id))
    connection.execute(update(Partner).where(Partner.id == partner_id).values(clients_pulled_at=None))


def release(connection: Connection, partner_id: int, party: Party, now: datetime) -> int:
    """What waited for this party is due; returns how much."""
    waiting = (Delivery.partner_id == partner_id, Delivery.stopped.startswith(halted(party, ""), autoescape=True))
    due = {"stopped": null(), "attempts": 0, "next_attempt_at": now}
    return connection.execute(update(Delivery).where(*waiting).values(due)).rowcount


def _row(connection: Connection, partner_id: int, client: ClientInfo) -> Any:
    key = (partner_id, *client.party, client.role)
    where = [getattr(HubClient, name) == value for name, value in zip(KEYS, key, strict=True)]
    return connection.execute(select(HubClient.__table__).where(*where)).one_or_none()


def _tell_operator(connection: Connection, partner_id: int, client: ClientInfo, now: datetime) -> None:
    name = connection.execute(select(Partner.name).where(Partner.id == partner_id)).scalar_one()
    subject = f"{name}: {'-'.join(client.party)}"
    for status, kind in ALARMS.items():
        if status == client.status:
            waiting = select(func.count()).where(
                Delivery.partner_id == partner_id,
                Delivery.module == "cdrs",
                Delivery.stopped.startswith(halted(client.party, ""), autoescape=True),
            )
            detail = {"role": client.role, "cdrs_waiting": connection.execute(waiting).scalar_one()}
            raise_alarms(connection, [Alarm(kind=kind, subject=subject, detail=detail)], now)
        else:
            close(connection, kind, subject, now)


# ---- the module -----------------------------------------------------------------------------------------------------


class HubClientsCrud:
    """`changed` is called on the loop after a party came back, so that what waited for it goes at once."""

    def __init__(
        self, database: Database, *, clock: Callable[[], datetime], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed

    async def get(self, id: Any, *, country_code: str, party_id: str, **_: Any) -> dict[str, Any] | None:
        asking = _hub()
        return await asyncio.to_thread(self._get, asking, (country_code.upper(), party_id.upper()))

    async def update(self, data: Mapping[str, Any], id: Any, *, country_code: str, party_id: str, **_: Any) -> None:
        asking = _hub()
        try:
            client = client_from_ocpi(data, self._clock())
        except Unreadable as error:
            raise Refusal(200, 2001, str(error), {"field": error.field}) from None
        for name, sent, addressed in zip(
            ("country_code", "party_id"), client.party, (country_code, party_id), strict=True
        ):
            if sent != addressed.upper():
                raise Refusal(200, 2001, f"{name} differs from the address", {"field": name})
        if await asyncio.to_thread(self._keep, asking, client):
            self._changed()

    def _get(self, asking: Caller, party: Party) -> dict[str, Any] | None:
        query = select(HubClient.__table__).where(
            HubClient.partner_id == asking.partner_id,
            HubClient.country_code == party[0],
            HubClient.party_id == party[1],
        )
        with self._database.read() as connection:
            row = connection.execute(query.order_by(HubClient.last_updated.desc())).first()
        return None if row is None else client_to_ocpi(row)

    def _keep(self, asking: Caller, client: ClientInfo) -> Collection[Party]:
        with self._database.write() as connection:
            return keep(connection, asking.partner_id, [client], self._clock())


def _hub() -> Caller:
    asking = caller()
    if not asking.is_hub:
        raise Refusal(404, 2001, "Only a hub tells of its clients")
    return asking
