"""The first tables: stations, sites, cards, transactions, bills, the journal, partners, and the message log.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa

from alembic import op
from csms.database import TransactionId, current_transaction

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Column = sa.Column[object]


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("the first tables are removed by removing the database")


# ---- columns --------------------------------------------------------------------------------------------------------


ROWID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id() -> Column:
    return sa.Column("id", ROWID, autoincrement=True, nullable=False)


def _row(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, ROWID, nullable=null)


def _text(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.Text(), nullable=null)


_json = _text  # JSON values and exact decimals are kept as text on both databases
_money = _text


def _time(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _int(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.Integer(), nullable=null)


def _big(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _float(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.Double(), nullable=null)


def _bool(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.Boolean(), nullable=null)


def _main() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            sa.schema.CreateSequence(sa.Sequence("transaction_numbers", start=1, minvalue=1, maxvalue=2**31 - 1))
        )
    op.create_table(
        "alerts",
        _id(),
        _text("kind"),
        _text("subject"),
        _text("day"),
        _text("station_id", null=True),
        _json("detail"),
        _time("opened_at"),
        _time("closed_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("kind", "subject", "day", name="uq_alerts_kind_subject_day"),
    )
    op.create_table(
        "api_keys",
        _id(),
        _text("name"),
        _text("role"),
        _text("prefix"),
        _text("digest"),
        _time("created_at"),
        _time("revoked_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
    op.create_table(
        "authorization_decisions",
        _id(),
        _time("at"),
        _text("station_id"),
        _text("event_id"),
        _text("kind"),
        _text("id_token"),
        _text("id_token_key"),
        _int("token_id", null=True),
        _int("owner_id", null=True),
        _text("status"),
        _text("reason"),
        _text("auth_method", null=True),
        _text("authorization_reference", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_authorization_decisions"),
    )
    op.create_index("ix_authorization_decisions_at", "authorization_decisions", ["at"])
    op.create_index("ix_authorization_decisions_id_token_key", "authorization_decisions", ["id_token_key"])
    op.create_index("ix_authorization_decisions_station_id", "authorization_decisions", ["station_id"])
    op.create_table(
        "connections",
        _text("connection_id"),
        _text("station_id"),
        _text("ocpp_version"),
        _text("peer"),
        _time("opened_at"),
        _time("closed_at", null=True),
        _time("last_frame_at", null=True),
        _int("close_code", null=True),
        _text("close_reason", null=True),
        sa.PrimaryKeyConstraint("connection_id", name="pk_connections"),
    )
    op.create_index("ix_connections_station_id_opened_at", "connections", ["station_id", "opened_at"])
    op.create_table(
        "dead_letters",
        _id(),
        _text("subscriber"),
        _big("journal_id"),
        _text("reason"),
        _time("at"),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
    )
    op.create_table(
        "journal",
        _id(),
        sa.Column("xid", TransactionId(), server_default=current_transaction(), nullable=False),
        _text("type"),
        _int("schema_version"),
        _text("ocpp_version"),
        _text("event_id"),
        _text("station_id", null=True),
        _text("subject"),
        _time("recorded_at"),
        _json("data"),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journal_xid_id", "journal", ["xid", "id"])
    op.create_table(
        "journal_cursors",
        _text("subscriber"),
        sa.Column("xid", TransactionId(), server_default=sa.text("'0'"), nullable=False),
        _big("position"),
        sa.PrimaryKeyConstraint("subscriber", name="pk_journal_cursors"),
    )
    op.create_table(
        "locations",
        _id(),
        _text("country_code"),
        _text("party_id"),
        _text("location_id"),
        _text("location_key"),
        _text("name", null=True),
        _text("address"),
        _text("city"),
        _text("postal_code", null=True),
        _text("state", null=True),
        _text("country"),
        _text("latitude"),
        _text("longitude"),
        _text("time_zone"),
        _bool("publish"),
        _json("details"),
        _time("created_at"),
        _time("last_updated"),
        sa.PrimaryKeyConstraint("id", name="pk_locations"),
        sa.UniqueConstraint(
            "country_code", "party_id", "location_key", name="uq_locations_country_code_party_id_location_key"
        ),
    )
    op.create_table(
        "meter_samples",
        _text("event_id"),
        _time("received_at"),
        _text("station_id"),
        _int("evse"),
        _text("transaction_id", null=True),
        _time("occurred_at"),
        _text("digest"),
        _big("energy_mwh", null=True),
        _bool("late"),
        _text("samples"),
        _text("raw", null=True),
        sa.PrimaryKeyConstraint("received_at", "event_id", name="pk_meter_samples"),
    )
    op.create_index("ix_meter_samples_digest", "meter_samples", ["digest"])
    op.create_index("ix_meter_samples_transaction", "meter_samples", ["transaction_id", "received_at"])
    op.create_table(
        "partners",
        _id(),
        _text("name"),
        _text("state"),
        _text("country_code"),
        _text("party_id"),
        _text("version", null=True),
        _text("versions_url", null=True),
        _text("token_in", null=True),
        _text("token_in_digest", null=True),
        _text("pending_in", null=True),
        _text("pending_in_digest", null=True),
        _text("token_out", null=True),
        _bool("accept_raw_token"),
        _bool("send_raw_token"),
        _json("roles"),
        _json("endpoints"),
        _time("tokens_pulled_at", null=True),
        _time("created_at"),
        _time("registered_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_partners"),
        sa.UniqueConstraint("name", name="uq_partners_name"),
        sa.UniqueConstraint("pending_in_digest", name="uq_partners_pending_in_digest"),
        sa.UniqueConstraint("token_in_digest", name="uq_partners_token_in_digest"),
    )
    op.create_table(
        "raw_events",
        _text("event_id"),
        _text("station_id"),
        _time("received_at"),
        _text("type"),
        _text("transaction_id", null=True),
        _json("violations"),
        _text("raw"),
        sa.PrimaryKeyConstraint("event_id", name="pk_raw_events"),
    )
    op.create_index("ix_raw_events_station_id", "raw_events", ["station_id"])
    op.create_table(
        "station_boots",
        _id(),
        _text("station_id"),
        _text("event_id"),
        _text("ocpp_version"),
        _time("received_at"),
        _text("vendor"),
        _text("model"),
        _text("serial_number", null=True),
        _text("firmware_version", null=True),
        _text("answer"),
        sa.PrimaryKeyConstraint("id", name="pk_station_boots"),
    )
    op.create_index("ix_station_boots_station_id", "station_boots", ["station_id"])
    op.create_table(
        "stations",
        _text("station_id"),
        _text("admission"),
        _text("password_hash", null=True),
        _text("binding"),
        _text("fingerprint", null=True),
        _text("vendor"),
        _text("model"),
        _text("serial_number", null=True),
        _text("firmware_version", null=True),
        _text("iccid", null=True),
        _text("imsi", null=True),
        _text("status", null=True),
        _text("error_code", null=True),
        _text("firmware_status", null=True),
        _text("diagnostics_status", null=True),
        _int("heartbeat_interval_s"),
        _int("boot_epoch"),
        _time("booted_at", null=True),
        _text("registered", null=True),
        _text("ocpp_version", null=True),
        _text("connection_id", null=True),
        _time("connected_at", null=True),
        _time("last_seen_at", null=True),
        _time("offline_since", null=True),
        _bool("offline_told"),
        _float("clock_skew_s", null=True),
        _time("clock_skew_at", null=True),
        _bool("keeps_our_time", null=True),
        _time("created_at"),
        sa.PrimaryKeyConstraint("station_id", name="pk_stations"),
    )
    op.create_index("ix_stations_admission", "stations", ["admission"])
    op.create_table(
        "tariffs",
        _id(),
        _text("country_code"),
        _text("party_id"),
        _text("tariff_id"),
        _text("tariff_key"),
        _int("version"),
        _bool("current"),
        _bool("removed"),
        _text("currency"),
        _text("type", null=True),
        _json("elements"),
        _json("details"),
        _time("created_at"),
        _time("last_updated"),
        sa.PrimaryKeyConstraint("id", name="pk_tariffs"),
        sa.UniqueConstraint(
            "country_code",
            "party_id",
            "tariff_key",
            "version",
            name="uq_tariffs_country_code_party_id_tariff_key_version",
        ),
    )
    op.create_index(
        "uq_tariffs_current",
        "tariffs",
        ["country_code", "party_id", "tariff_key"],
        unique=True,
        sqlite_where=sa.text("current"),
        postgresql_where=sa.text("current"),
    )
    op.create_table(
        "tokens",
        _id(),
        _int("owner_id"),
        _text("country_code"),
        _text("party_id"),
        _text("uid"),
        _text("uid_key"),
        _text("type"),
        _text("contract_id"),
        _text("visual_number", null=True),
        _text("issuer"),
        _text("group_id", null=True),
        _bool("valid"),
        _text("whitelist"),
        _time("expires_at", null=True),
        _bool("exempt"),
        _text("language", null=True),
        _json("details"),
        _time("created_at"),
        _time("last_updated"),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint(
            "owner_id",
            "country_code",
            "party_id",
            "uid_key",
            "type",
            name="uq_tokens_owner_id_country_code_party_id_uid_key_type",
        ),
    )
    op.create_index("ix_tokens_uid_key", "tokens", ["uid_key"])
    op.create_table(
        "deliveries",
        _id(),
        _row("partner_id"),
        _text("module"),
        _text("object_id"),
        _int("wanted"),
        _int("told"),
        _json("confirmed", null=True),
        _time("confirmed_at", null=True),
        _text("remote_url", null=True),
        _int("attempts"),
        _time("next_attempt_at", null=True),
        _text("stopped", null=True),
        _text("last_error", null=True),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_deliveries_partner_id"),
        sa.UniqueConstraint("partner_id", "module", "object_id", name="uq_deliveries_partner_id_module_object_id"),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_attempt_at"],
        sqlite_where=sa.text("wanted > told"),
        postgresql_where=sa.text("wanted > told"),
    )
    op.create_table(
        "evses",
        _id(),
        _row("location_row"),
        _text("station_id"),
        _int("evse"),
        _text("uid"),
        _text("uid_key"),
        _text("evse_id", null=True),
        _bool("removed"),
        _text("status", null=True),
        _time("status_at", null=True),
        _text("error_code", null=True),
        _text("vendor_error_code", null=True),
        _json("details"),
        _time("created_at"),
        _time("last_updated"),
        sa.PrimaryKeyConstraint("id", name="pk_evses"),
        sa.ForeignKeyConstraint(["location_row"], ["locations.id"], name="fk_evses_location_row"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.station_id"], name="fk_evses_station_id"),
        sa.UniqueConstraint("location_row", "uid_key", name="uq_evses_location_row_uid_key"),
        sa.UniqueConstraint("station_id", "evse", name="uq_evses_station_id_evse"),
    )
    op.create_index("ix_evses_location_row", "evses", ["location_row"])
    op.create_table(
        "remote_requests",
        _text("id"),
        _text("kind"),
        _text("station_id"),
        _int("evse", null=True),
        _json("command"),
        _text("state"),
        _text("outcome", null=True),
        _text("detail", null=True),
        _json("answer", null=True),
        _text("requested_by"),
        _row("token_id", null=True),
        _text("tag_key", null=True),
        _text("authorization_reference", null=True),
        _text("transaction_id", null=True),
        _time("created_at"),
        _time("deadline_at"),
        _time("start_by", null=True),
        _time("finished_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_remote_requests"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_remote_requests_token_id"),
    )
    op.create_index("ix_remote_requests_state_deadline_at", "remote_requests", ["state", "deadline_at"])
    op.create_index("ix_remote_requests_station_id_state", "remote_requests", ["station_id", "state"])
    op.create_table(
        "taps",
        _row("token_id"),
        _text("station_id"),
        _text("authorization_reference", null=True),
        _text("auth_method"),
        _time("tapped_at"),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("token_id", name="pk_taps"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_taps_token_id"),
    )
    op.create_table(
        "transactions",
        _text("id"),
        _int("number"),
        _text("country_code"),
        _text("party_id"),
        _text("station_id"),
        _text("ocpp_version"),
        _int("evse"),
        _int("connector"),
        _text("transaction_ref", null=True),
        _text("state"),
        _text("cause", null=True),
        _json("flags"),
        _json("findings"),
        _row("token_id", null=True),
        _int("owner_id", null=True),
        _text("id_token"),
        _text("id_token_key"),
        _bool("exempt"),
        _text("authorization"),
        _text("auth_method"),
        _text("authorization_reference", null=True),
        _text("remote_request_id", null=True),
        _row("tariff_row", null=True),
        _json("snapshot"),
        _int("boot_epoch"),
        _text("dedup_key"),
        _int("dedup_epoch"),
        _time("started_at"),
        _time("started_claimed_at", null=True),
        _time("started_received_at"),
        _text("started_rule"),
        _text("start_event_id"),
        _time("ended_at", null=True),
        _time("ended_claimed_at", null=True),
        _time("ended_received_at", null=True),
        _text("ended_rule", null=True),
        _text("end_event_id", null=True),
        _text("stop_id_token", null=True),
        _text("stop_reason_raw", null=True),
        _big("meter_start_mwh", null=True),
        _big("meter_stop_mwh", null=True),
        _big("meter_last_mwh", null=True),
        _big("energy_mwh"),
        _int("power_w", null=True),
        _time("last_sample_at", null=True),
        _int("sample_count"),
        _bool("booted_inside"),
        _time("created_at"),
        _time("last_updated"),
        sa.CheckConstraint("ended_at >= started_at", name="ck_transactions_length"),
        sa.CheckConstraint("energy_mwh >= 0", name="ck_transactions_energy"),
        sa.PrimaryKeyConstraint("id", name="pk_transactions"),
        sa.ForeignKeyConstraint(["tariff_row"], ["tariffs.id"], name="fk_transactions_tariff_row"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_transactions_token_id"),
        sa.UniqueConstraint("number", name="uq_transactions_number"),
        sa.UniqueConstraint(
            "dedup_key", "station_id", "dedup_epoch", name="uq_transactions_dedup_key_station_id_dedup_epoch"
        ),
    )
    op.create_index("ix_transactions_owner_updated", "transactions", ["owner_id", "last_updated"])
    op.create_index("ix_transactions_ended_received_at", "transactions", ["ended_received_at"])
    op.create_index(
        "ix_transactions_open",
        "transactions",
        ["state"],
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index("ix_transactions_station_state", "transactions", ["station_id", "state"])
    op.create_index(
        "uq_transactions_active_token",
        "transactions",
        ["token_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active' AND NOT exempt"),
        postgresql_where=sa.text("state = 'active' AND NOT exempt"),
    )
    op.create_table(
        "charge_records",
        _text("id"),
        _text("country_code"),
        _text("party_id"),
        _text("transaction_id"),
        _int("owner_id", null=True),
        _bool("credit"),
        _text("credit_reference_id", null=True),
        _row("tariff_row", null=True),
        _text("currency"),
        _time("started_at"),
        _time("ended_at"),
        _big("energy_mwh"),
        _int("duration_s"),
        _int("parking_s"),
        _money("total_excl_vat"),
        _money("total_incl_vat"),
        _json("lines"),
        _json("periods"),
        _json("costs"),
        _json("snapshot"),
        _time("created_at"),
        sa.CheckConstraint("ended_at >= started_at AND duration_s >= 0", name="ck_charge_records_length"),
        sa.CheckConstraint("energy_mwh >= 0", name="ck_charge_records_energy"),
        sa.PrimaryKeyConstraint("id", name="pk_charge_records"),
        sa.ForeignKeyConstraint(["tariff_row"], ["tariffs.id"], name="fk_charge_records_tariff_row"),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name="fk_charge_records_transaction_id"),
    )
    op.create_index("ix_charge_records_owner_id", "charge_records", ["owner_id"])
    op.create_index(
        "uq_charge_records_transaction",
        "charge_records",
        ["transaction_id"],
        unique=True,
        sqlite_where=sa.text("NOT credit"),
        postgresql_where=sa.text("NOT credit"),
    )
    op.create_table(
        "command_callbacks",
        _text("request_id"),
        _row("partner_id"),
        _text("command"),
        _text("response_url"),
        _text("country_code"),
        _text("party_id"),
        _time("created_at"),
        _time("sent_at", null=True),
        sa.PrimaryKeyConstraint("request_id", name="pk_command_callbacks"),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_command_callbacks_partner_id"),
        sa.ForeignKeyConstraint(["request_id"], ["remote_requests.id"], name="fk_command_callbacks_request_id"),
    )
    op.create_table(
        "connectors",
        _id(),
        _row("evse_row"),
        _text("connector_id"),
        _int("position"),
        _bool("removed"),
        _text("standard"),
        _text("format"),
        _text("power_type"),
        _int("max_voltage"),
        _int("max_amperage"),
        _int("max_electric_power", null=True),
        _json("tariff_ids"),
        _time("last_updated"),
        sa.PrimaryKeyConstraint("id", name="pk_connectors"),
        sa.ForeignKeyConstraint(["evse_row"], ["evses.id"], name="fk_connectors_evse_row"),
        sa.UniqueConstraint("evse_row", "connector_id", name="uq_connectors_evse_row_connector_id"),
    )
    op.create_table(
        "reviews",
        _id(),
        _text("transaction_id"),
        _json("reasons"),
        _text("state"),
        _text("owner", null=True),
        _time("opened_at"),
        _time("closed_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_reviews"),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name="fk_reviews_transaction_id"),
        sa.UniqueConstraint("transaction_id", name="uq_reviews_transaction_id"),
    )


def _message_log() -> None:
    op.create_table(
        "messages",
        _big("id"),
        _time("at"),
        _text("station_id"),
        _text("ocpp_version"),
        _text("direction"),
        _text("message_type"),
        _text("message_id"),
        _text("action"),
        _text("result"),
        _float("latency_ms", null=True),
        _text("frame"),
        sa.PrimaryKeyConstraint("at", "id", name="pk_messages"),
    )
    op.create_index("ix_messages_id", "messages", ["id"])
    op.create_index("ix_messages_message", "messages", ["message_id"])
    op.create_index("ix_messages_station", "messages", ["station_id", "id"])
