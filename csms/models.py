"""The tables: what is kept, and which rows the database itself refuses to hold twice."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Sequence,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from csms.database import Json, Money, Plain, TransactionId, Utc, current_transaction

Rowid = Annotated[
    int, mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
]
Big = Annotated[int, mapped_column(BigInteger)]
JsonValue = Annotated[Any, mapped_column(Json)]

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

OWN = 0  # the owner of the operator's own cards; a partner's are owned by its id


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Utc, Decimal: Money, str: Plain, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012


Base.metadata.naming_convention = CONVENTION

transaction_numbers = Sequence("transaction_numbers", start=1, minvalue=1, maxvalue=2**31 - 1, metadata=Base.metadata)


class LogBase(DeclarativeBase):
    """The message log's tables: a file of their own on SQLite."""

    type_annotation_map = {datetime: Utc, str: Plain}  # noqa: RUF012


LogBase.metadata.naming_convention = CONVENTION


# ---- stations -------------------------------------------------------------------------------------------------------


class Station(Base):
    """`admission`: known, pending (waits for adoption) or refused. `fingerprint` is what the identity is bound to (T1), by
    `binding` strict, warn or off. `boot_epoch` counts boots. `clock_skew_s` is claim minus reception, as last measured on a
    live message. `last_seen_at` is written in batches (C02)."""

    __tablename__ = "stations"
    station_id: Mapped[str] = mapped_column(primary_key=True)
    admission: Mapped[str] = mapped_column(index=True)
    password_hash: Mapped[str | None]
    binding: Mapped[str] = mapped_column(default="strict")
    fingerprint: Mapped[str | None]
    vendor: Mapped[str] = mapped_column(default="")
    model: Mapped[str] = mapped_column(default="")
    serial_number: Mapped[str | None]
    firmware_version: Mapped[str | None]
    iccid: Mapped[str | None]
    imsi: Mapped[str | None]
    status: Mapped[str | None]  # of connector 0, the whole station
    error_code: Mapped[str | None]
    firmware_status: Mapped[str | None]
    diagnostics_status: Mapped[str | None]
    heartbeat_interval_s: Mapped[int] = mapped_column(default=300)
    boot_epoch: Mapped[int] = mapped_column(default=0)
    booted_at: Mapped[datetime | None]
    registered: Mapped[str | None]  # the last answer to a Boot
    ocpp_version: Mapped[str | None]
    connection_id: Mapped[str | None]  # None: offline
    connected_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    offline_since: Mapped[datetime | None]
    offline_told: Mapped[bool] = mapped_column(default=False)  # partners see its EVSEs as UNKNOWN
    clock_skew_s: Mapped[float | None]
    clock_skew_at: Mapped[datetime | None]
    keeps_our_time: Mapped[bool | None]  # None until its first word after a Boot (F02)
    created_at: Mapped[datetime]


class StationBoot(Base):
    """Each Boot with its answer: the history of what a station said it is (C01)."""

    __tablename__ = "station_boots"
    id: Mapped[Rowid]
    station_id: Mapped[str] = mapped_column(index=True)
    event_id: Mapped[str]
    ocpp_version: Mapped[str]
    received_at: Mapped[datetime]
    vendor: Mapped[str]
    model: Mapped[str]
    serial_number: Mapped[str | None]
    firmware_version: Mapped[str | None]
    answer: Mapped[str]


class Connection(Base):
    """When a socket of a station was open: between them it was offline (T2)."""

    __tablename__ = "connections"
    connection_id: Mapped[str] = mapped_column(primary_key=True)
    station_id: Mapped[str]
    ocpp_version: Mapped[str]
    peer: Mapped[str]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    last_frame_at: Mapped[datetime | None]
    close_code: Mapped[int | None]
    close_reason: Mapped[str | None]
    __table_args__ = (Index(None, "station_id", "opened_at"),)


# ---- sites ----------------------------------------------------------------------------------------------------------


class Location(Base):
    """A site. `removed` sites keep their rows; `details` holds the optional words of the import file as they are
    (opening_times, facilities, parking_type, ...)."""

    __tablename__ = "locations"
    id: Mapped[Rowid]
    country_code: Mapped[str]
    party_id: Mapped[str]
    location_id: Mapped[str]
    location_key: Mapped[str]  # casefolded
    name: Mapped[str | None]
    address: Mapped[str]
    city: Mapped[str]
    postal_code: Mapped[str | None]
    state: Mapped[str | None]
    country: Mapped[str]
    latitude: Mapped[str]
    longitude: Mapped[str]
    time_zone: Mapped[str]
    publish: Mapped[bool]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]
    __table_args__ = (UniqueConstraint("country_code", "party_id", "location_key"),)


