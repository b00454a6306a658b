"""How much a session may draw, as its eMSP wishes: judged at once, set at the charger, and told again when it changes."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Row, insert, or_, select

from adapters import charging_profiles as ocpi
from adapters.datatypes import Unreadable
from adapters.locations import capabilities
from adapters.rendered import Rendered
from adapters.sessions import cdr_token
from crud.caller import Caller, Party, Refusal
from crud.commands import RESULT_MARGIN_S, SEND_TIMEOUT_S, Declined, UrlAllowed, commanding_party
from crud.models import CommandCallback
from crud.scope import caller, own
from crud.sessions import is_reserved, shown
from csms.commands import Outcome, ScheduleAnswer
from csms.database import Database
from csms.features import features_of
from csms.lifecycle import State
from csms.locations import max_power_w
from csms.models import Connector, Evse, InstalledProfile, RemoteRequest, Station, Transaction
from csms.smart_charging import profiles
from csms.smart_charging.capping import capped, in_station_unit
from csms.smart_charging.composite import Held, Running, composite
from csms.smart_charging.profile import ChargingProfile, ChargingSchedule, ProfilePurpose, RateUnit

log = structlog.get_logger(__name__)

GET, SET, CLEAR = "GET_PROFILE", "SET_PROFILE", "CLEAR_PROFILE"  # as CommandCallback.command
FURTHEST = timedelta(days=366)  # that a profile begins before or after now
HORIZON = timedelta(days=1)  # so far ahead a partner's profile is held below the operator's
TOLD_AHEAD_S = 3600  # of what a changed profile will do (CP-06)
MAY_HOLD = ("requested", profiles.HOLDS, "unknown")

Setter = Callable[[Connection, Caller, Row[Any], Mapping[str, Any], datetime], str]


class ChargingProfilesCrud:
    """`url_allowed`: may a result be posted there? Its answer comes before anything is asked."""

    def __init__(
        self,
        database: Database,
        *,
        url_allowed: UrlAllowed,
        send_timeout_s: float = SEND_TIMEOUT_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._url_allowed = url_allowed
        self._send_timeout_s = send_timeout_s
        self._clock = clock
        self._verbs: dict[str, Setter] = {GET: self._ask, SET: self._set, CLEAR: self._clear}

    async def do(
        self, action: str, data: Mapping[str, Any] | None, *, session_id: str, response_url: str, **_: Any
    ) -> dict[str, Any]:
        """The ChargingProfileResponse. Raises Refusal 2001 for what cannot be used."""
        asking = caller()
        if not await self._url_allowed(response_url):
            raise Refusal(200, 2001, "response_url leads where nothing may be sent", {"field": "response_url"})
        try:
            await asyncio.to_thread(self._judged, action, asking, session_id, data or {}, response_url)
        except Declined as declined:
            log.info("profile_declined", verb=action, partner=asking.name, result=declined.result, why=str(declined))
            return ocpi.profile_response(declined.result)
        except Unreadable as unreadable:
            raise Refusal(200, 2001, str(unreadable), {"field": unreadable.field}) from unreadable
        return ocpi.profile_response(ocpi.ACCEPTED, timeout_s=int(self._send_timeout_s) + RESULT_MARGIN_S)

    def _judged(self, action: str, asking: Caller, session_id: str, sent: Mapping[str, Any], response_url: str) -> None:
        now = self._clock()
        with self._database.write() as connection:
            session = running(connection, session_id)
            _require_able(connection, session)
            _require_patience(connection, session, now)
            try:
                request_id = self._verbs[action](connection, asking, session, sent, now)
            except profiles.ProfileRefused as refused:
                raise Declined(ocpi.REJECTED, str(refused)) from refused
            party: Party = commanding_party(asking)
            connection.execute(
                insert(CommandCallback).values(
                    request_id=request_id,
                    partner_id=asking.partner_id,
                    command=action,
                    response_url=response_url,
                    country_code=party[0],
                    party_id=party[1],
                    created_at=now,
                    session_id=session.id,
                )
            )

    def _ask(
        self, connection: Connection, asking: Caller, session: Row[Any], sent: Mapping[str, Any], now: datetime
    ) -> str:
        return profiles.ask_schedule(
            connection,
            station_id=session.station_id,
            evse=session.evse,
            duration_s=min(int(sent["duration"]), profiles.LONGEST_S),
            unit=None,
            requested_by=_name(asking),
            now=now,
            timeout_s=self._send_timeout_s,
        )

    def _set(
        self, connection: Connection, asking: Caller, session: Row[Any], sent: Mapping[str, Any], now: datetime
    ) -> str:
        """Of what several set for the session the lowest holds (CP-10): the partner's is kept below the rest, and above it
        on the stack, where the charger looks first."""
        wished = ocpi.profile_from_ocpi(sent)
        if not wished.schedule.periods or wished.schedule.periods[0].start_s != 0:
            raise Declined(ocpi.REJECTED, "the first period of a profile begins at 0")
        if wished.schedule.starts_at is not None and abs(wished.schedule.starts_at - now) > FURTHEST:
            raise Declined(ocpi.REJECTED, "nobody charges for so long")
        number = profiles.install(
            connection,
            station_id=session.station_id,
            evse=session.evse,
            profile=fitted(connection, session, wished, now, ours=names(asking)),
            requested_by=_name(asking),
            now=now,
            timeout_s=self._send_timeout_s,
        )
        asked = select(InstalledProfile.remote_request_id).where(InstalledProfile.number == number)
        return str(connection.execute(asked).scalar_one())

    def _clear(
        self, connection: Connection, asking: Caller, session: Row[Any], sent: Mapping[str, Any], now: datetime
    ) -> str:
        """What the partner set; where we know of nothing the charger is asked for a profile like it, and says UNKNOWN."""
        numbers = set_by(connection, session, _name(asking))
        others = _others(connection, session, names(asking))
        if not numbers and any(each.profile.purpose is ProfilePurpose.TX for each in others):
            raise Declined(ocpi.REJECTED, "what this session has was not set by its partner")
        like_it: dict[str, Any] = {"evse": session.evse, "purpose": ProfilePurpose.TX}
        criteria: list[dict[str, Any]] = [{"number": number} for number in numbers] or [like_it]
        cleared = [
            profiles.clear(
                connection,
                station_id=session.station_id,
                requested_by=_name(asking),
                now=now,
                timeout_s=self._send_timeout_s,
                **which,
            )
            for which in criteria
        ]
        return cleared[-1]


# ---- may it be asked? -----------------------------------------------------------------------------------------------


def running(connection: Connection, session_id: str) -> Row[Any]:
    """The caller's running session; another partner's is as unknown as none (CP-08)."""
    query = select(Transaction.__table__).where(
        Transaction.id.in_({session_id, session_id.lower()}), *shown(), *own(Transaction)
    )
    session = connection.execute(query).first()
    if session is None and not is_reserved(connection, session_id):
        raise Declined(ocpi.UNKNOWN_SESSION, "no such session")
    if session is None or session.state != State.ACTIVE:
        raise Declined(ocpi.REJECTED, "the session does not run")
    return session


def advertised(connection: Connection, session: Row[Any]) -> list[str]:
    """What the EVSE of the session says that it can."""
    query = select(Evse.details).where(
        Evse.station_id == session.station_id, Evse.evse == session.evse, Evse.removed.is_(False)
    )
    details = connection.execute(query).scalar()
    can = features_of(connection, [session.station_id]).get(session.station_id)
    return [] if details is None else capabilities(details, can)


def _require_able(connection: Connection, session: Row[Any]) -> None:
    if "CHARGING_PROFILE_CAPABLE" not in advertised(connection, session):  # CP-12
        raise Declined(ocpi.NOT_SUPPORTED, "this EVSE takes no charging profiles")
    query = select(Station.connection_id).where(Station.station_id == session.station_id)
    if connection.execute(query).scalar() is None:
        raise Declined(ocpi.REJECTED, "the station is offline")


def _require_patience(connection: Connection, session: Row[Any], now: datetime) -> None:
    """One question at a time: the charger has to answer the last (CP-04)."""
    waiting = (
        select(RemoteRequest.id)
        .join(CommandCallback, CommandCallback.request_id == RemoteRequest.id)
        .where(
            CommandCallback.session_id == session.id, RemoteRequest.outcome.is_(None), RemoteRequest.deadline_at > now
        )
    )
    if connection.execute(waiting.limit(1)).first() is not None:
        raise Declined(ocpi.TOO_OFTEN, "the charger has not answered the last one yet")


# ---- the profile that is sent ---------------------------------------------------------------------------------------


def fitted(
    connection: Connection, session: Row[Any], wished: ChargingProfile, now: datetime, *, ours: Collection[str]
) -> ChargingProfile:
    """In a unit that the station takes, below what all others than `ours` set, and above it on the stack."""
    supply = profiles.supply_of(connection, session.station_id, session.evse)
    settings = profiles.settings_of(connection, session.station_id)
    taken = settings.get(profiles.UNITS, "").casefold()
    schedule = wished.schedule
    other = RateUnit.AMPERE if schedule.unit is RateUnit.WATT else RateUnit.WATT
    if taken and profiles.UNIT_WORD[schedule.unit] not in taken and profiles.UNIT_WORD[other] in taken:
        schedule = in_station_unit(schedule, other, supply)  # CP-11
    others = _others(connection, session, ours)
    begins = schedule.starts_at or session.started_at
    ahead_s = int((max(now, begins) - begins + HORIZON).total_seconds())
    limits = composite(
        others,
        evse=session.evse,
        starts_at=begins,
        duration_s=min(ahead_s, schedule.duration_s or ahead_s),
        unit=schedule.unit,
        supply=supply,
        running=Running(started_at=session.started_at, ref=str(session.transaction_ref or session.number)),
    )
    levels = [each.profile.stack_level for each in others if each.profile.purpose is ProfilePurpose.TX]
    level = max(levels, default=-1) + 1  # where that is more than the station takes, it is refused
    return msgspec.structs.replace(wished, stack_level=level, schedule=capped(schedule, limits))


def _others(connection: Connection, session: Row[Any], ours: Collection[str]) -> list[Held]:
    """What the station holds that limits this EVSE's transactions, without what `ours` set. The station's own limit is not
    there: the charger holds every profile below it by itself."""
    query = select(InstalledProfile.number).where(
        InstalledProfile.transaction_id == session.id, InstalledProfile.requested_by.in_(ours)
    )
    own_numbers = set(connection.execute(query).scalars())
    return [
        each
        for each in profiles.held(connection, session.station_id)
        if each.profile.purpose is not ProfilePurpose.STATION_MAX
        and each.evse in (0, session.evse)
        and each.profile.profile_id not in own_numbers
    ]


def set_by(connection: Connection, session: Row[Any], who: str) -> Sequence[int]:
    """The numbers of the profiles that `who` set for this session and that its charger may hold."""
    query = select(InstalledProfile.number).where(
        InstalledProfile.transaction_id == session.id,
        InstalledProfile.requested_by == who,
        InstalledProfile.state.in_(MAY_HOLD),
    )
    return connection.execute(query.order_by(InstalledProfile.number)).scalars().all()


def names(asking: Caller) -> Collection[str]:
    """Of the profiles that the partner set itself, and of those that its drivers' preferences became: the newest counts."""
    return (_name(asking), f"preferences:{asking.partner_id}")


