"""The journal, how far each reader is, and what none could use."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.database import TransactionId, current_transaction
from csms.models.base import Base, Big, JsonValue, Rowid


class JournalEntry(Base):
    """One fact, written in the transaction that made it true. `xid` orders PostgreSQL's concurrent commits."""

    __tablename__ = "journal"
    id: Mapped[Rowid]
    xid: Mapped[int] = mapped_column(TransactionId, server_default=current_transaction())
    type: Mapped[str]
    schema_version: Mapped[int]
    ocpp_version: Mapped[str]  # of the event it came from; "-" for facts that no charger told
    event_id: Mapped[str]
    station_id: Mapped[str | None]
    subject: Mapped[str]
    recorded_at: Mapped[datetime]
    data: Mapped[JsonValue]
    __table_args__ = (
        Index("ix_journal_xid_id", "xid", "id").ddl_if(dialect="postgresql"),  # on SQLite ids alone are the order
        Index(
            "ix_journal_evse_status",  # what an EVSE told while a session ran there
            "subject",
            "recorded_at",
            sqlite_where=text("type = 'evse_status'"),
            postgresql_where=text("type = 'evse_status'"),
        ),
        {"sqlite_autoincrement": True},
    )


class JournalCursor(Base):
    """How far a subscriber has read."""

    __tablename__ = "journal_cursors"
    subscriber: Mapped[str] = mapped_column(primary_key=True)
    xid: Mapped[int] = mapped_column(TransactionId, server_default=text("'0'"))
    position: Mapped[Big] = mapped_column(default=0)


class HandledEvent(Base):
    """An event that came by a bus, and so may come again, with the reply it was given. Ids rise with time."""

    __tablename__ = "handled_events"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    handled_at: Mapped[datetime]
    reply: Mapped[bytes]


class DeadLetter(Base):
    """A fact that a subscriber could not use: a newer schema, or one that made it fail each time (A11)."""

    __tablename__ = "dead_letters"
    id: Mapped[Rowid]
    subscriber: Mapped[str]
    journal_id: Mapped[Big]
    reason: Mapped[str]
    at: Mapped[datetime]
