"""Sites, their EVSEs and connectors, and the versions of tariffs."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, Rowid


class Location(Base):
    """A site. `removed` sites keep their rows; `details` holds the optional words of the import file as they are
    (opening_times, facilities, parking_type, ...)."""

    __tablename__ = "locations"
    id: Mapped[Rowid]
    country_code: Mapped[str]
    party_id: Mapped[str]
    location_id: Mapped[str]
    location_key: Mapped[str]  # casefolded
    name: Mapped[str | None]
    address: Mapped[str]
    city: Mapped[str]
    postal_code: Mapped[str | None]
    state: Mapped[str | None]
    country: Mapped[str]
    latitude: Mapped[str]
    longitude: Mapped[str]
    time_zone: Mapped[str]
    publish: Mapped[bool]
    roaming: Mapped[bool | None]  # False: partners never hear of it
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]
    __table_args__ = (UniqueConstraint("country_code", "party_id", "location_key"),)


class Evse(Base):
    """`status` is the charger's word (ConnectorStatus); None before the first. `status_at` its claimed time when believed,
    else ours: an older one does not go back in time (C03). `removed` EVSEs stay (REMOVED)."""

    __tablename__ = "evses"
    id: Mapped[Rowid]
    location: Mapped[int] = mapped_column("location_row", ForeignKey("locations.id"), index=True)
    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"))
    evse: Mapped[int]
    uid: Mapped[str]
    uid_key: Mapped[str]
    evse_id: Mapped[str | None]
    removed: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str | None]
    status_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    vendor_error_code: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]
    __table_args__ = (UniqueConstraint("station_id", "evse"), UniqueConstraint("location_row", "uid_key"))


class StatusMeaning(Base):
    """What the operator's settings make of a charger's state, where that is not csms.locations.AVAILABILITY."""

    __tablename__ = "status_meanings"
    status: Mapped[str] = mapped_column(primary_key=True)
    availability: Mapped[str]


class Connector(Base):
    __tablename__ = "connectors"
    id: Mapped[Rowid]
    evse: Mapped[int] = mapped_column("evse_row", ForeignKey("evses.id"))
    connector_id: Mapped[str]
    position: Mapped[int]  # the connector's number in OCPP, 1 on 1.6
    removed: Mapped[bool] = mapped_column(default=False)
    standard: Mapped[str]
    format: Mapped[str]
    power_type: Mapped[str]
    max_voltage: Mapped[int]
    max_amperage: Mapped[int]
    max_electric_power: Mapped[int | None]
    tariff_ids: Mapped[list[Any]] = mapped_column(default=list)
    last_updated: Mapped[datetime]
    __table_args__ = (UniqueConstraint("evse_row", "connector_id"),)


class Tariff(Base):
    """One version of a tariff; the newest has `current` true. Running sessions stay on the version they began with.

    `details` holds the optional words of the import file as they are, `partners` among them (csms.billing.choice). `told`:
    whether it was awaited, in force or over when that was last told; None where it has no dates."""

    __tablename__ = "tariffs"
    id: Mapped[Rowid]
    country_code: Mapped[str]
    party_id: Mapped[str]
    tariff_id: Mapped[str]
    tariff_key: Mapped[str]
    version: Mapped[int]
    current: Mapped[bool]
    removed: Mapped[bool] = mapped_column(default=False)
    currency: Mapped[str]
    type: Mapped[str | None]
    elements: Mapped[list[Any]]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    told: Mapped[str | None]
    created_at: Mapped[datetime]  # of the tariff's first version: the order of lists
    last_updated: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("country_code", "party_id", "tariff_key", "version"),
        Index(
            "uq_tariffs_current",
            "country_code",
            "party_id",
            "tariff_key",
            unique=True,
            sqlite_where=text("current"),
            postgresql_where=text("current"),
        ),
    )