class Evse(Base):
    """`status` is the charger's word (ConnectorStatus); None before the first. `status_at` its claimed time when believed,
    else ours: an older one does not go back in time (C03). `removed` EVSEs stay (REMOVED)."""

    __tablename__ = "evses"
    id: Mapped[Rowid]
    location: Mapped[int] = mapped_column("location_row", ForeignKey("locations.id"), index=True)
    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"))
    evse: Mapped[int]
    uid: Mapped[str]
    uid_key: Mapped[str]
    evse_id: Mapped[str | None]
    removed: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str | None]
    status_at: Mapped[datetime | None]
    error_code: Mapped[str | None]
    vendor_error_code: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]
    __table_args__ = (UniqueConstraint("station_id", "evse"), UniqueConstraint("location_row", "uid_key"))


class Connector(Base):
    __tablename__ = "connectors"
    id: Mapped[Rowid]
    evse: Mapped[int] = mapped_column("evse_row", ForeignKey("evses.id"))
    connector_id: Mapped[str]
    position: Mapped[int]  # the connector's number in OCPP, 1 on 1.6
    removed: Mapped[bool] = mapped_column(default=False)
    standard: Mapped[str]
    format: Mapped[str]
    power_type: Mapped[str]
    max_voltage: Mapped[int]
    max_amperage: Mapped[int]
    max_electric_power: Mapped[int | None]
    tariff_ids: Mapped[list[Any]] = mapped_column(default=list)
    last_updated: Mapped[datetime]
    __table_args__ = (UniqueConstraint("evse_row", "connector_id"),)


class Tariff(Base):
    """One version of a tariff; the newest has `current` true. Running sessions stay on the version they began with."""

    __tablename__ = "tariffs"
    id: Mapped[Rowid]
    country_code: Mapped[str]
    party_id: Mapped[str]
    tariff_id: Mapped[str]
    tariff_key: Mapped[str]
    version: Mapped[int]
    current: Mapped[bool]
    removed: Mapped[bool] = mapped_column(default=False)
    currency: Mapped[str]
    type: Mapped[str | None]
    elements: Mapped[list[Any]]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]  # of the tariff's first version: the order of lists
    last_updated: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("country_code", "party_id", "tariff_key", "version"),
        Index(
            "uq_tariffs_current",
            "country_code",
            "party_id",
            "tariff_key",
            unique=True,
            sqlite_where=text("current"),
            postgresql_where=text("current"),
        ),
    )


# ---- cards ----------------------------------------------------------------------------------------------------------


class Token(Base):
    """A card, by owner. `uid` as its owner writes it, `uid_key` as it is compared (D01). `whitelist`: ALWAYS, ALLOWED,
    ALLOWED_OFFLINE, NEVER. `exempt`: may be active more than once (a fleet card)."""

    __tablename__ = "tokens"
    id: Mapped[Rowid]
    owner_id: Mapped[int] = mapped_column(default=OWN)
    country_code: Mapped[str]
    party_id: Mapped[str]
    uid: Mapped[str]
    uid_key: Mapped[str] = mapped_column(index=True)
    type: Mapped[str] = mapped_column(default="RFID")
    contract_id: Mapped[str]
    visual_number: Mapped[str | None]
    issuer: Mapped[str]
    group_id: Mapped[str | None]
    valid: Mapped[bool]
    whitelist: Mapped[str] = mapped_column(default="ALWAYS")
    expires_at: Mapped[datetime | None]
    exempt: Mapped[bool] = mapped_column(default=False)
    language: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)  # default_profile_type, energy_contract
    created_at: Mapped[datetime]
    last_updated: Mapped[datetime]  # the owner's own, not ours
    __table_args__ = (UniqueConstraint("owner_id", "country_code", "party_id", "uid_key", "type"),)


