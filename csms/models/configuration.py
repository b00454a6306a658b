"""What a station's settings are, what they should be, and who may tell it to be reset the hard way."""

from datetime import datetime

from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base


class ActualSetting(Base):
    """A configuration key as the station last told it (C09). `value` is never that of a secret key."""

    __tablename__ = "actual_settings"
    station_id: Mapped[str]
    key: Mapped[str]
    value: Mapped[str | None]
    readonly: Mapped[bool]
    read_at: Mapped[datetime]
    __table_args__ = (PrimaryKeyConstraint("station_id", "key"),)


class DesiredSetting(Base):
    """What a key should be. `state`: open (to be set), set, reboot_required, refused, unsupported, ignored (accepted twice
    and never kept, Q03). `tries` counts since the value was last wished for."""

    __tablename__ = "desired_settings"
    station_id: Mapped[str]
    key: Mapped[str]
    value: Mapped[str]
    wished_by: Mapped[str]
    wished_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(default="open")
    tries: Mapped[int] = mapped_column(default=0)
    tried_at: Mapped[datetime | None]
    detail: Mapped[str | None]
    __table_args__ = (PrimaryKeyConstraint("station_id", "key"),)


class User(Base):
    """A person. `name` is what the system they log in to calls them; `role` viewer, operator or admin."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
