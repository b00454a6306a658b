"""The message log: a file of its own on SQLite."""

from datetime import datetime

from sqlalchemy import Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Big, LogBase, monthly

# Word for word in partial indexes and in queries, so that the one answers the other.
BEGINS = text("(message_type NOT IN ('result', 'error') OR result = 'unsolicited')")  # a row that no call explains
BAD = text("result <> 'ok'")
OUTWARD = text("direction = 'out' AND message_type NOT IN ('result', 'error')")


class Message(LogBase):
    """One frame (A04). `id` is made by us, of the microsecond in which the row is written: PostgreSQL cuts the table by its
    months, since every search is by id. What each index costs and finds: docs/message-log.md."""

    __tablename__ = "messages"
    id: Mapped[Big]
    at: Mapped[datetime]
    station_id: Mapped[str]
    ocpp_version: Mapped[str]
    direction: Mapped[str]
    message_type: Mapped[str]
    message_id: Mapped[str]
    action: Mapped[str]
    result: Mapped[str]
    latency_ms: Mapped[float | None]
    text: Mapped[str] = mapped_column("frame")
    __table_args__ = (
        PrimaryKeyConstraint("at", "id"),
        Index("ix_messages_id", "id"),
        Index("ix_messages_pair", "message_id", "station_id", "id"),
        Index("ix_messages_of_station", "station_id", "id", sqlite_where=BEGINS, postgresql_where=BEGINS),
        Index("ix_messages_of_action", "action", "id", sqlite_where=BEGINS, postgresql_where=BEGINS),
        Index("ix_messages_outward", "id", sqlite_where=OUTWARD, postgresql_where=OUTWARD),
        Index("ix_messages_bad", "id", sqlite_where=BAD, postgresql_where=BAD),
        Index("ix_messages_bad_of_station", "station_id", "id", sqlite_where=BAD, postgresql_where=BAD),
        {"postgresql_partition_by": "RANGE (id)"},
    )


monthly(Message.__table__)
