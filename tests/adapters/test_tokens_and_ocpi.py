from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from adapters.datatypes import Unreadable
from adapters.tokens import overlong, patched, token_from_ocpi, token_to_ocpi
from tests.adapters.field_tables import problems, vector

TOKEN = vector("tokens__2_full_rfid")
REQUIRED = ["country_code", "party_id", "uid", "type", "contract_id", "issuer", "valid", "whitelist", "last_updated"]


def stored(body=TOKEN, owner=7):
    return token_from_ocpi(body, owner)


@pytest.mark.parametrize("name", ["tokens__1_app_user", "tokens__2_full_rfid", "tokens__put"])
def test_the_specifications_tokens_come_in_and_go_out_unchanged(name):  # XT-04, TK-06
    example = vector(name)

    record = stored(example)

    assert record.owner_id == 7
    assert problems(token_to_ocpi(record), "Token") == []
    assert token_to_ocpi(record) == example


@pytest.mark.parametrize("field", REQUIRED)
@pytest.mark.parametrize("absent", [None, "gone"])
def test_a_token_without_a_required_field_is_refused(field, absent):  # TK-06
    body = {name: value for name, value in TOKEN.items() if name != field}
    if absent is None:
        body[field] = None

    with pytest.raises(Unreadable) as error:
        stored(body)

    assert error.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uid", "\x00﻿"),
        ("uid", 12345),
        ("uid", "x" * 256),
        ("uid", "04AA\n"),
        ("contract_id", "C1\x00"),
        ("issuer", "a\nb"),
        ("type", "CARD"),
        ("whitelist", "SOMETIMES"),
        ("valid", "true"),
        ("country_code", "DEU"),
        ("party_id", "TN"),
        ("last_updated", "2018-12-10"),
        ("last_updated", 1544462710),
    ],
)
def test_a_field_that_cannot_be_read_is_named(field, value):
    with pytest.raises(Unreadable) as error:
        stored(TOKEN | {field: value})

    assert error.value.field == field


def test_what_peers_write_otherwise_is_taken():  # TY-07, TY-11, TY-16, TY-17
    body = TOKEN | {
        "visual_number": None,
        "group_id": None,
        "language": "english",
        "default_profile_type": "TURBO",
        "energy_contract": {"contract_id": "no supplier"},
        "contract_id": "C" * 39,
        "colour": "blue",
        "last_updated": "2018-12-10T18:25:10+01:00",
    }

    record = stored(body)

    assert record.contract_id == "C" * 39
    assert overlong(record) == ["contract_id"]
    assert record.last_updated == datetime(2018, 12, 10, 17, 25, 10, tzinfo=UTC)
    assert (record.visual_number, record.group_id, record.language, record.details) == (None, None, None, {})
    assert problems(token_to_ocpi(record), "Token") == []


def test_case_is_kept():  # TY-04, TK-10
    assert token_to_ocpi(stored(TOKEN | {"uid": "04aBc9", "contract_id": "De-tnm-1"}))["uid"] == "04aBc9"


def test_a_patch_changes_what_it_names_and_nothing_else():  # TK-04
    patch = vector("tokens__patch")

    after = stored(patched(stored(), patch))

    assert token_to_ocpi(after) == TOKEN | patch


def test_a_patch_without_valid_does_not_touch_it():  # TK-04
    blocked = stored(TOKEN | {"valid": False})

    after = stored(patched(blocked, {"visual_number": "new", "last_updated": "2019-06-19T02:11:11Z"}))

    assert after.valid is False
    assert after.visual_number == "new"


@pytest.mark.parametrize("field", ["visual_number", "group_id", "language", "default_profile_type", "energy_contract"])
def test_null_in_a_patch_clears_an_optional_field(field):  # TK-04
    after = token_to_ocpi(stored(patched(stored(), {field: None, "last_updated": "2019-06-19T02:11:11Z"})))

    assert after == {name: value for name, value in TOKEN.items() if name != field} | {
        "last_updated": "2019-06-19T02:11:11Z"
    }


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"valid": False}, "last_updated"),
        ({"valid": None, "last_updated": "2019-06-19T02:11:11Z"}, "valid"),
        ({"uid": "another", "last_updated": "2019-06-19T02:11:11Z"}, "uid"),
        ({"party_id": "ABC", "last_updated": "2019-06-19T02:11:11Z"}, "party_id"),
    ],
)
def test_a_patch_that_may_not_be_is_refused(patch, field):  # TK-04
    with pytest.raises(Unreadable) as error:
        patched(stored(), patch)

    assert error.value.field == field


def test_a_patch_may_repeat_the_key_in_another_case():  # TY-04
    patch = {"country_code": "de", "uid": TOKEN["uid"], "last_updated": "2019-06-19T02:11:11Z"}

    assert stored(patched(stored(), patch)).country_code == "DE"


def test_an_over_long_row_is_cut_when_sent():  # TY-06
    row = SimpleNamespace(**{**vars(stored()), "issuer": "i" * 200, "visual_number": "v" * 200})

    assert problems(token_to_ocpi(row), "Token") == []
