"""The message log: a file of its own on SQLite."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, PrimaryKeyConstraint, SmallInteger, literal_column, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import LogBase, monthly

# Word for word in partial indexes and in queries, so that the one answers the other.
BEGINS = text("(message_type NOT IN ('result', 'error') OR result = 'unsolicited')")  # a row that no call explains
BAD = text("result <> 'ok'")
OUTWARD = text("direction = 'out' AND message_type NOT IN ('result', 'error')")
UNPAIRED = text("twin IS NULL")
NAMED = text("(twin IS NULL OR twin > 0)")  # whoever has the call has its twin
LAST_LETTER: Any = literal_column("substr(message_id, length(message_id))")


class _Key(PrimaryKeyConstraint):
    """On SQLite the id alone: it is the row's own number there, and needs no index. On PostgreSQL two processes may have
    drawn the same id in the same microsecond."""

    inherit_cache = True


@compiles(_Key, "sqlite")
def _key_on_sqlite(*_: Any, **__: Any) -> str:
    return "CONSTRAINT pk_messages PRIMARY KEY (id)"


class Message(LogBase):
    """One frame (A04). `id` is made by us, of the microsecond in which the row is written: PostgreSQL cuts the table by its
    months, since every search is by id. `twin`: 1 where the row of the next id is the answer, -1 on that; null where the other
    half is to be looked for. What each index costs and finds: docs/message-log.md."""

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))
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
    twin: Mapped[int | None] = mapped_column(SmallInteger)
    __table_args__ = (
        _Key("id", "at"),
        Index(
            "ix_messages_named",
            *(LAST_LETTER, "id", "message_id", "station_id"),
            sqlite_where=NAMED,
            postgresql_where=NAMED,
        ),
        Index("ix_messages_pair", "message_id", "station_id", "id", sqlite_where=UNPAIRED, postgresql_where=UNPAIRED),
        Index("ix_messages_of_station", "station_id", "id", "action", sqlite_where=BEGINS, postgresql_where=BEGINS),
        Index("ix_messages_of_action", "action", "id", sqlite_where=BEGINS, postgresql_where=BEGINS),
        Index("ix_messages_outward", "id", "station_id", sqlite_where=OUTWARD, postgresql_where=OUTWARD),
        Index("ix_messages_bad", "id", sqlite_where=BAD, postgresql_where=BAD),
        Index("ix_messages_bad_of_station", "station_id", "id", sqlite_where=BAD, postgresql_where=BAD),
        {"postgresql_partition_by": "RANGE (id)"},
    )


monthly(Message.__table__)
