"""Who looks at a site learns at once that a tariff there came into force, ended, or is for others now (TA-17)."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, select, update

from csms import lock_order
from csms.billing.choice import Told, phase
from csms.journal import Fact, FactType
from csms.models import Connector, Evse, Location, Tariff

Key = tuple[str, str, str]  # country_code, party_id, casefolded id

_TARIFF = Tariff.__table__.c


class UnknownTariff(Exception):
    """The party has no such tariff in force."""


class TariffInUse(Exception):
    """Connectors still name it; its arguments are their EVSEs."""

    def __str__(self) -> str:
        return f"it is named by {', '.join(map(str, self.args))}"


def come_and_go(connection: Connection, now: datetime) -> Sequence[Fact]:
    """The watch over dates: each tariff that came into force or ended since it was last looked at, once.

    First the sites that name it look different, then the tariff itself: one that ended is taken back after no connector names
    it any more (TA-04).
    """
    query = select(Tariff.__table__).where(_TARIFF.current.is_(True), _TARIFF.removed.is_(False)).order_by(_TARIFF.id)
    turned = [row for row in connection.execute(query) if phase(row, now) != row.told]
    for row in turned:
        connection.execute(update(Tariff).where(_TARIFF.id == row.id).values(told=phase(row, now)))
    seen = {key_of(row) for row in turned if row.told is not None or phase(row, now) is Told.OVER}
    facts = [Fact(type=FactType.TARIFF_CHANGED, subject=str(row.id)) for row in turned]
    return [*touch_sites(connection, seen, now), *facts]


def touch_sites(connection: Connection, keys: Collection[Key], now: datetime) -> list[Fact]:
    """Connectors that name these tariffs, their EVSEs and their sites are newer now (LO-04)."""
    if not keys:
        return []
    named = [row for row in connection.execute(_NAMED) if _names(row) & set(keys)]
    lock_order.stations(connection, (row.station_id for row in named))
    for model, ids in (
        (Evse, {row.evse for row in named}),  # EVSEs before sites, each in the order of ids, as everybody locks
        (Connector, {row.connector for row in named}),
        (Location, {row.location for row in named}),
    ):
        connection.execute(select(model.id).where(model.id.in_(ids)).order_by(model.id).with_for_update())
        newer = case((model.last_updated < now, now), else_=model.last_updated)
        connection.execute(update(model).where(model.id.in_(ids)).values(last_updated=newer))
    sites = sorted({row.location for row in named})
    return [Fact(type=FactType.LOCATION_CHANGED, subject=str(site)) for site in sites]


def remove(connection: Connection, party: tuple[str, str], tariff_id: str, now: datetime) -> Sequence[Fact]:
    """Nothing begins with it any more, and partners are told to forget it; its versions stay as they are, for the bills that
    hold them. UnknownTariff; TariffInUse while a connector names it (TA-04)."""
    key = (*party, tariff_id.casefold())
    query = select(Tariff.__table__).where(
        _TARIFF.country_code == key[0],
        _TARIFF.party_id == key[1],
        _TARIFF.tariff_key == key[2],
        _TARIFF.current.is_(True),
        _TARIFF.removed.is_(False),
    )
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        raise UnknownTariff(tariff_id)
    if users := named_at(connection, key):
        raise TariffInUse(*users)
    connection.execute(update(Tariff).where(_TARIFF.id == row.id).values(removed=True))
    return [Fact(type=FactType.TARIFF_CHANGED, subject=str(row.id))]


def named_at(connection: Connection, key: Key) -> Sequence[str]:
    """The uids of the EVSEs with a connector that names it."""
    return sorted({spot.uid for spot in connection.execute(_NAMED) if not spot.removed and key in _names(spot)})


def key_of(tariff: Any) -> Key:
    return tariff.country_code, tariff.party_id, tariff.tariff_key


_NAMED = (
    select(
        Connector.id.label("connector"),
        Evse.id.label("evse"),
        Evse.uid,
        Evse.station_id,
        (Connector.removed | Evse.removed).label("removed"),
        Location.id.label("location"),
        Location.country_code,
        Location.party_id,
        Connector.tariff_ids,
    )
    .join(Evse, Evse.id == Connector.__table__.c.evse_row)
    .join(Location, Location.id == Evse.__table__.c.location_row)
    .order_by(Connector.id)
)


def _names(row: Row[Any]) -> set[Key]:
    return {(row.country_code, row.party_id, tariff_id.casefold()) for tariff_id in row.tariff_ids or ()}
