"""What is past its days, at a terminal: looked at first, then deleted."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, insert, select

from csms.alerts import Alarm, raise_alarms
from csms.clock_guard import KIND
from csms.database import Database
from tests.csms.month_rows import SAMPLES, TRANSACTIONS, sample, transaction

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_what_would_go_is_told_before_it_goes(cli: Callable[..., Any], database: Database) -> None:  # P05
    def count() -> int:
        with database.read() as connection:
            return connection.execute(select(func.count()).select_from(SAMPLES)).scalar_one()

    with database.write() as connection:
        connection.execute(insert(TRANSACTIONS).values(transaction("running", LONG_AGO)))
        rows = [sample(LONG_AGO, "old"), sample(LONG_AGO, "needed", transaction_id="running")]
        connection.execute(insert(SAMPLES), [*rows, sample(datetime.now(UTC), "new")])
    dry = cli("retention", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    told = [json.loads(line) for line in dry.stdout.splitlines()]
    assert [(row["rows"], row["goes"], row["needed_by"]) for row in told] == [
        (1, True, []),
        (1, False, ["running"]),
    ]
    assert {row["what"] for row in told} == {"meter_samples" if database.sqlite else "meter_samples_default"}
    assert "1 rows would go" in cli("retention", "--dry-run").stdout
    assert count() == 3
    assert "1 rows went" in cli("retention").stdout
    assert count() == 2
    assert "0 rows would go" in cli("retention", "--dry-run").stdout


def test_what_a_clock_in_doubt_calls_old_goes_by_force_alone(
    cli: Callable[..., Any], database: Database
) -> None:  # P05
    with database.write() as connection:
        connection.execute(insert(SAMPLES), [sample(LONG_AGO, "old")])
        raise_alarms(connection, [Alarm(kind=KIND, subject="retention")], datetime.now(UTC))
    refused = cli("retention")
    assert refused.exit_code == 1
    assert "the clock is in doubt" in refused.output
    assert "1 rows would go" in cli("retention", "--dry-run").stdout
    assert "1 rows went" in cli("retention", "--force").stdout