def _name(asking: Caller) -> str:
    return f"partner:{asking.partner_id}"


# ---- what is told later ---------------------------------------------------------------------------------------------


def result_body(connection: Connection, row: Row[Any], outcome: Outcome, now: datetime) -> dict[str, Any]:
    """Of a CommandCallback with its request's `answer`. Where the charger accepted and told no schedule, it is what we know
    that it holds."""
    if row.command != GET or outcome is not Outcome.ACCEPTED:
        return ocpi.profile_result(outcome)
    answer = msgspec.convert(row.answer, ScheduleAnswer) if row.answer else None
    session = connection.execute(select(Transaction.__table__).where(Transaction.id == row.session_id)).one()
    if answer is None or answer.schedule is None:
        return ocpi.profile_result(outcome, _expected(connection, session, now))
    told: ChargingSchedule = answer.schedule
    return ocpi.profile_result(
        outcome,
        ocpi.active_profile(
            answer.starts_at or told.starts_at or now,
            told.unit,
            [(period.start_s, period.limit) for period in told.periods] or [(0, None)],
            duration_s=told.duration_s,
            maximum=maximum(connection, session, told.unit),
        ),
    )


def followers(connection: Connection, stations: Iterable[str]) -> list[tuple[str, int]]:
    """The running sessions at these stations whose partner has set a profile with success once (CP-06), each with it."""
    query = (
        select(Transaction.id, CommandCallback.partner_id)
        .join(CommandCallback, CommandCallback.session_id == Transaction.id)
        .join(RemoteRequest, RemoteRequest.id == CommandCallback.request_id)
        .where(
            Transaction.station_id.in_(stations),
            or_(Transaction.state == State.ACTIVE.value, Transaction.state == State.ORPHANED.value),
            CommandCallback.command == SET,
            RemoteRequest.outcome == Outcome.ACCEPTED.value,
        )
        .distinct()
    )
    return [(row.id, row.partner_id) for row in connection.execute(query)]


