"""Addresses of firmware: for one station, one image and one day."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms import signed_urls
from csms.signed_urls import VALID_FOR, AddressTooLong, firmware_url, opens, signing_key

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
KEY = signing_key("a key that only the tests have")
PUBLIC = "https://charge.example.com"


def signed(station_id: str = "CP1", image_id: int = 7, expires_at: datetime = NOON + VALID_FOR) -> dict[str, str]:
    url = firmware_url(PUBLIC, KEY, image_id=image_id, name="fw.bin", station_id=station_id, expires_at=expires_at)
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def good(query: dict[str, str], *, now: datetime, image_id: int = 7, station_id: str | None = None) -> bool:
    return opens(
        KEY,
        image_id=image_id,
        station_id=station_id or query["station"],
        expires=int(query["expires"]),
        signature=query["signature"],
        now=now,
    )


@pytest.mark.parametrize(
    ("after", "opened"),
    [
        (timedelta(0), True),
        (timedelta(hours=23, minutes=59), True),
        (timedelta(hours=24), True),
        (timedelta(hours=24, seconds=1), False),
        (timedelta(hours=24, minutes=1), False),
    ],
)
def test_an_address_is_good_for_a_day(after: timedelta, opened: bool) -> None:  # R06
    assert good(signed(), now=NOON + after) is opened


def test_an_address_is_of_one_station_one_image_and_one_moment() -> None:  # R06
    query = signed()
    assert good(query, now=NOON)
    assert not good(query, now=NOON, station_id="CP2")
    assert not good(query, now=NOON, image_id=8)
    assert not good(query | {"expires": str(int(query["expires"]) + 1)}, now=NOON)
    assert not good(query | {"signature": query["signature"][:-1] + "é"}, now=NOON)
    assert not good(query | {"signature": ""}, now=NOON)
    assert signing_key("another key of another operator") != KEY


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_no_identity_opens_what_was_signed_for_another(one: str, other: str) -> None:  # R06
    try:
        query = signed(one)
    except (AddressTooLong, UnicodeEncodeError):
        return
    assert query["station"] == one
    assert good(query, now=NOON)
    try:
        assert good(query, now=NOON, station_id=other) is (one == other)
    except UnicodeEncodeError:
        assert one != other


def test_an_address_fits_the_field_it_travels_in() -> None:  # R06
    url = firmware_url(PUBLIC, KEY, image_id=2**31, name="f" * 60, station_id="C" * 48, expires_at=NOON)
    assert len(url) < 300
    with pytest.raises(AddressTooLong):
        firmware_url(PUBLIC, KEY, image_id=1, name="fw.bin", station_id="C" * signed_urls.LONGEST, expires_at=NOON)
