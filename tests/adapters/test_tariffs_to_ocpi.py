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