class ActiveProfiles:
    """What the session of this id may draw for the next hour; None once it has ended."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    def current(self, connection: Connection, id: str) -> Rendered | None:
        session = connection.execute(select(Transaction.__table__).where(Transaction.id == id)).one_or_none()
        if session is None or session.state == State.ENDED:
            return None
        profile = _expected(connection, session, self._clock())
        of = {"country_code": session.country_code, "party_id": session.party_id, "id": session.id}
        return Rendered(of | {"profile": profile, "cdr_token": cdr_token(session.snapshot)})  # whom it concerns (RT-13)


def _expected(connection: Connection, session: Row[Any], now: datetime) -> dict[str, Any]:
    unit = _unit(connection, session)
    ours = profiles.expected(
        connection,
        station_id=session.station_id,
        evse=session.evse,
        starts_at=now.replace(microsecond=0),
        duration_s=TOLD_AHEAD_S,
        unit=unit,
    )
    return ocpi.active_profile(
        ours.starts_at,
        unit,
        [(limit.start_s, limit.limit) for limit in ours.limits],
        duration_s=ours.duration_s,
        maximum=maximum(connection, session, unit),
    )


def _unit(connection: Connection, session: Row[Any]) -> RateUnit:
    """Of the last profile that was set for the session."""
    query = select(InstalledProfile.profile).where(InstalledProfile.transaction_id == session.id)
    profile = connection.execute(query.order_by(InstalledProfile.number.desc()).limit(1)).scalar()
    return RateUnit.WATT if profile is None else msgspec.convert(profile, ChargingProfile).schedule.unit


def maximum(connection: Connection, session: Row[Any], unit: RateUnit) -> Decimal:
    """Of the strongest connector of the EVSE; in amperes never more than its power allows."""
    query = (
        select(Connector.__table__)
        .join(Evse, Evse.id == Connector.__table__.c.evse_row)
        .where(Evse.station_id == session.station_id, Evse.evse == session.evse, Connector.removed.is_(False))
    )
    found = connection.execute(query).all()
    watts = max((max_power_w(connector._mapping) or 0 for connector in found), default=0)
    if unit is RateUnit.WATT:
        return Decimal(watts)
    supply = profiles.supply_of(connection, session.station_id, session.evse)
    amperes = max((connector.max_amperage for connector in found), default=0)
    of_power = Decimal(watts) / (supply.voltage_v * supply.phases)
    return min(Decimal(amperes), of_power.quantize(Decimal("0.1"), ROUND_DOWN))
