"""Which partner must hear of a fact: each change of an object that OCPI shows makes its deliveries due, once however often."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import cache

from sqlalchemy import Connection, and_, case, exists, func, literal_column, null, or_, select, update

from crud.charging_profiles import followers
from crud.models import Delivery, Partner
from crud.partners import PartnerState
from csms.database import insert_for
from csms.events import AuthorizationStatus
from csms.journal import FactType, Recorded
from csms.many_rows import ManyRows
from csms.models import ChargeRecord, JournalEntry, Location, Reservation, Tariff, Transaction
from csms.models.base import OWN

Wanted = tuple[int, str, str]  # partner id, module, object id

COLUMNS = (
    *("partner_id", "module", "object_id", "wanted", "told"),
    *("attempts", "next_attempt_at", "due_since", "created_at"),
)


class Audience(Enum):
    EVERYONE = auto()  # who takes the module at all
    OWNER = auto()  # the partner whose card it is, and nobody else (SE-02, CD-05)


@dataclass(frozen=True)
class Rule:
    """`subjects`: whose ids the fact's subjects are, where they are not the module's."""

    module: str
    audience: Audience
    subjects: str = ""


RULES: dict[str, Rule] = {
    FactType.EVSE_STATUS: Rule("evses", Audience.EVERYONE),
    FactType.LOCATION_CHANGED: Rule("locations", Audience.EVERYONE),
    FactType.TARIFF_CHANGED: Rule("tariffs", Audience.EVERYONE),
    # TRANSACTION_REFUSED is not here: what was refused is no session.
    FactType.TRANSACTION_STARTED: Rule("sessions", Audience.OWNER),
    FactType.TRANSACTION_SAMPLED: Rule("sessions", Audience.OWNER),
    FactType.TRANSACTION_ORPHANED: Rule("sessions", Audience.OWNER),
    FactType.TRANSACTION_ENDED: Rule("sessions", Audience.OWNER),
    FactType.RESERVATION_CHANGED: Rule("sessions", Audience.OWNER, subjects="reservations"),  # SE-14
    FactType.CHARGE_RECORD_ISSUED: Rule("cdrs", Audience.OWNER),
    FactType.PROFILES_CHANGED: Rule("chargingprofiles", Audience.OWNER),  # of sessions whose partner sets profiles
    FactType.CHARGE_RECORD_CREDITED: Rule("cdrs", Audience.OWNER),
}

# Facts that somebody may have to hear of now. Most samples are of the operator's own drivers: those are not even read.
CONCERNS_SOMEBODY = and_(
    exists().where(Partner.state == PartnerState.REGISTERED),
    or_(
        JournalEntry.type != FactType.TRANSACTION_SAMPLED.value,
        exists().where(Transaction.id == JournalEntry.subject, Transaction.owner_id != OWN),
    ),
)

# The endpoint that takes a module's objects, where it is not named like it.
ENDPOINT = {"evses": "locations"}
ROLE = {"chargingprofiles": "SENDER"}  # which end of a module hears of it, where that is not the receiver


class Push:
    """The journal's reader "ocpi_push"."""

    def __init__(self, *, clock: Callable[[], datetime], due: Callable[[], None] = lambda: None) -> None:
        """`due` is called after the commit that made deliveries due."""
        self._clock = clock
        self._due = due
        self._anything = False

    def committed(self) -> None:
        """The Subscriber's `then`."""
        anything, self._anything = self._anything, False
        if anything:
            self._due()

    def handle(self, connection: Connection, facts: Sequence[Recorded]) -> None:
        subjects: defaultdict[Rule, set[str]] = defaultdict(set)
        for fact in facts:
            rule = RULES.get(fact.type)
            if rule is not None:
                subjects[rule].add(fact.subject)
        if not subjects:
            return
        receivers = _receivers(connection)
        wanted: set[Wanted] = set()
        for rule, ids in subjects.items():
            hearing = receivers[ENDPOINT.get(rule.module, rule.module)]
            if not hearing:
                continue
            if rule.audience is Audience.EVERYONE:
                known = _first_versions(connection, ids) if rule.module == "tariffs" else ids
                wanted.update((partner, rule.module, subject) for partner in hearing for subject in known)
            else:
                owners = OWNERS[rule.subjects or rule.module](connection, ids)
                wanted.update((owner, rule.module, subject) for subject, owner in owners if owner in hearing)
        self._anything = self._anything or bool(wanted)
        enqueue(connection, wanted, self._clock())


