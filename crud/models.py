"""Who the partners are, and what each of them must still hear."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models import Base, JsonValue, Rowid


class Partner(Base):
    """One platform on the other side of an OCPI connection. `state`: invited (token A is out), registered, left.

    Tokens are stored encrypted, since OCPI must show them again (CR-11), with a digest to find the caller by. `token_in` is
    ours, by which the partner calls us (A while invited, then C or B); `pending_in` works for versions, details and the
    partner's callback while we register at it (CR-22); `token_out` is the partner's, by which we call it (CR-25).
    `roles`: [{role, country_code, party_id, business_details}]; `endpoints`: [{identifier, role, url}].
    """

    __tablename__ = "partners"
    id: Mapped[Rowid]
    name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    country_code: Mapped[str]  # of ours: the party this partner deals with
    party_id: Mapped[str]
    version: Mapped[str | None]
    versions_url: Mapped[str | None]
    token_in: Mapped[str | None]
    token_in_digest: Mapped[str | None] = mapped_column(unique=True)
    pending_in: Mapped[str | None]
    pending_in_digest: Mapped[str | None] = mapped_column(unique=True)
    token_out: Mapped[str | None]
    accept_raw_token: Mapped[bool] = mapped_column(default=False)
    send_raw_token: Mapped[bool] = mapped_column(default=False)
    roles: Mapped[list[Any]] = mapped_column(default=list)
    endpoints: Mapped[list[Any]] = mapped_column(default=list)
    tokens_pulled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    registered_at: Mapped[datetime | None]


class Delivery(Base):
    """What one partner must hear of one object: the current state, once, in order (PU-09, PU-10).

    `wanted` rises with each change, `told` is the `wanted` that was confirmed: they differ while the partner is behind.
    `confirmed` is the last body that the partner confirmed, None after any doubt. `stopped` says why nothing more is sent
    for this version of the object (a permanent refusal).
    """

    __tablename__ = "deliveries"
    id: Mapped[Rowid]
    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"))
    module: Mapped[str]  # locations, evses, sessions, cdrs, tariffs
    object_id: Mapped[str]  # our row's id as text
    wanted: Mapped[int] = mapped_column(default=1)
    told: Mapped[int] = mapped_column(default=0)
    confirmed: Mapped[JsonValue | None]
    confirmed_at: Mapped[datetime | None]
    remote_url: Mapped[str | None]  # the Location header of a CDR (CD-03)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    stopped: Mapped[str | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("partner_id", "module", "object_id"),
        Index(
            "ix_deliveries_due",
            "next_attempt_at",
            sqlite_where=text("wanted > told"),
            postgresql_where=text("wanted > told"),
        ),
    )


class CommandCallback(Base):
    """Where the result of a partner's command must go, kept until it was sent (CM-04)."""

    __tablename__ = "command_callbacks"
    request_id: Mapped[str] = mapped_column(ForeignKey("remote_requests.id"), primary_key=True)
    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"))
    command: Mapped[str]
    response_url: Mapped[str]
    country_code: Mapped[str]  # of the commanding party
    party_id: Mapped[str]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
