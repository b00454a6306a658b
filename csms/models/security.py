"""How each station proves who it is, the certificates we signed, and what stations say of their own security."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, Rowid


class StationSecurity(Base):
    """`profile`: the least security profile (0-3) that is served; `next_profile`: what it has promised to come with.

    `next_password_hash`: a new password that the station was sent and has not used yet; the old one works until then (X15).
    `next_password_sealed` is the password itself, so that it can be sent once more; `next_password_taken`: the station may
    hold it, so that it cannot be dropped."""

    __tablename__ = "station_security"
    station_id: Mapped[str] = mapped_column(primary_key=True)
    profile: Mapped[int] = mapped_column(default=0)
    next_profile: Mapped[int | None]
    next_password_hash: Mapped[str | None]
    next_password_sealed: Mapped[str | None]
    next_password_taken: Mapped[bool] = mapped_column(default=False)
    next_password_at: Mapped[datetime | None]


class Authority(Base):
    """Our small certificate authority. `sealed_key` is its private key, encrypted with SECRET_KEY."""

    __tablename__ = "authorities"
    id: Mapped[Rowid]
    algorithm: Mapped[str] = mapped_column(unique=True)  # rsa, ecdsa
    certificate: Mapped[str]
    sealed_key: Mapped[str]
    created_at: Mapped[datetime]


class StationCertificate(Base):
    """A station's request and what became of it. `state`: requested, signed, installed, refused, revoked. `request_id`: by
    which the certificate was sent; None while it has to be sent (again). `fingerprint`: SHA-256 of the certificate, hex."""

    __tablename__ = "station_certificates"
    id: Mapped[Rowid]
    station_id: Mapped[str] = mapped_column(index=True)
    event_id: Mapped[str] = mapped_column(unique=True)
    csr: Mapped[str]
    state: Mapped[str]
    detail: Mapped[str | None]
    serial_number: Mapped[str | None] = mapped_column(unique=True)
    certificate: Mapped[str | None]
    fingerprint: Mapped[str | None] = mapped_column(index=True)
    requested_at: Mapped[datetime]
    signed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    request_id: Mapped[str | None] = mapped_column(index=True)


class SecurityEvent(Base):
    """What a station said happened to its security. `event_id` makes a repeat the same row."""

    __tablename__ = "security_events"
    id: Mapped[Rowid]
    event_id: Mapped[str] = mapped_column(unique=True)
    station_id: Mapped[str]
    kind: Mapped[str]
    tech_info: Mapped[str | None]
    critical: Mapped[bool]
    occurred_at: Mapped[datetime | None]
    received_at: Mapped[datetime]
    __table_args__ = (Index(None, "station_id", "received_at"),)
