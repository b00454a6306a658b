from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import orjson
import pytest

from adapters.datatypes import Unreadable, coordinate, geo_location, moment, number, present, read_moment, text, volume
from adapters.rendered import Rendered, encode


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "2026-03-04T05:06:07Z"),
        (datetime(2026, 3, 4, 5, 6, 7, 120_000, tzinfo=UTC), "2026-03-04T05:06:07.120Z"),
        (datetime(2026, 3, 4, 5, 6, 7, 999, tzinfo=UTC), "2026-03-04T05:06:07Z"),
        (datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=2))), "2026-03-04T03:06:07Z"),
    ],
)
def test_times_leave_in_utc_with_z_and_at_most_milliseconds(value, shown):  # TY-01
    assert moment(value) == shown
    assert len(shown) <= 25


@pytest.mark.parametrize(
    "written",
    ["2026-03-04T05:06:07Z", "2026-03-04T05:06:07", "2026-03-04T05:06:07.000Z", "2026-03-04T07:06:07+02:00"],
)
def test_times_are_read_with_and_without_zone(written):  # TY-02, TY-03
    assert read_moment(written, "last_updated") == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize("written", ["", "yesterday", "2026-03-04", 1735862400, None, "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_named(written):
    with pytest.raises(Unreadable) as error:
        read_moment(written, "last_updated")
    assert error.value.field == "last_updated"


@pytest.mark.parametrize(
    ("degrees", "limit", "shown"),
    [
        ("51.0475", 10, "51.04750"),
        ("51.047599", 10, "51.047599"),
        ("51", 10, "51.00000"),
        ("-51.0475991", 10, "-51.047599"),
        ("51.04759912345", 10, "51.0475991"),
        ("-179.1234567", 11, "-179.123457"),
        (3.5, 11, "3.50000"),
    ],
)
def test_coordinates_have_five_to_seven_decimals(degrees, limit, shown):  # TY-15
    assert coordinate(degrees, limit) == shown
    assert len(shown) <= limit


def test_a_place_is_latitude_and_longitude_as_text():
    assert geo_location("51.0475", "3.7") == {"latitude": "51.04750", "longitude": "3.70000"}


def test_text_is_cut_and_on_one_line():  # TY-05, TY-06
    assert text("a\r\nb\tc\x00", 10) == "a b c"
    assert text("x" * 50, 45) == "x" * 45


def test_nothing_empty_leaves():  # TY-10
    assert present({"a": None, "b": "", "c": [], "d": {}, "e": False, "f": 0, "g": Decimal(0)}) == {
        "e": False,
        "f": 0,
        "g": 0,
    }


def test_numbers_leave_exact_and_without_exponent():  # TY-08
    body = {
        "a": volume(Decimal("0.00004")),
        "b": volume(Decimal("1200")),
        "c": volume(Decimal("1.23456")),
        "d": Decimal("2.00"),
    }
    assert encode(body) == b'{"a":0,"b":1200,"c":1.2346,"d":2.00}'


def test_a_number_in_quotes_is_read():  # TY-09
    assert number("2.00", "price") == Decimal("2.00")
    for wrong in ("two", True, None, "NaN", "Infinity"):
        with pytest.raises(Unreadable):
            number(wrong, "price")


def test_bytes_are_made_once():
    rendered = Rendered({"id": "LOC1"})
    assert rendered.json_bytes is rendered.json_bytes
    assert orjson.loads(rendered.json_bytes) == rendered.dict()
    with pytest.raises(TypeError):
        encode({"a": Decimal("NaN")})
