"""docs/scaling.md shows what its arithmetic comes to, and that of ten thousand is the budget that was asked for."""

from tests.bench import scaling


def test_the_page_shows_what_the_arithmetic_comes_to() -> None:  # J07
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.with_arithmetic(page) == page


def test_the_budget_of_ten_thousand_chargers() -> None:  # X10
    at_once = dict(scaling.figures(10_000, scaling.LOADS[1]))
    assert at_once["Heartbeats a second"] == "33"
    assert at_once["MeterValues a second"] == "333"
    assert at_once["frames a second in a storm of one minute"] == "667"
    frames_a_month = 30 * scaling.DAY_S * float(at_once["MeterValues a second"])
    assert round(frames_a_month / 1e6) == 863