def enqueue(connection: Connection, wanted: Iterable[Wanted], now: datetime) -> None:
    """Make these deliveries due. Where one is due already, only its counter rises: it will carry the newest state, at its
    own time. A delivery that was stopped tries again, since the object is another now."""
    rows = [
        {"partner_id": partner, "module": module, "object_id": subject, "wanted": 1, "told": 0, "attempts": 0}
        | {"next_attempt_at": now, "due_since": now, "created_at": now}
        for partner, module, subject in sorted(wanted)  # one order of locks
    ]
    if rows:
        _due(connection.dialect.name).execute(connection, rows)


@cache
def _due(dialect: str) -> ManyRows:
    """Put together once: a statement of many rows would be made anew for each number of them, at ten times the cost."""
    waiting = and_(Delivery.wanted > Delivery.told, Delivery.stopped.is_(None))
    statement = insert_for(dialect, Delivery)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["partner_id", "module", "object_id"],
        set_={
            "wanted": Delivery.wanted + literal_column("1"),
            "next_attempt_at": case((waiting, Delivery.next_attempt_at), else_=new.next_attempt_at),
            "due_since": case((waiting, Delivery.due_since), else_=new.due_since),
            "attempts": case((waiting, Delivery.attempts), else_=new.attempts),
            "stopped": null(),
        },
    )
    return ManyRows(statement, COLUMNS)


def resync(connection: Connection, partner_id: int, now: datetime) -> None:
    """Tell the partner everything again: all tariffs and locations (PU-18), and what was stopped or never arrived.

    What it confirmed before counts no more, so running sessions are PUT at their next change.
    """
    theirs = Delivery.partner_id == partner_id
    connection.execute(update(Delivery).where(theirs).values(confirmed=null()))
    connection.execute(
        update(Delivery)
        .where(theirs, Delivery.wanted > Delivery.told)
        .values(stopped=None, attempts=0, next_attempt_at=now)
    )
    taken = [module for module, partners in _receivers(connection).items() if partner_id in partners]
    wanted: set[Wanted] = set()
    if "tariffs" in taken:
        current = connection.execute(select(Tariff.id).where(Tariff.current)).scalars()
        wanted |= {(partner_id, "tariffs", row) for row in _first_versions(connection, map(str, current))}
    if "locations" in taken:
        wanted |= {(partner_id, "locations", str(row)) for row in connection.execute(select(Location.id)).scalars()}
    enqueue(connection, wanted, now)


def _receivers(connection: Connection) -> defaultdict[str, set[int]]:
    """The registered partners by the modules of which their version details list the end that hears (PU-16)."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    registered = Partner.state == PartnerState.REGISTERED
    for partner, endpoints in connection.execute(select(Partner.id, Partner.endpoints).where(registered)):
        for endpoint in endpoints:
            if endpoint["role"] == ROLE.get(endpoint["identifier"], "RECEIVER"):
                found[endpoint["identifier"]].add(partner)
    return found


def _first_versions(connection: Connection, ids: Iterable[str]) -> set[str]:
    """A tariff is one object through all its versions, known by the row of its first."""
    mine, all_of_it = Tariff.__table__.alias(), Tariff.__table__.alias()
    query = (
        select(func.min(all_of_it.c.id))
        .join(
            mine,
            and_(
                mine.c.country_code == all_of_it.c.country_code,
                mine.c.party_id == all_of_it.c.party_id,
                mine.c.tariff_key == all_of_it.c.tariff_key,
            ),
        )
        .where(mine.c.id.in_([int(row) for row in ids]))
        .group_by(mine.c.id)
    )
    return {str(row) for row in connection.execute(query).scalars()}


Owners = Iterable[tuple[str, int | None]]


def _session_owners(connection: Connection, ids: set[str]) -> Owners:
    """What was never allowed is no session of anybody's, whatever the charger does."""
    query = select(Transaction.id, Transaction.owner_id).where(
        Transaction.id.in_(ids), Transaction.authorization == AuthorizationStatus.ACCEPTED.value
    )
    return [(row.id, row.owner_id) for row in connection.execute(query)]


def _reserved_owners(connection: Connection, numbers: set[str]) -> Owners:
    """Of the Sessions that these reservations are; what was never granted is none."""
    query = select(Reservation.public_id, Reservation.owner_id).where(
        Reservation.number.in_([int(number) for number in numbers]), Reservation.public_id.is_not(None)
    )
    return [(str(row.public_id), row.owner_id) for row in connection.execute(query)]


def _cdr_owners(connection: Connection, ids: set[str]) -> Owners:
    query = select(ChargeRecord.id, ChargeRecord.owner_id).where(ChargeRecord.id.in_(ids))
    return [(row.id, row.owner_id) for row in connection.execute(query)]


OWNERS: dict[str, Callable[[Connection, set[str]], Owners]] = {
    "sessions": _session_owners,
    "reservations": _reserved_owners,
    "cdrs": _cdr_owners,
    "chargingprofiles": followers,
}
