"""What waits for a person, and wrong clocks, as an operator sees and decides them at a terminal."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from csms.billing.charge_records import bill
from csms.bus import Admission
from csms.database import Database
from csms.journal import Fact, FactType, Subscriber, Wake, append
from csms.models import ChargeRecord, RefundEvaluation, Review, Station, Tariff, Transaction
from tests.ocpi_bridge.cli_answers import objects, refusal

Cli = Callable[..., Any]
ENDED = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=30)


@pytest.fixture
def held(database: Database) -> Database:
    """Two sessions of 2 kWh in an hour that lost power and whose meter is doubted."""
    with database.write() as connection:
        tariff = connection.execute(
            insert(Tariff)
            .values(
                country_code="BE",
                party_id="BEC",
                tariff_id="ac",
                tariff_key="ac",
                version=1,
                current=True,
                currency="EUR",
                elements=[{"price_components": [{"type": "ENERGY", "price": "0.25", "vat": None, "step_size": 1}]}],
                created_at=ENDED,
                last_updated=ENDED,
            )
            .returning(Tariff.id)
        ).scalar_one()
        for number in (1, 2):
            row = {
                "id": f"00000000-0000-0000-0000-{number:012}",
                "number": number,
                "country_code": "BE",
                "party_id": "BEC",
                "station_id": "CP\x1b1",
                "ocpp_version": "1.6",
                "evse": 1,
                "connector": 1,
                "state": "ended",
                "cause": "power_loss",
                "flags": ["meter_mismatch"],
                "findings": [],
                "owner_id": 0,
                "id_token": "",
                "id_token_key": "",
                "authorization": "accepted",
                "auth_method": "WHITELIST",
                "tariff_row": tariff,
                "snapshot": {"location": None, "token": None},
                "boot_epoch": 1,
                "dedup_key": str(number),
                "started_at": ENDED - timedelta(hours=1),
                "started_received_at": ENDED,
                "started_rule": "charger",
                "start_event_id": "-",
                "ended_at": ENDED,
                "ended_received_at": ENDED,
                "meter_start_mwh": 0,
                "energy_mwh": 2_000_000,
                "created_at": ENDED,
                "last_updated": ENDED,
            }
            connection.execute(insert(Transaction.__table__).values(**row))  # type: ignore[arg-type]
            append(connection, [Fact(type=FactType.TRANSACTION_ENDED, subject=str(row["id"]))], now=ENDED)
    Subscriber("billing", database, bill, wake=Wake()).catch_up()
    return database


def rows(database: Database, model: Any) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(model.__table__).order_by(model.__table__.c.id)).all())


def test_a_held_bill_is_taken_adjusted_and_written_off(cli: Cli, held: Database) -> None:  # E07, E12
    first, second = objects(cli("review", "list", "--json"))
    assert (first["reasons"], first["state"], first["owner"]) == (["meter_mismatch"], "open", None)
    assert (first["energy_kwh"], first["age"]) == ("2.000000", "0 min")
    assert [row["id"] for row in objects(cli("review", "list", "--json", "--after", first["key"]))] == [second["id"]]
    assert "CP·1" in cli("review", "list").stdout
    one, two = str(first["id"]), str(second["id"])
    assert cli("review", "take", one).stdout == f"review {one} is yours\n"
    assert objects(cli("review", "list", "--json"))[0]["owner"].startswith("cli:")
    for wrong in (["--energy-kwh", "lots"], ["--end", "noon"]):
        assert cli("review", "adjust", one, "--reason", "photo", *wrong).exit_code == 2
    assert cli("review", "release", one, "--reason", " ").exit_code == 2
    assert "nothing was changed" in refusal(cli("review", "adjust", one, "--reason", "photo", "--energy-kwh", "2"))
    end = f"{ENDED - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
    assert cli("review", "adjust", one, "--reason", "photo", "--energy-kwh", "1.5", "--end", end).exit_code == 0
    assert cli("review", "write-off", two, "--reason", "gone").stdout == f"review {two} is written off\n"
    (record,) = rows(held, ChargeRecord)
    assert (record.energy_mwh, record.duration_s) == (1_500_000, 1800)
    assert [row.state for row in rows(held, Review)] == ["adjusted", "written_off"]
    assert refusal(cli("review", "release", one, "--reason", "-")).startswith("it was decided before: adjusted by cli:")
    assert refusal(cli("review", "take", "99")) == "there is no entry 99"
    assert objects(cli("review", "list", "--json")) == []
    assert [row["decision"] for row in objects(cli("review", "list", "--all", "--json"))] == ["photo", "gone"]


def test_a_release_bills_the_session_and_the_day_adds_up(cli: Cli, held: Database) -> None:  # E11, E12
    day = f"{ENDED:%Y-%m-%d}"
    (first, _) = objects(cli("review", "list", "--json"))
    said = cli("review", "release", str(first["id"]), "--reason", "the car says the same").stdout
    (record,) = rows(held, ChargeRecord)
    assert said == f"billed: {record.id}\n"
    balance = {
        "closed": 2,
        "billed": 1,
        "corrected": 0,
        "credited": 0,
        "in_review": 1,
        "written_off": 0,
        "exempt": 0,
        "unexplained": 0,
        "held": {"meter_mismatch": 1},
    }
    assert "1 meter_mismatch" in cli("review", "balance", "--day", day).stdout
    assert objects(cli("review", "balance", "--day", day, "--json")) == [{"day": day, **balance}]
    with held.write() as connection:
        connection.execute(Review.__table__.delete().where(Review.state == "open"))  # type: ignore[attr-defined]
    assert refusal(cli("review", "balance", "--day", day)).startswith(f"1 of {day} are neither billed nor")
    assert cli("review", "balance", "--day", "May").exit_code == 2


def test_a_refund_is_granted_or_declined_once(cli: Cli, held: Database) -> None:  # E05
    first, second = objects(cli("refund", "list", "--json"))
    assert first["reasons"] == ["power_loss", "partial"]
    one, two = str(first["id"]), str(second["id"])
    assert cli("refund", "take", one).stdout == f"refund {one} is yours\n"
    assert cli("refund", "grant", one, "--reason", "the grid was down").stdout == f"refund {one} is granted\n"
    assert cli("refund", "decline", two, "--reason", "paid nothing").stdout == f"refund {two} is declined\n"
    assert refusal(cli("refund", "decline", one, "--reason", "-")).startswith("it was decided before: granted by cli:")
    assert [row.state for row in rows(held, RefundEvaluation)] == ["granted", "declined"]
    assert "none" in cli("refund", "list").stdout


def test_clocks_are_reported_by_model_and_firmware(cli: Cli, database: Database) -> None:  # F03
    with database.write() as connection:
        for number, skew in enumerate((0.5, -3600.0, None)):
            station = {
                "station_id": f"CP{number}",
                "admission": Admission.KNOWN.value,
                "vendor": "Acme",
                "model": "X",
                "firmware_version": "1.0",
                "clock_skew_s": skew,
                "keeps_our_time": None if skew is None else skew == 0.5,
                "booted_at": ENDED,
                "created_at": ENDED,
            }
            connection.execute(insert(Station).values(**station))
    [row] = objects(cli("clock", "report", "--json"))
    assert (row["stations"], row["keep"], row["ignore"], row["unknown"]) == (3, 1, 1, 1)
    assert (row["share"], row["worst_skew_s"], row["worst_station"], row["campaign"]) == (0.5, -3600.0, "CP1", None)
    assert "-3600 s (CP1)" in cli("clock", "report").stdout
