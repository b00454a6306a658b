"""Chargers are answered while partners and programs ask the API as fast as they can, and what they waited is a row."""

import pytest

from tests.bench import busy_api


@pytest.mark.timeout(300)
def test_chargers_are_answered_while_the_api_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:  # B02
    monkeypatch.setattr(busy_api, "WARM_UP_S", 0.5)
    (row,) = busy_api.rows(4, 2.0, None, "sqlite")
    assert row.what.startswith("one process, 4 chargers, 8 MeterValues/s, the API busy with 4 clients, ")
    assert row.target == "<= 50 ms"
    assert row.ratio is not None
    assert row.ratio > 0  # chargers and clients were answered: each charger and each list, or there were no row
