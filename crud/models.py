"""Who the partners are, and what each of them must still hear."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models import Base, Big, JsonValue, Rowid


class Partner(Base):
    """One platform on the other side of an OCPI connection. `state`: invited (token A is out), registered, left.

    Tokens are stored encrypted, since OCPI must show them again (CR-11), with a digest to find the caller by. `token_in` is
    ours, by which the partner calls us (A while invited, then C or B); `pending_in` works for versions, details and the
    partner's callback while we register at it (CR-22); `token_out` is the partner's, by which we call it (CR-25).
    `pending_sent`: a registered partner may have taken `pending_in` already, since its answer was not heard.
    `previous_in_digest`: of the token before `token_in`, which was "A" or "C" (`previous_in_state`), until that is used.
    `roles`: [{role, country_code, party_id, business_details}]; `endpoints`: [{identifier, role, url}].
    `clients_pulled_at`: of a hub, when the pull began that read its list of clients last; None: no list is known.
    `told_of_us`: what it knows of us by our last credentials: {"parties": [CC-PID], "endpoints": [...]} (VE-07).
    `prices_itself`: when it was that it wanted no prices of ours (CD-34): [[since, until or null]], of sessions begun then.
    `asked_of_strangers`: it agreed to be asked about cards that nobody has listed (TK-35).
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
    pending_sent: Mapped[bool | None]
    previous_in_digest: Mapped[str | None] = mapped_column(index=True)
    previous_in_state: Mapped[str | None]
    token_out: Mapped[str | None]
    accept_raw_token: Mapped[bool] = mapped_column(default=False)
    send_raw_token: Mapped[bool] = mapped_column(default=False)
    roles: Mapped[list[Any]] = mapped_column(default=list)
    endpoints: Mapped[list[Any]] = mapped_column(default=list)
    tokens_pulled_at: Mapped[datetime | None]
    clients_pulled_at: Mapped[datetime | None]
    told_of_us: Mapped[JsonValue | None]
    prices_itself: Mapped[JsonValue | None]
    asked_of_strangers: Mapped[bool | None]
    created_at: Mapped[datetime]
    registered_at: Mapped[datetime | None]


class HubClient(Base):
    """What a hub says of a party behind it (ClientInfo), in capitals. `status`: CONNECTED, OFFLINE, PLANNED, SUSPENDED;
    `last_updated` the hub's time, `received_at` ours."""

    __tablename__ = "hub_clients"
    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"), primary_key=True)
    country_code: Mapped[str] = mapped_column(primary_key=True)
    party_id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    last_updated: Mapped[datetime]
    received_at: Mapped[datetime]


class PartnerHealth(Base):
    """How it goes with one module of a partner; modules are named as its version details name them. `error_rate`: of its
    last calls, the newer counting more, 0 to 1. `failures` in a row; `open_until`: until then nothing is sent there."""

    __tablename__ = "partner_health"
    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"), primary_key=True)
    module: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[Big]
    errors: Mapped[Big]
    error_rate: Mapped[float]
    failures: Mapped[int]
    last_success_at: Mapped[datetime | None]
    last_failure_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    opened_at: Mapped[datetime | None]
    open_until: Mapped[datetime | None]


class Delivery(Base):
    """What one partner must hear of one object: the current state, once, in order (PU-09, PU-10).

    `wanted` rises with each change, `told` is the `wanted` that was confirmed: they differ while the partner is behind.
    `confirmed` is the last body that the partner confirmed, None after any doubt. `stopped` says why nothing more is sent
    for this version of the object (a permanent refusal). `due_since`: when it began to be behind.
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
    due_since: Mapped[datetime | None]
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
    """Where the result of a partner's command must go, kept until it was sent (CM-04). `session_id`: whose charging profile
    it is about. `withdrawn_at`: when what it got was cancelled, of which it was told unless it had asked for that (CM-45)."""

    __tablename__ = "command_callbacks"
    request_id: Mapped[str] = mapped_column(ForeignKey("remote_requests.id"), primary_key=True)
    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"))
    command: Mapped[str]
    response_url: Mapped[str]
    country_code: Mapped[str]  # of the commanding party
    party_id: Mapped[str]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    session_id: Mapped[str | None] = mapped_column(index=True)
    withdrawn_at: Mapped[datetime | None]


class ChargingPreference(Base):
    """What the driver of a running session wishes, as its eMSP said it last, and what it was answered (SE-30)."""

    __tablename__ = "charging_preferences"
    transaction_id: Mapped[str] = mapped_column(primary_key=True)
    preferences: Mapped[JsonValue]
    response: Mapped[str]
    set_at: Mapped[datetime]
