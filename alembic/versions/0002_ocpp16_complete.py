"""All that a complete OCPP 1.6 needs: configuration, local lists, reservations, profiles, files, certificates, refunds.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Column = sa.Column[object]


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


# ---- columns --------------------------------------------------------------------------------------------------------


ROWID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _id(name: str = "id") -> Column:
    return sa.Column(name, ROWID, autoincrement=True, nullable=False)


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


def _bool(name: str, *, null: bool = False) -> Column:
    return sa.Column(name, sa.Boolean(), nullable=null)


def _main() -> None:
    op.drop_index("uq_charge_records_transaction", "charge_records")
    op.create_table(
        "actual_settings",
        _text("station_id"),
        _text("key"),
        _text("value", null=True),
        _bool("readonly"),
        _time("read_at"),
        sa.PrimaryKeyConstraint("station_id", "key", name="pk_actual_settings"),
    )
    op.add_column("alerts", _text("closed_by", null=True))
    op.create_index(
        "ix_alerts_open",
        "alerts",
        ["kind", "subject"],
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "authorities",
        _id(),
        _text("algorithm"),
        _text("certificate"),
        _text("sealed_key"),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_authorities"),
        sa.UniqueConstraint("algorithm", name="uq_authorities_algorithm"),
    )
    op.create_table(
        "charging_preferences",
        _text("transaction_id"),
        _json("preferences"),
        _text("response"),
        _time("set_at"),
        sa.PrimaryKeyConstraint("transaction_id", name="pk_charging_preferences"),
    )
    op.create_table(
        "charging_profiles",
        _id("number"),
        _text("station_id"),
        _int("evse"),
        _text("purpose"),
        _int("stack_level"),
        _json("profile"),
        _text("transaction_id", null=True),
        _text("state"),
        _text("detail", null=True),
        _text("requested_by"),
        _text("remote_request_id", null=True),
        _time("created_at"),
        _time("finished_at", null=True),
        sa.PrimaryKeyConstraint("number", name="pk_charging_profiles"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_charging_profiles_remote_request_id", "charging_profiles", ["remote_request_id"])
    op.create_index("ix_charging_profiles_station_id_state", "charging_profiles", ["station_id", "state"])
    op.add_column("connections", _int("security_profile", null=True))
    op.add_column("connections", _text("certificate", null=True))
    op.create_index("ix_connections_closed_at", "connections", ["closed_at"])
    op.create_table(
        "desired_settings",
        _text("station_id"),
        _text("key"),
        _text("value"),
        _text("wished_by"),
        _time("wished_at"),
        _text("state"),
        _int("tries"),
        _time("tried_at", null=True),
        _text("detail", null=True),
        sa.PrimaryKeyConstraint("station_id", "key", name="pk_desired_settings"),
    )
    op.create_table(
        "firmware_images",
        _id(),
        _text("name"),
        _text("vendor"),
        _text("model", null=True),
        _text("version"),
        _big("size"),
        _text("sha256"),
        _text("certificate", null=True),
        _text("signature", null=True),
        _text("added_by"),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_firmware_images"),
        sa.UniqueConstraint("name", name="uq_firmware_images_name"),
    )
    op.create_index(
        "ix_journal_evse_status",
        "journal",
        ["subject", "recorded_at"],
        sqlite_where=sa.text("type = 'evse_status'"),
        postgresql_where=sa.text("type = 'evse_status'"),
    )
    op.create_table(
        "local_lists",
        _text("station_id"),
        _bool("wanted", null=True),
        _int("version", null=True),
        _json("entries"),
        _text("state"),
        _text("detail", null=True),
        _text("firmware_version", null=True),
        _time("tried_at", null=True),
        _time("succeeded_at", null=True),
        _time("due_at", null=True),
        _time("asked_at", null=True),
        _time("busy_until", null=True),
        sa.PrimaryKeyConstraint("station_id", name="pk_local_lists"),
    )
    op.create_index("ix_local_lists_due_at", "local_lists", ["due_at"])
    op.create_table(
        "money_roundings",
        _text("currency"),
        _int("decimals"),
        _bool("to_even"),
        sa.PrimaryKeyConstraint("currency", name="pk_money_roundings"),
    )
    op.create_table(
        "security_events",
        _id(),
        _text("event_id"),
        _text("station_id"),
        _text("kind"),
        _text("tech_info", null=True),
        _bool("critical"),
        _time("occurred_at", null=True),
        _time("received_at"),
        sa.PrimaryKeyConstraint("id", name="pk_security_events"),
        sa.UniqueConstraint("event_id", name="uq_security_events_event_id"),
    )
    op.create_index("ix_security_events_station_id_received_at", "security_events", ["station_id", "received_at"])
    op.create_table(
        "station_certificates",
        _id(),
        _text("station_id"),
        _text("event_id"),
        _text("csr"),
        _text("state"),
        _text("detail", null=True),
        _text("serial_number", null=True),
        _text("certificate", null=True),
        _text("fingerprint", null=True),
        _time("requested_at"),
        _time("signed_at", null=True),
        _time("expires_at", null=True),
        _time("finished_at", null=True),
        _text("request_id", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_station_certificates"),
        sa.UniqueConstraint("event_id", name="uq_station_certificates_event_id"),
        sa.UniqueConstraint("serial_number", name="uq_station_certificates_serial_number"),
    )
    op.create_index("ix_station_certificates_fingerprint", "station_certificates", ["fingerprint"])
    op.create_index("ix_station_certificates_request_id", "station_certificates", ["request_id"])
    op.create_index("ix_station_certificates_station_id", "station_certificates", ["station_id"])
    op.create_table(
        "station_security",
        _text("station_id"),
        _int("profile"),
        _int("next_profile", null=True),
        _text("next_password_hash", null=True),
        _text("next_password_sealed", null=True),
        _bool("next_password_taken"),
        _time("next_password_at", null=True),
        sa.PrimaryKeyConstraint("station_id", name="pk_station_security"),
    )
    op.add_column("tariffs", _text("told", null=True))
    op.create_table(
        "uploads",
        _id(),
        _text("station_id"),
        _text("kind"),
        _text("key_digest"),
        _text("state"),
        _text("status", null=True),
        _time("status_at", null=True),
        _text("detail", null=True),
        _text("filename", null=True),
        _text("path", null=True),
        _big("size", null=True),
        _text("content_type", null=True),
        _text("requested_by"),
        _text("remote_request_id", null=True),
        _time("created_at"),
        _time("expires_at"),
        _time("received_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.UniqueConstraint("key_digest", name="uq_uploads_key_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_uploads_state_expires_at", "uploads", ["state", "expires_at"])
    op.create_index("ix_uploads_station_id", "uploads", ["station_id"])
    op.create_table(
        "users",
        _text("name"),
        _text("role"),
        _time("created_at"),
        _time("disabled_at", null=True),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "firmware_campaigns",
        _id(),
        _text("vendor"),
        _text("model", null=True),
        _row("image_row", null=True),
        _text("state"),
        _int("wave"),
        _int("wave_size"),
        _int("failure_limit_percent"),
        _text("detail", null=True),
        _text("created_by"),
        _time("created_at"),
        _time("started_at", null=True),
        _time("counted_from", null=True),
        _time("finished_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_firmware_campaigns"),
        sa.ForeignKeyConstraint(["image_row"], ["firmware_images.id"], name="fk_firmware_campaigns_image_row"),
    )
    op.create_index("ix_firmware_campaigns_state", "firmware_campaigns", ["state"])
    op.add_column("remote_requests", _text("reason", null=True))
    op.add_column("remote_requests", _text("effect", null=True))
    op.add_column("remote_requests", _time("effect_by", null=True))
    op.add_column("remote_requests", _time("effect_at", null=True))
    op.create_index("ix_remote_requests_created", "remote_requests", ["created_at", "id"])
    op.create_index("ix_remote_requests_effect_effect_by", "remote_requests", ["effect", "effect_by"])
    op.create_table(
        "reservations",
        _id("number"),
        _text("station_id"),
        _int("evse"),
        _row("token_id", null=True),
        _int("owner_id", null=True),
        _text("reference", null=True),
        _text("tag"),
        _text("tag_key"),
        _text("state"),
        _text("detail", null=True),
        _text("authorization_reference", null=True),
        _text("requested_by"),
        _text("remote_request_id", null=True),
        _text("transaction_id", null=True),
        _time("created_at"),
        _time("expires_at"),
        _time("finished_at", null=True),
        _text("public_id", null=True),
        _text("country_code", null=True),
        _text("party_id", null=True),
        _time("granted_at", null=True),
        _json("snapshot", null=True),
        _time("last_updated", null=True),
        sa.PrimaryKeyConstraint("number", name="pk_reservations"),
        sa.UniqueConstraint("public_id", name="uq_reservations_public_id"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_reservations_token_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reservations_state_expires_at", "reservations", ["state", "expires_at"])
    op.create_index("ix_reservations_station_id", "reservations", ["station_id"])
    op.create_index(
        "uq_reservations_open_reference",
        "reservations",
        ["owner_id", "reference"],
        unique=True,
        sqlite_where=sa.text("state IN ('requested', 'active')"),
        postgresql_where=sa.text("state IN ('requested', 'active')"),
    )
    op.create_table(
        "token_aliases",
        _text("alias_key"),
        _row("token_id"),
        _text("alias"),
        _time("created_at"),
        sa.PrimaryKeyConstraint("alias_key", name="pk_token_aliases"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_token_aliases_token_id"),
    )
    op.create_index("ix_token_aliases_token_id", "token_aliases", ["token_id"])
    op.create_index("ix_transactions_token_started", "transactions", ["token_id", "started_at"])
    op.add_column("charge_records", _text("corrects", null=True))
    op.add_column("charge_records", _text("decided_by", null=True))
    op.add_column("charge_records", _text("decision", null=True))
    op.add_column("charge_records", _json("evidence", null=True))
    op.add_column("charge_records", _json("signed_data", null=True))
    op.create_index("ix_charge_records_created", "charge_records", ["created_at", "id"])
    op.create_index("ix_charge_records_transaction", "charge_records", ["transaction_id"])
    op.create_index("uq_charge_records_corrects", "charge_records", ["corrects"], unique=True)
    op.create_index("uq_charge_records_credit", "charge_records", ["credit_reference_id"], unique=True)
    op.create_index(
        "uq_charge_records_first",
        "charge_records",
        ["transaction_id"],
        unique=True,
        sqlite_where=sa.text("NOT credit AND corrects IS NULL"),
        postgresql_where=sa.text("NOT credit AND corrects IS NULL"),
    )
    op.create_table(
        "status_meanings",
        _text("status"),
        _text("availability"),
        sa.PrimaryKeyConstraint("status", name="pk_status_meanings"),
    )
    op.add_column("locations", _bool("roaming", null=True))
    op.add_column("deliveries", _time("due_since", null=True))
    op.add_column("partners", _time("clients_pulled_at", null=True))
    op.add_column("partners", _json("told_of_us", null=True))
    op.add_column("partners", _bool("asked_of_strangers", null=True))
    op.create_table(
        "hub_clients",
        _row("partner_id"),
        _text("country_code"),
        _text("party_id"),
        _text("role"),
        _text("status"),
        _time("last_updated"),
        _time("received_at"),
        sa.PrimaryKeyConstraint("partner_id", "country_code", "party_id", "role", name="pk_hub_clients"),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_hub_clients_partner_id"),
    )
    op.create_table(
        "partner_health",
        _row("partner_id"),
        _text("module"),
        _big("calls"),
        _big("errors"),
        sa.Column("error_rate", sa.Double(), nullable=False),
        _int("failures"),
        _time("last_success_at", null=True),
        _time("last_failure_at", null=True),
        _text("last_error", null=True),
        _time("opened_at", null=True),
        _time("open_until", null=True),
        sa.PrimaryKeyConstraint("partner_id", "module", name="pk_partner_health"),
        sa.ForeignKeyConstraint(["partner_id"], ["partners.id"], name="fk_partner_health_partner_id"),
    )
    op.add_column("command_callbacks", _text("session_id", null=True))
    op.add_column("command_callbacks", _time("withdrawn_at", null=True))
    op.create_index("ix_command_callbacks_session_id", "command_callbacks", ["session_id"])
    op.create_table(
        "firmware_updates",
        _id(),
        _text("station_id"),
        _row("image_row"),
        _bool("signed"),
        _text("state"),
        _text("status", null=True),
        _time("status_at", null=True),
        _text("detail", null=True),
        _text("evidence", null=True),
        _text("version_before", null=True),
        _time("retrieve_at"),
        _time("install_at", null=True),
        _time("expires_at"),
        _time("progress_at"),
        _time("installing_at", null=True),
        _time("stuck_at", null=True),
        _row("campaign_row", null=True),
        _int("wave", null=True),
        _text("requested_by"),
        _text("remote_request_id", null=True),
        _time("created_at"),
        _time("finished_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_firmware_updates"),
        sa.ForeignKeyConstraint(["campaign_row"], ["firmware_campaigns.id"], name="fk_firmware_updates_campaign_row"),
        sa.ForeignKeyConstraint(["image_row"], ["firmware_images.id"], name="fk_firmware_updates_image_row"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_firmware_updates_campaign_row", "firmware_updates", ["campaign_row"])
    op.create_index("ix_firmware_updates_state", "firmware_updates", ["state"])
    op.create_index("ix_firmware_updates_station_id_state", "firmware_updates", ["station_id", "state"])
    op.create_table(
        "refund_evaluations",
        _id(),
        _text("transaction_id"),
        _text("cause"),
        _text("suggestion"),
        _big("energy_mwh"),
        _int("duration_s"),
        _money("total_incl_vat", null=True),
        _text("currency", null=True),
        _text("state"),
        _text("owner", null=True),
        _time("opened_at"),
        _time("closed_at", null=True),
        _text("decided_by", null=True),
        _text("decision", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_refund_evaluations"),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name="fk_refund_evaluations_transaction_id"),
        sa.UniqueConstraint("transaction_id", name="uq_refund_evaluations_transaction_id"),
    )
    op.create_index("ix_refund_evaluations_state_opened_at", "refund_evaluations", ["state", "opened_at"])
    op.add_column("reviews", _json("detail", null=True))
    op.add_column("reviews", _text("decided_by", null=True))
    op.add_column("reviews", _text("decision", null=True))
    op.add_column("reviews", _json("adjustment", null=True))
    op.create_index("ix_reviews_state_opened_at", "reviews", ["state", "opened_at"])


def _message_log() -> None:
    op.drop_index("ix_messages_station", "messages")
    op.drop_index("ix_messages_message", "messages")
    op.create_index(
        "ix_messages_bad",
        "messages",
        ["id"],
        sqlite_where=sa.text("result <> 'ok'"),
        postgresql_where=sa.text("result <> 'ok'"),
    )
    op.create_index(
        "ix_messages_bad_of_station",
        "messages",
        ["station_id", "id"],
        sqlite_where=sa.text("result <> 'ok'"),
        postgresql_where=sa.text("result <> 'ok'"),
    )
    op.create_index(
        "ix_messages_of_action",
        "messages",
        ["action", "id"],
        sqlite_where=sa.text("(message_type NOT IN ('result', 'error') OR result = 'unsolicited')"),
        postgresql_where=sa.text("(message_type NOT IN ('result', 'error') OR result = 'unsolicited')"),
    )
    op.create_index(
        "ix_messages_of_station",
        "messages",
        ["station_id", "id"],
        sqlite_where=sa.text("(message_type NOT IN ('result', 'error') OR result = 'unsolicited')"),
        postgresql_where=sa.text("(message_type NOT IN ('result', 'error') OR result = 'unsolicited')"),
    )
    op.create_index(
        "ix_messages_outward",
        "messages",
        ["id"],
        sqlite_where=sa.text("direction = 'out' AND message_type NOT IN ('result', 'error')"),
        postgresql_where=sa.text("direction = 'out' AND message_type NOT IN ('result', 'error')"),
    )
    op.create_index("ix_messages_pair", "messages", ["message_id", "station_id", "id"])
