"""Transactions, what was measured in them, and what somebody asked of a station."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, Big, JsonValue, monthly


class Transaction(Base):
    """`id` is the OCPI session id, `number` answers OCPP 1.6. `started_at`/`ended_at` are what we bill by; the charger's
    claims, our receptions and the rule that chose stand beside them (T2). `snapshot` holds the site, EVSE, connector and
    card as they were at the start. `dedup_key` is T4's; `dedup_epoch` counts a key used again after a reboot.
    `sampled_since`/`sampled_until`: receptions of samples far from the start (csms.sample_span)."""

    __tablename__ = "transactions"
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    country_code: Mapped[str]
    party_id: Mapped[str]
    station_id: Mapped[str]
    ocpp_version: Mapped[str]
    evse: Mapped[int]
    connector: Mapped[int]
    transaction_ref: Mapped[str | None]
    state: Mapped[str]
    cause: Mapped[str | None]
    flags: Mapped[list[Any]] = mapped_column(default=list)
    findings: Mapped[list[Any]] = mapped_column(default=list)
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id"))
    owner_id: Mapped[int | None]
    id_token: Mapped[str]  # hex of what the charger sent
    id_token_key: Mapped[str]
    exempt: Mapped[bool] = mapped_column(default=False)
    authorization: Mapped[str]
    auth_method: Mapped[str]
    authorization_reference: Mapped[str | None]
    remote_request_id: Mapped[str | None]
    tariff: Mapped[int | None] = mapped_column("tariff_row", ForeignKey("tariffs.id"))
    snapshot: Mapped[dict[str, Any]]
    boot_epoch: Mapped[int]
    dedup_key: Mapped[str]
    dedup_epoch: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime]
    started_claimed_at: Mapped[datetime | None]
    started_received_at: Mapped[datetime]
    started_rule: Mapped[str]
    start_event_id: Mapped[str]
    ended_at: Mapped[datetime | None]
    ended_claimed_at: Mapped[datetime | None]
    ended_received_at: Mapped[datetime | None]
    ended_rule: Mapped[str | None]
    end_event_id: Mapped[str | None]
    stop_id_token: Mapped[str | None]
    stop_reason_raw: Mapped[str | None]
    meter_start_mwh: Mapped[Big | None]
    meter_stop_mwh: Mapped[Big | None]
    meter_last_mwh: Mapped[Big | None]
    energy_mwh: Mapped[Big] = mapped_column(default=0)
    power_w: Mapped[int | None]
    last_sample_at: Mapped[datetime | None]
    sample_count: Mapped[int] = mapped_column(default=0)
    sampled_since: Mapped[datetime | None]
    sampled_until: Mapped[datetime | None]
    booted_inside: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]
    __table_args__ = (
        CheckConstraint("ended_at >= started_at", name="ck_transactions_length"),  # E11
        CheckConstraint("energy_mwh >= 0", name="ck_transactions_energy"),
        UniqueConstraint("dedup_key", "station_id", "dedup_epoch"),  # the key first: SQLite finds no list of pairs
        Index("ix_transactions_station_state", "station_id", "state"),
        Index("ix_transactions_ended_received_at", "ended_received_at"),
        Index(
            "ix_transactions_open",
            "state",
            sqlite_where=text("state <> 'ended'"),
            postgresql_where=text("state <> 'ended'"),
        ),
        Index("ix_transactions_owner_updated", "owner_id", "last_updated"),
        Index(
            "ix_transactions_token_started", "token_id", "started_at"
        ),  # which cards were used last, without their rows
        Index(
            "uq_transactions_active_token",
            "token_id",
            unique=True,
            sqlite_where=text("state = 'active' AND NOT exempt"),
            postgresql_where=text("state = 'active' AND NOT exempt"),
        ),
    )


class MeterSampleRow(Base):
    """One row a frame. The key holds `received_at`, by whose month PostgreSQL cuts the table; a frame sent again is found by
    its `digest` under the lock of its transaction. `occurred_at` is the first sample's time as believed."""

    __tablename__ = "meter_samples"
    event_id: Mapped[str]
    received_at: Mapped[datetime]
    station_id: Mapped[str]
    evse: Mapped[int]
    transaction_id: Mapped[str | None]
    occurred_at: Mapped[datetime]
    digest: Mapped[str]
    energy_mwh: Mapped[Big | None]
    late: Mapped[bool]  # after the transaction ended (E04)
    samples: Mapped[str]  # JSON of events.MeterSample, encoded once
    raw: Mapped[str | None]
    __table_args__ = (
        PrimaryKeyConstraint("received_at", "event_id"),
        Index("ix_meter_samples_transaction", "transaction_id", "received_at"),
        Index("ix_meter_samples_digest", "digest"),
        {"postgresql_partition_by": "RANGE (received_at)"},
    )


monthly(MeterSampleRow.__table__)


class RawEvent(Base):
    """The payload of a transaction message that failed its schema: stored, flagged, never refused (T10)."""

    __tablename__ = "raw_events"
    event_id: Mapped[str] = mapped_column(primary_key=True)
    station_id: Mapped[str] = mapped_column(index=True)
    received_at: Mapped[datetime]
    type: Mapped[str]
    transaction_id: Mapped[str | None]
    violations: Mapped[list[Any]]
    raw: Mapped[str]


class RemoteRequest(Base):
    """What somebody asked of a station, and what became of it. `state`: queued, sent, accepted, rejected, timed_out, failed,
    offline, started, no_start. `tag` is the id_token that was sent (decision 2). `requested_by`: cli:user, partner:id."""

    __tablename__ = "remote_requests"
    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    station_id: Mapped[str]
    evse: Mapped[int | None]
    command: Mapped[JsonValue]
    state: Mapped[str]
    outcome: Mapped[str | None]
    detail: Mapped[str | None]
    answer: Mapped[JsonValue | None]
    requested_by: Mapped[str]
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id"))
    tag_key: Mapped[str | None]
    authorization_reference: Mapped[str | None]
    transaction_id: Mapped[str | None]
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime]
    start_by: Mapped[datetime | None]  # accepted, and a transaction must follow by then (R03)
    finished_at: Mapped[datetime | None]
    reason: Mapped[str | None]  # why, where a person must say so (R05)
    effect: Mapped[str | None]  # what should follow an acceptance (a Boot after a Reset): awaited, seen, missing
    effect_by: Mapped[datetime | None]
    effect_at: Mapped[datetime | None]
    __table_args__ = (
        Index(None, "station_id", "state"),
        Index(None, "state", "deadline_at"),
        Index(None, "effect", "effect_by"),
        Index("ix_remote_requests_created", "created_at", "id"),
    )
