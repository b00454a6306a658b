"""What a driver wishes of a running session, as its eMSP says it: answered at once, and made a charging profile of ours."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select

from adapters.datatypes import Unreadable, number, read_moment
from crud import charging_profiles
from crud.caller import Caller, Refusal
from crud.commands import SEND_TIMEOUT_S
from crud.models import ChargingPreference
from crud.scope import caller, own, paying
from crud.sessions import is_reserved, shown
from csms.billing.choice import REGULAR, Told, is_for, phase
from csms.billing.prices_ahead import energy_price_at
from csms.billing.sessions import known_of, time_zone_of
from csms.database import Database, insert_into
from csms.lifecycle import State
from csms.locations import places
from csms.models import Station, Transaction
from csms.smart_charging import preferences, profiles
from csms.smart_charging.preferences import Answer, ProfileType, Situation, Wish
from csms.smart_charging.profile import ChargingProfile, ProfileKind, ProfilePurpose, RateUnit

log = structlog.get_logger(__name__)

CAPABLE = "CHARGING_PREFERENCES_CAPABLE"
LEAST_A = 6  # a phase, with which a car begins to charge (IEC 61851-1)
OF_TARIFF = {REGULAR: ProfileType.REGULAR, None: ProfileType.REGULAR} | {
    f"PROFILE_{kind}": kind for kind in ProfileType
}


class ChargingPreferencesCrud:
    def __init__(
        self,
        database: Database,
        *,
        send_timeout_s: float = SEND_TIMEOUT_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._send_timeout_s = send_timeout_s
        self._clock = clock

    async def do(self, action: Any, data: Mapping[str, Any], *, session_id: str, **_: Any) -> str:
        """The ChargingPreferencesResponse. Raises Refusal: HTTP 404 with 2001 where the caller has no such session, or its
        EVSE cannot (SE-31); 2001 for what cannot be read."""
        asking = caller()
        try:
            answer = await asyncio.to_thread(self._answered, asking, session_id, data)
        except Unreadable as unreadable:
            raise Refusal(200, 2001, str(unreadable), {"field": unreadable.field}) from unreadable
        log.info("preferences_answered", partner=asking.name, answer=answer.value, wish=data.get("profile_type"))
        return answer.value

    def _answered(self, asking: Caller, session_id: str, sent: Mapping[str, Any]) -> Answer:
        wish, now = read(sent), self._clock().replace(microsecond=0)
        with self._database.write() as connection:
            session = _session(connection, session_id)
            answer = Answer.NOT_POSSIBLE
            if session is not None:
                answer = self._carried(connection, asking, session, wish, now)
                _keep(connection, session, sent, answer, now)
            return answer

    def _carried(self, connection: Connection, asking: Caller, session: Row[Any], wish: Wish, now: datetime) -> Answer:
        """Where the profile cannot be set, nothing is, and the wish cannot be met."""
        if wish.kind not in _offered(connection, session, now):
            return Answer.PROFILE_TYPE_NOT_SUPPORTED
        plan = preferences.plan(wish, _situation(connection, session, now))
        if plan.answer is not Answer.ACCEPTED:
            return plan.answer
        how: dict[str, Any] = {"requested_by": name(asking), "now": now, "timeout_s": self._send_timeout_s}
        if plan.schedule is None:
            for held in charging_profiles.set_by(connection, session, name(asking)):
                profiles.clear(connection, station_id=session.station_id, number=held, **how)
            return plan.answer
        if not _is_online(connection, session.station_id):
            return Answer.NOT_POSSIBLE
        profile = ChargingProfile(
            profile_id=0,
            stack_level=0,
            purpose=ProfilePurpose.TX,
            kind=ProfileKind.ABSOLUTE,
            schedule=plan.schedule,
        )
        fitted = charging_profiles.fitted(connection, session, profile, now, ours=charging_profiles.names(asking))
        try:
            profiles.install(connection, station_id=session.station_id, evse=session.evse, profile=fitted, **how)
        except profiles.ProfileRefused as refused:
            log.info("preferences_not_possible", session=session.id, why=str(refused))
            return Answer.NOT_POSSIBLE
        return plan.answer


def name(asking: Caller) -> str:
    """Under which its profiles stand, beside those that the partner set itself."""
    return f"preferences:{asking.partner_id}"


def read(sent: Mapping[str, Any]) -> Wish:
    """Of ChargingPreferences, whose profile_type is known to be one. Raises Unreadable."""
    leaves, need = sent.get("departure_time"), sent.get("energy_need")
    energy = None if need is None else number(need, "energy_need")
    if energy is not None and not 0 <= energy <= 10_000:
        raise Unreadable("energy_need", "0 to 10000 kWh")
    return Wish(
        kind=ProfileType(sent["profile_type"]),
        departs_at=None if leaves is None else read_moment(leaves, "departure_time"),
        energy_mwh=None if energy is None else int(energy * 1_000_000),
    )


def _session(connection: Connection, session_id: str) -> Row[Any] | None:
    """The caller's, of an EVSE that can (SE-31, SE-33); None where nobody charges in it now."""
    query = select(Transaction.__table__).where(
        Transaction.id.in_({session_id, session_id.lower()}), *shown(), *own(Transaction)
    )
    session = connection.execute(query).first()
    if session is None:
        if is_reserved(connection, session_id):
            return None
        raise Refusal(404, 2001, "there is no such session")
    if CAPABLE not in charging_profiles.advertised(connection, session):
        raise Refusal(404, 2001, "this EVSE takes no charging preferences")
    return session if session.state == State.ACTIVE else None


def _offered(connection: Connection, session: Row[Any], now: datetime) -> set[ProfileType]:
    """The types for which the connector has a tariff that this partner pays (SE-33, LO-50)."""
    spot = (session.station_id, session.evse)
    place = places(connection, [spot]).get(spot)
    who = paying()
    return {
        OF_TARIFF[tariff.type]
        for tariff in (place.tariffs if place is not None else ())
        if tariff.type in OF_TARIFF and is_for(tariff, who) and phase(tariff, now) in (None, Told.IN_FORCE)
    }


def _situation(connection: Connection, session: Row[Any], now: datetime) -> Situation:
    """Its prices are those it is billed by: the tariff it began with."""
    supply = profiles.supply_of(connection, session.station_id, session.evse)
    connector = session.snapshot.get("connector") or {}
    direct = connector.get("power_type") == profiles.DIRECT
    return Situation(
        now=now,
        delivered_mwh=session.energy_mwh,
        maximum_w=int(charging_profiles.maximum(connection, session, RateUnit.WATT)),
        least_w=0 if direct else int(Decimal(LEAST_A) * supply.voltage_v * supply.phases),
        price_at=energy_price_at(
            known_of(connection, session).tariff,
            time_zone=time_zone_of(session),
            began=session.started_at,
            energy_mwh=session.energy_mwh,
        ),
    )


def _is_online(connection: Connection, station_id: str) -> bool:
    query = select(Station.connection_id).where(Station.station_id == station_id)
    return connection.execute(query).scalar() is not None


def _keep(connection: Connection, session: Row[Any], sent: Mapping[str, Any], answer: Answer, now: datetime) -> None:
    row = {"transaction_id": session.id, "preferences": dict(sent), "response": answer.value, "set_at": now}
    statement = insert_into(connection, ChargingPreference).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=["transaction_id"], set_=row))
