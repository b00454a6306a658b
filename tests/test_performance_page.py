"""docs/performance.md shows the last run of the benchmark as it was, and the table says pass only where the target is met."""

import json

import pytest

from tests.bench import page, pricing, table
from tests.bench.table import Row, at_least, at_most


def test_the_page_shows_the_run_that_is_kept() -> None:  # B01, B03
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_table(text, json.loads(page.KEPT.read_text(encoding="utf-8"))) == text


@pytest.mark.parametrize(
    ("row", "ratio", "met"),
    [
        (at_least("rate", 6_000, 5_000, "/s"), 1.2, True),
        (at_least("rate", 4_000, 5_000, "/s"), 0.8, False),
        (at_most("time", 25, 50, "ms"), 2.0, True),
        (at_most("time", 100, 50, "ms"), 0.5, False),
        (at_most("time", 25, 50, "ms", also=False), 0.0, False),
        (at_most("nothing was measured", 0, 50, "ms"), 0.0, False),
        (Row(what="no target", reached="1"), None, None),
    ],
    ids=lambda value: value.what if isinstance(value, Row) else "",
)
def test_a_target_is_met_from_a_ratio_of_one_on(row: Row, ratio: float | None, met: bool | None) -> None:
    assert (row.ratio, row.met) == (ratio, met)
    told = table.as_json([row], "make bench", "a machine")
    assert told["rows"][0]["met"] is met
    assert f"| {table.WORDS[met]} |" in table.markdown(told)


def test_what_is_priced_for_the_benchmark_has_all_that_pricing_looks_at() -> None:
    assert pricing.sessions_per_second(count=1, rounds=1) > 0
