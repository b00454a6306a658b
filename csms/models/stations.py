"""Stations, what each said at its Boots, and when its sockets were open."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, Rowid


class Station(Base):
    """`admission`: known, pending (waits for adoption) or refused. `fingerprint` is what the identity is bound to (T1), by
    `binding` strict, warn or off. `boot_epoch` counts boots. `clock_skew_s` is claim minus reception, as last measured on a
    live message; a sound clock at most every ten minutes, unless it moved by more than a second. `last_seen_at` is written in
    batches (C02)."""

    __tablename__ = "stations"
    station_id: Mapped[str] = mapped_column(primary_key=True)
    admission: Mapped[str] = mapped_column(index=True)
    password_hash: Mapped[str | None]
    binding: Mapped[str] = mapped_column(default="strict")
    fingerprint: Mapped[str | None]
    vendor: Mapped[str] = mapped_column(default="")
    model: Mapped[str] = mapped_column(default="")
    serial_number: Mapped[str | None]
    firmware_version: Mapped[str | None]
    iccid: Mapped[str | None]
    imsi: Mapped[str | None]
    status: Mapped[str | None]  # of connector 0, the whole station
    error_code: Mapped[str | None]
    firmware_status: Mapped[str | None]
    diagnostics_status: Mapped[str | None]
    heartbeat_interval_s: Mapped[int] = mapped_column(default=300)
    boot_epoch: Mapped[int] = mapped_column(default=0)
    booted_at: Mapped[datetime | None]
    registered: Mapped[str | None]  # the last answer to a Boot
    ocpp_version: Mapped[str | None]
    connection_id: Mapped[str | None]  # None: offline
    connected_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    offline_since: Mapped[datetime | None]
    offline_told: Mapped[bool] = mapped_column(default=False)  # partners see its EVSEs as UNKNOWN
    clock_skew_s: Mapped[float | None]
    clock_skew_at: Mapped[datetime | None]
    keeps_our_time: Mapped[bool | None]  # None until its first word after a Boot (F02)
    created_at: Mapped[datetime]


class StationBoot(Base):
    """Each Boot with its answer: the history of what a station said it is (C01)."""

    __tablename__ = "station_boots"
    id: Mapped[Rowid]
    station_id: Mapped[str] = mapped_column(index=True)
    event_id: Mapped[str]
    ocpp_version: Mapped[str]
    received_at: Mapped[datetime]
    vendor: Mapped[str]
    model: Mapped[str]
    serial_number: Mapped[str | None]
    firmware_version: Mapped[str | None]
    answer: Mapped[str]


class Connection(Base):
    """When a socket of a station was open: between them it was offline (T2). `security_profile`: what it proved (0-3);
    `certificate`: the fingerprint of the client certificate that it came with."""

    __tablename__ = "connections"
    connection_id: Mapped[str] = mapped_column(primary_key=True)
    station_id: Mapped[str]
    ocpp_version: Mapped[str]
    peer: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    last_frame_at: Mapped[datetime | None]
    close_code: Mapped[int | None]
    close_reason: Mapped[str | None]
    security_profile: Mapped[int | None]
    certificate: Mapped[str | None]
    __table_args__ = (Index(None, "station_id", "opened_at"), Index(None, "closed_at"))
