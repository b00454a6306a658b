from decimal import Decimal

import pytest

from adapters.rendered import encode
from adapters.tariffs import tariff_to_ocpi
from tests.adapters.field_tables import problems, vector, vector_names
from tests.adapters.rows import NOON, tariff

COLUMNS = {"country_code", "party_id", "id", "currency", "type", "elements", "last_updated"}


@pytest.mark.parametrize("name", vector_names("tariffs"))
def test_the_specifications_tariffs_are_produced(name):  # XT-04, TA-10, TA-11
    example = vector(name)
    row = tariff(
        country_code=example["country_code"],
        party_id=example["party_id"],
        tariff_id=example["id"],
        currency=example["currency"],
        type=example.get("type"),
        elements=example["elements"],
        details={field: value for field, value in example.items() if field not in COLUMNS},
        last_updated=NOON.fromisoformat(example.get("last_updated", "2026-03-04T12:00:00Z")),
    )

    body = tariff_to_ocpi(row)

    assert problems(body, "Tariff") == []
    assert body == {"last_updated": "2026-03-04T12:00:00Z"} | example


def test_prices_written_as_text_leave_as_exact_numbers():  # TY-08
    body = tariff_to_ocpi(tariff(details={"min_price": {"excl_vat": "0.10", "incl_vat": "0.121"}}))

    assert problems(body, "Tariff") == []
    assert body["elements"][0]["price_components"][1]["price"] == Decimal("0.25")
    assert b'"price":0.25,"vat":10,"step_size":1' in encode(body)
    assert body["min_price"] == {"excl_vat": Decimal("0.1"), "incl_vat": Decimal("0.121")}


def test_no_vat_is_not_the_zero_rate():  # TA-11
    components = [{"type": "ENERGY", "price": "0.25", "step_size": 1}, {"type": "FLAT", "price": "0", "vat": "0"}]
    shown = tariff_to_ocpi(tariff(elements=[{"price_components": components}]))["elements"][0]["price_components"]

    assert "vat" not in shown[0]
    assert shown[1] == {"type": "FLAT", "price": 0, "vat": 0, "step_size": 1}  # ER-15


FREE = {"price_components": [{"type": "FLAT", "price": 0, "step_size": 1}]}
AT_NIGHT = {"start_time": "22:00", "end_time": "06:00"}


def priced(*prices, **restrictions):
    components = [{"type": kind, "price": price, "vat": "20", "step_size": 60} for kind, price in prices]
    return {"price_components": components, "restrictions": restrictions}


@pytest.mark.parametrize(
    ("elements", "details", "free"),
    [
        ([priced(("ENERGY", "0"))], {}, True),
        (
            [priced(("FLAT", "0.00"), ("TIME", "0"), **AT_NIGHT), priced(("ENERGY", 0))],
            {"max_price": {"excl_vat": "5"}},
            True,
        ),
        ([priced(("ENERGY", "0"), **AT_NIGHT), priced(("ENERGY", "0.01"))], {}, False),
        ([priced(("ENERGY", "0"))], {"min_price": {"excl_vat": "0.50"}}, False),
    ],
)
def test_what_costs_nothing_is_told_as_the_specification_tells_it(elements, details, free):  # TA-14
    body = tariff_to_ocpi(tariff(elements=elements, details=details))
    assert problems(body, "Tariff") == []
    assert (body["elements"] == [FREE]) is free


def test_dates_leave_in_utc_and_for_whom_it_is_does_not():  # TA-17, TA-06
    dates = {"start_date_time": "2026-06-01T00:00:00+02:00", "end_date_time": "2026-12-31T23:00:00Z"}
    body = tariff_to_ocpi(tariff(details={**dates, "partners": ["DE*TNM"]}))
    assert (body["start_date_time"], body["end_date_time"]) == ("2026-05-31T22:00:00Z", "2026-12-31T23:00:00Z")
    assert problems(body, "Tariff") == []
