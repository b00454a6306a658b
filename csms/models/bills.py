"""Bills, what a person must look at before one, alerts, and the keys of programs."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from csms.models.base import Base, Big, JsonValue, Rowid


class ChargeRecord(Base):
    """A bill; never changed once written. A credit takes the whole of one back, once; `corrects` names the one, credited
    before, in whose place this one stands. So of a transaction's records at most one stands. `decided_by` and `decision`:
    who credited or corrected, and why; None of what the rules made."""

    __tablename__ = "charge_records"
    id: Mapped[str] = mapped_column(primary_key=True)
    country_code: Mapped[str]
    party_id: Mapped[str]
    transaction_id: Mapped[str] = mapped_column(ForeignKey("transactions.id"))
    owner_id: Mapped[int | None] = mapped_column(index=True)
    credit: Mapped[bool] = mapped_column(default=False)
    credit_reference_id: Mapped[str | None]
    corrects: Mapped[str | None]
    decided_by: Mapped[str | None]
    decision: Mapped[str | None]
    tariff: Mapped[int | None] = mapped_column("tariff_row", ForeignKey("tariffs.id"))
    currency: Mapped[str]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    energy_mwh: Mapped[Big]
    duration_s: Mapped[int]
    parking_s: Mapped[int] = mapped_column(default=0)
    total_excl_vat: Mapped[Decimal]
    total_incl_vat: Mapped[Decimal]
    lines: Mapped[list[Any]]  # of csms.billing.tariffs.Line, decimals as text
    periods: Mapped[list[Any]]
    costs: Mapped[dict[str, Any]]  # fixed, energy, time, parking, a reservation's: [excl, incl] as text
    snapshot: Mapped[dict[str, Any]]
    evidence: Mapped[JsonValue | None]  # what it was made of; csms.billing.explanation tells it
    signed_data: Mapped[JsonValue | None]  # what its meter signed, as the charger sent it; None: nothing
    created_at: Mapped[datetime]
    __table_args__ = (
        CheckConstraint("ended_at >= started_at AND duration_s >= 0", name="ck_charge_records_length"),  # E11
        CheckConstraint("energy_mwh >= 0", name="ck_charge_records_energy"),
        Index("ix_charge_records_created", "created_at", "id"),
        Index("ix_charge_records_transaction", "transaction_id"),
        Index(
            "uq_charge_records_first",
            "transaction_id",
            unique=True,
            sqlite_where=text("NOT credit AND corrects IS NULL"),
            postgresql_where=text("NOT credit AND corrects IS NULL"),
        ),
        Index("uq_charge_records_corrects", "corrects", unique=True),
        Index("uq_charge_records_credit", "credit_reference_id", unique=True),
    )


class MoneyRounding(Base):
    """How a currency's amounts are rounded; one without a row has four decimals, half up. Every process that prices reads
    it here, so that all of them agree."""

    __tablename__ = "money_roundings"
    currency: Mapped[str] = mapped_column(primary_key=True)
    decimals: Mapped[int]
    to_even: Mapped[bool]


class Review(Base):
    """A transaction that a person must look at before it is billed (E07, E12). `state`: open, released, adjusted,
    written_off. `detail` is what helps to judge it (a proposed quirk entry, X16), `adjustment` what a person corrected:
    the transaction keeps what its charger said."""

    __tablename__ = "reviews"
    id: Mapped[Rowid]
    transaction_id: Mapped[str] = mapped_column(ForeignKey("transactions.id"), unique=True)
    reasons: Mapped[list[Any]]
    detail: Mapped[JsonValue | None]
    state: Mapped[str]
    owner: Mapped[str | None]  # who looks after it
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]  # None beside a closed one: a rule's write-off of what took no energy
    decision: Mapped[str | None]  # why it was decided so
    adjustment: Mapped[JsonValue | None]
    __table_args__ = (Index(None, "state", "opened_at"),)


class RefundEvaluation(Base):
    """A session that ended in a failure: what was delivered and charged until then, for a person to judge (E05). Nothing is
    paid back by itself. `state`: open, granted, declined."""

    __tablename__ = "refund_evaluations"
    id: Mapped[Rowid]
    transaction_id: Mapped[str] = mapped_column(ForeignKey("transactions.id"), unique=True)
    cause: Mapped[str]
    suggestion: Mapped[str]
    energy_mwh: Mapped[Big]
    duration_s: Mapped[int]
    total_incl_vat: Mapped[Decimal | None]  # None: not billed, or not yet
    currency: Mapped[str | None]
    state: Mapped[str]
    owner: Mapped[str | None]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    decision: Mapped[str | None]
    __table_args__ = (Index(None, "state", "opened_at"),)


class Alert(Base):
    """Something the operator must know. One for a kind and subject a day, closed when it is over (F06); `closed_by`: the
    person or program who closed it instead."""

    __tablename__ = "alerts"
    id: Mapped[Rowid]
    kind: Mapped[str]
    subject: Mapped[str]
    day: Mapped[str]
    station_id: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]
    __table_args__ = (
        UniqueConstraint("kind", "subject", "day"),
        Index(
            "ix_alerts_open",
            "kind",
            "subject",
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
    )


class ApiKey(Base):
    """A program that may use the operator API. Only a digest of the key is kept; `prefix` is what a list shows."""

    __tablename__ = "api_keys"
    id: Mapped[Rowid]
    name: Mapped[str]
    role: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
