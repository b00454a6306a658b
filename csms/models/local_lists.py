"""The list of cards that a station keeps for when it is offline: what it holds, and what became of telling it (D04)."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base


class LocalList(Base):
    """`version` and `entries` are what the station holds as far as we know; None and empty before the first success.
    `wanted`: what an operator said; None: nobody did, the station has its list switched on by itself. `state`: never, sent,
    failed, not_supported (by `firmware_version`), offline (to be caught up on reconnect). `due_at`: the next push, None
    when it is to be found out or there is none. `asked_at`: somebody cannot wait for the night; what is told must have been
    read after this. `busy_until`: somebody is telling it just now."""

    __tablename__ = "local_lists"
    station_id: Mapped[str] = mapped_column(primary_key=True)
    wanted: Mapped[bool | None]
    version: Mapped[int | None]
    entries: Mapped[dict[str, Any]] = mapped_column(default=dict)  # id_token: digest of what was said of it
    state: Mapped[str] = mapped_column(default="never")
    detail: Mapped[str | None]
    firmware_version: Mapped[str | None]
    tried_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    asked_at: Mapped[datetime | None]
    busy_until: Mapped[datetime | None]
