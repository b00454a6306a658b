"""Rows as they lie in the months of samples and messages, and which months a question was asked of."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, event, text

from csms.database import Database
from csms.message_store import id_at
from csms.models import Message, MeterSampleRow, Transaction
from csms.partitions import make_ahead

SAMPLES, MESSAGES, TRANSACTIONS = (cast(Table, model.__table__) for model in (MeterSampleRow, Message, Transaction))


def sample(at: datetime, event_id: str = "", **more: Any) -> dict[str, Any]:
    return {
        "event_id": event_id or f"e{at.isoformat()}",
        "received_at": at,
        "station_id": "CP1",
        "evse": 1,
        "transaction_id": None,
        "occurred_at": at,
        "digest": f"d{at.isoformat()}",
        "energy_mwh": 1,
        "late": False,
        "samples": "[]",
        "raw": None,
    } | more


def message(at: datetime, number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": id_at(at) + number,
        "at": at,
        "station_id": "CP1",
        "ocpp_version": "1.6",
        "direction": "in",
        "message_type": "call",
        "message_id": "m",
        "action": "Heartbeat",
        "result": "ok",
        "latency_ms": None,
        "frame": "[]",
    } | more


def transaction(name: str, started_at: datetime, **more: Any) -> dict[str, Any]:
    made = dict.fromkeys(("country_code", "party_id", "id_token", "id_token_key", "authorization", "auth_method"), "x")
    times = dict.fromkeys(("started_at", "started_received_at", "created_at", "last_updated"), started_at)
    return {
        **made,
        **times,
        "id": name,
        "number": len(name),
        "station_id": "CP1",
        "ocpp_version": "1.6",
        "evse": 1,
        "connector": 1,
        "state": "active",
        "snapshot": {},
        "boot_epoch": 0,
        "dedup_key": name,
        "started_rule": "x",
        "start_event_id": "x",
    } | more


def held(connection: Connection, table: str) -> dict[str, int]:
    """How many rows each partition has."""
    query = f"SELECT tableoid::regclass::text AS part, count(*) FROM {table} GROUP BY part"
    return {part.removeprefix(f"{table}_"): count for part, count in connection.execute(text(query))}


def make_2026(database: Database) -> None:
    for month in (1, 4, 7, 10):
        make_ahead(database, datetime(2026, month, 1, tzinfo=UTC))


@contextmanager
def asked(database: Database, table: str) -> Iterator[list[set[str]]]:
    """Of each SELECT from the table in the block, which partitions PostgreSQL looks into by its plan."""
    said: list[tuple[str, Any]] = []
    plans: list[set[str]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if re.search(rf"\b(FROM|JOIN) {table}\b", statement) and statement.startswith(("SELECT", "WITH")):
            said.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    with database.read() as connection:
        for statement, parameters in said:
            lines = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters).scalars()
            plans.append(set(re.findall(rf" on {table}_(\d{{4}}_\d\d|default)", "\n".join(lines))))
