"""Sites, stations, EVSEs and connectors become what the operator's file says; one that the file lacks is kept as removed."""

from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from csms import lock_order, stations
from csms.bus import Admission
from csms.journal import Fact, FactType, append
from csms.models import Connector, Evse, Location, Station
from csms.network_file import BadNetwork
from csms.network_rules import Document, Party, party_of
from csms.network_schema import EVSE_DETAILS, LOCATION_DETAILS
from csms.passwords import verify

CONNECTOR_WORDS = ("standard", "format", "power_type", "max_voltage", "max_amperage", "max_electric_power")
LOCATION_WORDS = ("name", "address", "city", "postal_code", "state", "country", "time_zone", "publish", "roaming")

Told = tuple[str, str, str, str]  # kind, id, what, detail
Place = tuple[str, int]  # a station and the number of its EVSE


class Sites:
    """One import of the sites in `document`. Raises BadNetwork where it contradicts what can never change."""

    def __init__(self, connection: Connection, document: Document, *, default_party: Party, now: datetime) -> None:
        """Loads and locks what is there: stations before EVSEs before sites, as everybody does."""
        lock_order.all_stations(connection)
        self._connection = connection
        self._document = document
        self._default = default_party
        self._now = now
        evses = connection.execute(select(Evse.__table__).order_by(Evse.id).with_for_update()).all()
        sites = connection.execute(select(Location.__table__).order_by(Location.id).with_for_update()).all()
        self._evses = {(row.station_id, row.evse): row for row in evses}
        self._sites = {(row.country_code, row.party_id, row.location_key): row for row in sites}
        self._site_rows = {row.id: row for row in sites}
        self._stations = {row.station_id: row for row in connection.execute(select(Station.__table__))}
        self._connectors: dict[int, dict[str, Row[Any]]] = {}
        for row in connection.execute(select(Connector.__table__)):
            self._connectors.setdefault(row.evse_row, {})[row.connector_id] = row
        self._touched: dict[int, None] = {}  # sites that look different, in order
        self._new_stations: dict[str, str | None] = {}  # with their passwords
        self._new_evses: list[dict[str, Any]] = []
        self._new_plugs: list[tuple[Place, dict[str, Any]]] = []
        mistakes = list(self._contradictions())
        if mistakes:
            raise BadNetwork(mistakes)

    def apply(self) -> Iterator[Told]:
        """Writes as it is read, what is new below sites at the end; the journal gets one fact for each site that looks
        different now."""
        if "locations" not in self._document:
            return
        named: set[tuple[str, int]] = set()
        for location in self._document["locations"]:
            site_id = yield from self._site(location)
            for station in location.get("stations", ()):
                yield from self._station(station)
                for evse in station["evses"]:
                    named.add((station["id"], evse["evse"]))
                    yield from self._evse(site_id, station["id"], evse)
        for spot, row in self._evses.items():
            if spot not in named and not row.removed:
                self._write(Evse, row, removed=True)
                self._touch(row.location_row)
                yield "evse", row.uid, "removed", f"of {row.station_id}"
        self._write_new()
        facts = [Fact(type=FactType.LOCATION_CHANGED, subject=str(site)) for site in self._touched]
        append(self._connection, facts, now=self._now)

    # ---- what can never change (LO-21) ------------------------------------------------------------------------------

    def _contradictions(self) -> Iterator[str]:
        taken = {(row.location_row, row.uid_key): row for row in self._evses.values()}
        for number, location in enumerate(self._document.get("locations", ())):
            site = self._known_site(location)
            for count, station in enumerate(location.get("stations", ())):
                for index, evse in enumerate(station["evses"]):
                    place = f"locations[{number}].stations[{count}].evses[{index}]"
                    old = self._evses.get((station["id"], evse["evse"]))
                    if old is not None and (site is None or old.location_row != site.id):
                        where = self._site_rows[old.location_row].location_id
                        yield (
                            f"{place}: EVSE {old.evse} of {old.station_id} stands at {where}; "
                            "a station that moves needs a new id"
                        )
                    elif old is not None and old.uid_key != evse["uid"].casefold():
                        yield f"{place}.uid: never changes, it is {old.uid}"
                    elif old is None and site is not None and (holder := taken.get((site.id, evse["uid"].casefold()))):
                        yield f"{place}.uid: belongs to EVSE {holder.evse} of {holder.station_id}"

    def _known_site(self, location: Mapping[str, Any]) -> Row[Any] | None:
        return self._sites.get((*party_of(location, self._default), location["id"].casefold()))

    # ---- one of each ------------------------------------------------------------------------------------------------

    def _site(self, given: Mapping[str, Any]) -> Generator[Told, None, int]:
        old = self._known_site(given)
        content = {name: given.get(name) for name in LOCATION_WORDS} | given["coordinates"]
        content["details"] = {name: given[name] for name in LOCATION_DETAILS if name in given}
        if old is None:
            party = party_of(given, self._default)
            keys = {"country_code": party[0], "party_id": party[1], "location_id": given["id"]}
            site_id = self._new(Location, **keys, location_key=given["id"].casefold(), **content)
            self._touched[site_id] = None
            yield "location", given["id"], "new", ""
            return site_id
        changed = _differing(old, content)
        if changed:
            self._write(Location, old, **content)
            self._touched[old.id] = None
            yield "location", old.location_id, "changed", ", ".join(changed)
        return int(old.id)

    def _station(self, given: Mapping[str, Any]) -> Iterator[Told]:
        station_id, password = given["id"], given.get("password")
        old = self._stations.get(station_id)
        if old is None:
            self._new_stations[station_id] = password
            yield "station", station_id, "new", ""
            return
        if old.admission == Admission.PENDING:
            stations.provision(self._connection, station_id, password, self._now)
            yield "station", station_id, "adopted", ""
        if password and not (old.password_hash and verify(password.encode(), old.password_hash)):
            stations.set_password(self._connection, station_id, password)
            yield "station", station_id, "password", "from the next connection on"

    def _evse(self, site_id: int, station_id: str, given: Mapping[str, Any]) -> Iterator[Told]:
        old = self._evses.get((station_id, given["evse"]))
        content = {
            "evse_id": given.get("evse_id"),
            "details": {name: given[name] for name in EVSE_DETAILS if name in given},
            "removed": False,
        }
        if old is None:
            keys = {"station_id": station_id, "evse": given["evse"], "uid": given["uid"]}
            row = {"location_row": site_id, **keys, "uid_key": given["uid"].casefold(), **content}
            self._new_evses.append(row | self._times(Evse))
            self._plugs((station_id, given["evse"]), {}, given)
            told = [("evse", given["uid"], "new", f"of {station_id}")]
        else:
            changed = _differing(old, content)
            what = "back" if old.removed else "changed"
            told = [("evse", old.uid, what, ", ".join(changed))] if changed else []
            told += self._plugs((station_id, given["evse"]), self._connectors.get(old.id, {}), given)
            if told:
                self._write(Evse, old, **content)
        if told:
            self._touch(site_id)
        yield from told

    def _plugs(self, place: Place, known: Mapping[str, Row[Any]], given: Mapping[str, Any]) -> list[Told]:
        told: list[Told] = []
        for position, plug in enumerate(given["connectors"], start=1):
            content = {name: plug.get(name) for name in CONNECTOR_WORDS}
            content |= {"tariff_ids": plug.get("tariff_ids", []), "position": position, "removed": False}
            old = known.get(plug["id"])
            name = f"{given['uid']} {plug['id']}"
            if old is None:
                self._new_plugs.append((place, {"connector_id": plug["id"], **content} | self._times(Connector)))
                told.append(("connector", name, "new", ""))
            elif changed := _differing(old, content):
                self._write(Connector, old, **content)
                told.append(("connector", name, "back" if old.removed else "changed", ", ".join(changed)))
        named = {plug["id"] for plug in given["connectors"]}
        for old in known.values():
            if old.connector_id not in named and not old.removed:
                self._write(Connector, old, removed=True)
                told.append(("connector", f"{given['uid']} {old.connector_id}", "removed", ""))
        return told

    # ---- rows -------------------------------------------------------------------------------------------------------

    def _new(self, model: Any, **values: Any) -> int:
        query = insert(model.__table__).values(**values, **self._times(model)).returning(model.__table__.c.id)
        return int(self._connection.execute(query).scalar_one())

    def _times(self, model: Any) -> dict[str, datetime]:
        names = ("last_updated", "created_at")
        return {name: self._now for name in names if name in model.__table__.c}

    def _write_new(self) -> None:
        """Thousands of new stations in a few statements: one statement for each row takes ten times as long."""
        stations.provision_all(self._connection, self._new_stations, self._now)
        ids = {place: row.id for place, row in self._evses.items()}
        if self._new_evses:
            added = insert(Evse).returning(Evse.station_id, Evse.evse, Evse.id)
            ids |= {(row.station_id, row.evse): row.id for row in self._connection.execute(added, self._new_evses)}
        if self._new_plugs:
            plugs = [{"evse_row": ids[place], **row} for place, row in self._new_plugs]
            self._connection.execute(insert(Connector), plugs)

    def _write(self, model: Any, row: Row[Any], **values: Any) -> None:
        """Times rise and never fall, whatever the clock does."""
        table = model.__table__
        at = max(self._now, row.last_updated)
        self._connection.execute(update(table).where(table.c.id == row.id).values(**values, last_updated=at))

    def _touch(self, site_id: int) -> None:
        """What changed below a site changed the site (LO-04)."""
        if site_id not in self._touched:
            self._write(Location, self._site_rows[site_id])
            self._touched[site_id] = None


def _differing(old: Row[Any], content: Mapping[str, Any]) -> list[str]:
    return [name for name, value in content.items() if getattr(old, name) != value]
