"""OCPI's primitive values, and py_ocpi's models of what we read, against the specification's tables."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.datatypes import moment as write_datetime
from ocpi_bridge.conformance import library
from ocpi_bridge.conformance.authentication import presented_tokens
from ocpi_bridge.conformance.paging import page_filters, page_headers
from ocpi_bridge.conformance.values import Folded, is_http_url, read_datetime

TABLES = Path(__file__).parents[2] / "vectors" / "ocpi" / "field_tables" / "2.2.1.json"
READ = ("Token", "EnergyContract", "StartSession", "StopSession", "UnlockConnector", "ReserveNow", "CancelReservation")
MOMENTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(MOMENTS)
def test_what_is_written_is_short_utc_and_reads_back_to_the_millisecond(moment: datetime) -> None:  # TY-01
    text = write_datetime(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", text)
    assert len(text) <= 25
    assert read_datetime(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@given(st.text())
def test_no_text_breaks_the_reading_of_times(text: str) -> None:  # TY-02
    with suppress(ValueError):
        assert read_datetime(text).tzinfo is UTC


def test_a_time_without_zone_is_never_written() -> None:
    with pytest.raises(ValueError, match="zone"):
        write_datetime(datetime(2026, 1, 1))  # noqa: DTZ001


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=12))
def test_folded_text_equals_itself_in_any_case(text: str) -> None:  # TY-04
    assert Folded(text) == text.upper()
    assert text.lower() == Folded(text.upper())
    assert len({Folded(text.upper()), Folded(text.lower())}) == 1
    assert Folded("E1") != "E2"


@given(st.text())
def test_no_authorization_header_breaks_the_reading(text: str) -> None:  # TR-06
    for header in (text, f"Token {text}"):
        for reading in presented_tokens(header):
            assert re.fullmatch(r"[!-~]{1,64}", reading.token)
    assert presented_tokens(None) == ()


@pytest.mark.parametrize("url", ["http://a", "https://a.example:8443/x?y=z", "http://[::1]/"])
def test_urls(url: str) -> None:  # TY-12
    assert is_http_url(url)


def test_the_next_link_leads_through_all_pages() -> None:  # PG-08
    filters = page_filters(
        {"offset": "5", "limit": "7", "date_from": "2026-01-01T00:00:00.123456+01:00"}, page_limit=100
    )
    link = page_headers("https://x/locations", filters, total=50, is_last=False)["Link"]
    assert link == ('<https://x/locations?date_from=2025-12-31T23%3A00%3A00.123456Z&offset=12&limit=7>; rel="next"')
    assert page_headers("https://x", filters, total=12, is_last=True) == {"X-Total-Count": "12", "X-Limit": "7"}


def models() -> dict[str, Any]:
    from py_ocpi.modules.commands.v_2_2_1 import schemas as commands
    from py_ocpi.modules.credentials.v_2_2_1 import schemas as credentials
    from py_ocpi.modules.locations.v_2_2_1 import schemas as locations
    from py_ocpi.modules.tokens.v_2_2_1 import schemas as tokens

    return {
        **{name: getattr(tokens, name) for name in READ[:2]},
        **{name: getattr(commands, name) for name in READ[2:]},
        "Credentials": credentials.Credentials,
        "CredentialsRole": credentials.CredentialsRole,
        "BusinessDetails": locations.BusinessDetails,
        "Image": locations.Image,
    }


@pytest.mark.parametrize("name", [*READ, "Credentials", "CredentialsRole", "BusinessDetails", "Image"])
def test_models_of_what_we_read_are_the_specifications(name: str) -> None:  # TY-06
    table = json.loads(TABLES.read_text())["classes"][name]
    fields = models()[name].__fields__
    assert fields.keys() == table.keys()
    for field_name, row in table.items():
        field = fields[field_name]
        assert bool(field.required) == (row["card"] in ("1", "+")), field_name
        length = re.fullmatch(r"(Ci)?[sS]tring\((\d+)\)", row["type"])
        if length:
            assert field.type_.max_length == int(length[2]), field_name
            assert field.type_.__name__ == ("CiString" if length[1] else "String"), field_name


def test_loading_the_library_twice_changes_nothing() -> None:
    from py_ocpi.modules.tokens.v_2_2_1.schemas import EnergyContract

    before = [len(field.validators) for field in EnergyContract.__fields__.values()]
    library.load()
    assert [len(field.validators) for field in EnergyContract.__fields__.values()] == before
    assert EnergyContract(supplier_name="ÄbC").supplier_name == "ÄbC"
