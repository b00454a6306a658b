"""Bills at a terminal: explained line by line, and priced again without being changed."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, update

from csms.database import Database
from csms.models import ChargeRecord
from tests.csms.billing.test_charge_records import bill_all, charge, ready
from tests.csms.core_story import told
from tests.ocpi_bridge.cli_answers import refusal

Cli = Callable[..., Any]


@pytest.fixture
def billed(database: Database) -> list[Any]:
    """The records of two sessions of 0.4 kWh, made now."""

    async def two() -> None:
        async with told(database) as story:
            await ready(story)
            for _ in range(2):
                await charge(story)

    asyncio.run(two())
    bill_all(database)
    with database.read() as connection:
        return list(connection.execute(select(ChargeRecord.__table__).order_by(ChargeRecord.started_at)))


def test_a_bill_is_explained_to_people_and_to_programs(cli: Cli, billed: list[Any]) -> None:
    first, _ = billed
    told_ = cli("explain", first.id)
    assert told_.exit_code == 0, told_.output
    assert told_.stdout.startswith(f"{first.id}: a bill, of session {first.transaction_id}\n")
    assert "1. ENERGY: 0.4 kWh x 0.25 = 0.1000; 20.0 % VAT: 0.1200" in told_.stdout
    assert "the register showed 1.05 kWh (event " in told_.stdout
    as_object = json.loads(cli("explain", first.id, "--json").stdout)
    assert (as_object["record"], as_object["total_excl_vat"]) == (first.id, "0.1000")
    assert len(as_object["periods"]) == 3
    assert refusal(cli("explain", "nothing")) == "there is no bill nothing"


def test_bills_are_priced_again_and_never_changed(cli: Cli, billed: list[Any], database: Database) -> None:
    assert "2 bills priced again: 2 the same, 0 differ, 0 have lost" in cli("rebill", "--dry-run").stdout
    assert cli("rebill", "--dry-run", "--json").stdout == ""
    refused = refusal(cli("rebill"))
    assert "never changed in place" in refused
    assert "roambridge review correct" in refused
    with database.write() as connection:
        where = ChargeRecord.id == billed[0].id
        connection.execute(update(ChargeRecord).where(where).values(total_excl_vat=Decimal("7.0000")))
        before = connection.execute(select(ChargeRecord.__table__)).all()
    again = cli("rebill", "--dry-run")
    assert "7.0000" in again.stdout
    assert refusal(again) == "1 of 2 bills come to something else"
    [row] = [json.loads(line) for line in cli("rebill", "--dry-run", "--json").stdout.splitlines()]
    assert (row["record"], row["session"]) == (billed[0].id, billed[0].transaction_id)
    assert (row["what"], row["billed"], row["now"]) == ("total_excl_vat", "7.0000", "0.1000")
    assert "0 bills priced again" in cli("rebill", "--dry-run", "--until", "2020-01-01").stdout
    assert "0 bills priced again" in cli("rebill", "--dry-run", "--from", "2099-01-01T12:00Z").stdout
    assert cli("rebill", "--dry-run", "--from", "May").exit_code == 2
    with database.read() as connection:
        assert connection.execute(select(ChargeRecord.__table__)).all() == before