class Tap(Base):
    """A card was accepted at a station and has not started yet: it is taken until `expires_at` (D07)."""

    __tablename__ = "taps"
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    station_id: Mapped[str]
    authorization_reference: Mapped[str | None]
    auth_method: Mapped[str]
    tapped_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class AuthorizationDecision(Base):
    """One row for every Authorize, every Start and every question to a card's owner (D09). `id_token` is the raw text as
    hex of its UTF-8, so that no byte of it is lost or acts."""

    __tablename__ = "authorization_decisions"
    id: Mapped[Rowid]
    at: Mapped[datetime] = mapped_column(index=True)
    station_id: Mapped[str] = mapped_column(index=True)
    event_id: Mapped[str]
    kind: Mapped[str]  # authorize, start, stop, owner
    id_token: Mapped[str]
    id_token_key: Mapped[str] = mapped_column(index=True)
    token_id: Mapped[int | None]
    owner_id: Mapped[int | None]
    status: Mapped[str]
    reason: Mapped[str]
    auth_method: Mapped[str | None]
    authorization_reference: Mapped[str | None]


# ---- transactions ---------------------------------------------------------------------------------------------------


class Transaction(Base):
    """`id` is the OCPI session id, `number` answers OCPP 1.6. `started_at`/`ended_at` are what we bill by; the charger's
    claims, our receptions and the rule that chose stand beside them (T2). `snapshot` holds the site, EVSE, connector and
    card as they were at the start. `dedup_key` is T4's; `dedup_epoch` counts a key used again after a reboot."""

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
            "uq_transactions_active_token",
            "token_id",
            unique=True,
            sqlite_where=text("state = 'active' AND NOT exempt"),
            postgresql_where=text("state = 'active' AND NOT exempt"),
        ),
    )


class MeterSampleRow(Base):
    """One row a frame. The key holds `received_at`, by whose month the table may be cut; a frame sent again is found by
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
    )


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
    __table_args__ = (Index(None, "station_id", "state"), Index(None, "state", "deadline_at"))


# ---- bills, reviews, alerts -----------------------------------------------------------------------------------------


class ChargeRecord(Base):
    """A bill. At most one that is no credit for a transaction; never changed once written."""

    __tablename__ = "charge_records"
    id: Mapped[str] = mapped_column(primary_key=True)
    country_code: Mapped[str]
    party_id: Mapped[str]
    transaction_id: Mapped[str] = mapped_column(ForeignKey("transactions.id"))
    owner_id: Mapped[int | None] = mapped_column(index=True)
    credit: Mapped[bool] = mapped_column(default=False)
    credit_reference_id: Mapped[str | None]
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
    costs: Mapped[dict[str, Any]]  # fixed, energy, time, parking: [excl, incl] as text
    snapshot: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    __table_args__ = (
        CheckConstraint("ended_at >= started_at AND duration_s >= 0", name="ck_charge_records_length"),  # E11
        CheckConstraint("energy_mwh >= 0", name="ck_charge_records_energy"),
        Index(
            "uq_charge_records_transaction",
            "transaction_id",
            unique=True,
            sqlite_where=text("NOT credit"),
            postgresql_where=text("NOT credit"),
        ),
    )


class Review(Base):
    """A transaction that a person must look at before it is billed (E07, E12)."""

    __tablename__ = "reviews"
    id: Mapped[Rowid]
    transaction_id: Mapped[str] = mapped_column(ForeignKey("transactions.id"), unique=True)
    reasons: Mapped[list[Any]]
    state: Mapped[str]  # open, released, written_off
    owner: Mapped[str | None]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class Alert(Base):
    """Something the operator must know. One open alert for a kind and subject a day (F06)."""

    __tablename__ = "alerts"
    id: Mapped[Rowid]
    kind: Mapped[str]
    subject: Mapped[str]
    day: Mapped[str]
    station_id: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("kind", "subject", "day"),)


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


# ---- the journal ----------------------------------------------------------------------------------------------------


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
    __table_args__ = (Index(None, "xid", "id"), {"sqlite_autoincrement": True})


class JournalCursor(Base):
    """How far a subscriber has read."""

    __tablename__ = "journal_cursors"
    subscriber: Mapped[str] = mapped_column(primary_key=True)
    xid: Mapped[int] = mapped_column(TransactionId, server_default=text("'0'"))
    position: Mapped[Big] = mapped_column(default=0)


class DeadLetter(Base):
    """A fact that a subscriber could not use: a newer schema, or one that made it fail each time (A11)."""

    __tablename__ = "dead_letters"
    id: Mapped[Rowid]
    subscriber: Mapped[str]
    journal_id: Mapped[Big]
    reason: Mapped[str]
    at: Mapped[datetime]


# ---- the message log ------------------------------------------------------------------------------------------------


class Message(LogBase):
    """One frame (A04). The key holds `at`, by whose month the table may be cut; `id` is made by us and sorts by time."""

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
        Index("ix_messages_station", "station_id", "id"),
        Index("ix_messages_message", "message_id"),
    )
