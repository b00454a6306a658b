"""The charging profiles that stations hold as far as we know."""

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, JsonValue, Rowid


class InstalledProfile(Base):
    """`number` is the id on the wire. `profile` is smart_charging.profile.ChargingProfile. `state`: requested, installed,
    refused, unknown (no answer), replaced, cleared, ended (its transaction
    is over). `purpose` and `stack_level` are those of the profile."""

    __tablename__ = "charging_profiles"
    number: Mapped[Rowid]
    station_id: Mapped[str]
    evse: Mapped[int]
    purpose: Mapped[str]
    stack_level: Mapped[int]
    profile: Mapped[JsonValue]
    transaction_id: Mapped[str | None]
    state: Mapped[str]
    detail: Mapped[str | None]
    requested_by: Mapped[str]
    remote_request_id: Mapped[str | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "station_id", "state"), {"sqlite_autoincrement": True})
