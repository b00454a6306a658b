"""EVSEs kept free for somebody until a time."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, JsonValue, Rowid


class Reservation(Base):
    """`number` is the id on the wire, a positive int32. `evse` 0: any of the station's. `state`: requested, active,
    refused, cancelled, used, expired. `reference`: the partner's own id for it, unique among the open ones of its `owner_id`.
    `detail`: the word that says why it is refused, or why what was asked of it last was not done.

    `granted_at`: when the station first took it. `public_id`: the Session that its partner sees from then on, of the party of
    the site; its `snapshot` is a transaction's, and the currency there. The transaction that it is kept for takes that id."""

    __tablename__ = "reservations"
    number: Mapped[Rowid]
    station_id: Mapped[str] = mapped_column(index=True)
    evse: Mapped[int]
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id"))
    owner_id: Mapped[int | None]
    reference: Mapped[str | None]
    tag: Mapped[str]  # the id_token that was sent
    tag_key: Mapped[str]
    state: Mapped[str]
    detail: Mapped[str | None]
    authorization_reference: Mapped[str | None]
    requested_by: Mapped[str]
    remote_request_id: Mapped[str | None]
    transaction_id: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    public_id: Mapped[str | None] = mapped_column(unique=True)
    country_code: Mapped[str | None]
    party_id: Mapped[str | None]
    granted_at: Mapped[datetime | None]
    snapshot: Mapped[JsonValue | None]
    last_updated: Mapped[datetime | None]  # of the Session
    __table_args__ = (
        Index(None, "state", "expires_at"),
        Index(
            "uq_reservations_open_reference",
            "owner_id",
            "reference",
            unique=True,
            sqlite_where=text("state IN ('requested', 'active')"),
            postgresql_where=text("state IN ('requested', 'active')"),
        ),
        {"sqlite_autoincrement": True},
    )
