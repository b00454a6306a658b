"""On PostgreSQL meter samples and the message log become months; a transaction says where its samples lie when they lie far.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Callable
from datetime import date, datetime

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    {"main": _main, "message_log": _message_log}[target]()


def downgrade(target: str) -> None:
    raise RuntimeError("go back by restoring the database as it was")


def _main() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.add_column("transactions", sa.Column("sampled_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("transactions", sa.Column("sampled_until", sa.DateTime(timezone=True), nullable=True))
    day_before, month_after = (
        ("t.started_received_at - INTERVAL '1 day'", "t.started_received_at + INTERVAL '31 days'")
        if postgresql
        else ("datetime(t.started_received_at, '-1 day')", "datetime(t.started_received_at, '+31 days')")
    )
    for column, extreme, outside in (
        ("sampled_since", "min", f"s.received_at < {day_before}"),
        ("sampled_until", "max", f"s.received_at > {month_after}"),
    ):
        far = f"FROM meter_samples s WHERE s.transaction_id = t.id AND {outside}"
        op.execute(
            f"UPDATE transactions AS t SET {column} = (SELECT {extreme}(s.received_at) {far}) "  # noqa: S608
            f"WHERE EXISTS (SELECT 1 {far})"
        )
    if not postgresql:
        return
    _whole("meter_samples", "pk_meter_samples", "ix_meter_samples_digest", "ix_meter_samples_transaction")
    _cut("meter_samples", "received_at", "s.received_at", lambda month: f"'{month:%Y-%m-%d} 00:00:00+00'")
    op.create_primary_key("pk_meter_samples", "meter_samples", ["received_at", "event_id"])
    op.create_index("ix_meter_samples_digest", "meter_samples", ["digest"])
    op.create_index("ix_meter_samples_transaction", "meter_samples", ["transaction_id", "received_at"])


BEGINS = "(message_type NOT IN ('result', 'error') OR result = 'unsolicited')"
OUTWARD = "direction = 'out' AND message_type NOT IN ('result', 'error')"
BAD = "result <> 'ok'"
MESSAGE_INDEXES: dict[str, tuple[list[str], str | None]] = {
    "ix_messages_id": (["id"], None),
    "ix_messages_pair": (["message_id", "station_id", "id"], None),
    "ix_messages_of_station": (["station_id", "id"], BEGINS),
    "ix_messages_of_action": (["action", "id"], BEGINS),
    "ix_messages_outward": (["id"], OUTWARD),
    "ix_messages_bad": (["id"], BAD),
    "ix_messages_bad_of_station": (["station_id", "id"], BAD),
}


def _message_log() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    _whole("messages", "pk_messages", *MESSAGE_INDEXES)
    # An id is the microsecond since 2020 in which its row was written, and eleven bits of chance.
    written_at = "to_timestamp(((s.id >> 11) + 1577836800000000) / 1000000.0)"
    _cut("messages", "id", written_at, _first_id)
    op.create_primary_key("pk_messages", "messages", ["at", "id"])
    for name, (columns, where) in MESSAGE_INDEXES.items():
        op.create_index(name, "messages", columns, postgresql_where=None if where is None else sa.text(where))


def _first_id(month: datetime) -> str:
    return str((month.date() - date(2020, 1, 1)).days * 86_400_000_000 << 11)


# ---- from one table to its months -------------------------------------------------------------------------------------


def _whole(table: str, primary_key: str, *indexes: str) -> None:
    """The table as it was is set aside, its names with it."""
    op.execute(f"ALTER TABLE {table} RENAME TO {table}_whole")
    op.drop_constraint(primary_key, f"{table}_whole")
    for index in indexes:
        op.drop_index(index, f"{table}_whole")


def _cut(table: str, key: str, at: str, bound: Callable[[datetime], str]) -> None:
    """A month for each in which there are rows, of the last ten years; what is older, or newer, is in the default one.
    `at`: when a row `s` was received; `bound`: where in `key` a month begins."""
    op.execute(f"CREATE TABLE {table} (LIKE {table}_whole INCLUDING DEFAULTS) PARTITION BY RANGE ({key})")
    op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    months = op.get_bind().execute(
        sa.text(
            f"SELECT DISTINCT date_trunc('month', {at} AT TIME ZONE 'UTC') AS began FROM {table}_whole s "  # noqa: S608
            f"WHERE {at} BETWEEN now() - INTERVAL '10 years' AND now() + INTERVAL '2 months' ORDER BY began"
        )
    )
    for (began,) in months.all():
        ended = began.replace(year=began.year + began.month // 12, month=began.month % 12 + 1)
        op.execute(
            f"CREATE TABLE {table}_{began:%Y_%m} PARTITION OF {table} "
            f"FOR VALUES FROM ({bound(began)}) TO ({bound(ended)})"
        )
    op.execute(f"INSERT INTO {table} SELECT * FROM {table}_whole")  # noqa: S608
    op.execute(f"DROP TABLE {table}_whole")
