"""What a meter signed is in the CDR as it was signed, within the lengths of the specification."""

import base64
import json
from typing import Any

import pytest

from adapters.cdrs import cdr_to_ocpi
from adapters.signed_data import AT_MOST, signed_data_to_ocpi
from tests.adapters.field_tables import problems
from tests.adapters.rows import charge_record, tariff, transaction

BEGIN, END, BETWEEN = "Transaction.Begin", "Transaction.End", "Sample.Periodic"
PAYLOAD = '{"FV":"1.0","GI":"SEAL","RD":[{"TM":"2026-06-01T12:00:00,000+0200 S","RV":1.5,"RU":"kWh","ST":"G"}]}'
OCMF = f'OCMF|{PAYLOAD}|{{"SD":"3045022100aa"}}'
ALFEN = "AP;0;3;ALCV3ABBBISHMA2RYEGAZE3HV5YQBQRAEHAEMAAN;BIHEIWSHAAA2W2V7OYYDCNQAAFACRC2I4ADGAETI4AAAABA=;"


def told(*values: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"at": None, "context": context, "value": value} for context, value in values]


def encoded(value: str | bytes) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def wrapped(data: str, **more: str) -> str:
    return json.dumps({"signedMeterData": data, "signingMethod": "", "encodingMethod": "OCMF", **more})


def test_start_and_end_are_in_the_cdr_beside_their_plain_words() -> None:  # CD-28
    record = charge_record(signed_data=told((END, OCMF.replace("1.5", "9.5")), (BEGIN, OCMF)))
    body = cdr_to_ocpi(record, tariff(), transaction())
    assert problems(body, "CDR") == []
    start, end = body["signed_data"]["signed_values"]
    assert body["signed_data"]["encoding_method"] == "OCMF"
    assert start == {"nature": "Start", "plain_data": PAYLOAD, "signed_data": encoded(OCMF)}
    assert (end["nature"], json.loads(end["plain_data"])["RD"][0]["RV"]) == ("End", 9.5)
    assert base64.b64decode(end["signed_data"]).decode() == OCMF.replace("1.5", "9.5")


def test_a_meter_that_signs_nothing_has_no_signed_data() -> None:  # CD-28
    assert "signed_data" not in cdr_to_ocpi(charge_record(signed_data=None), tariff(), transaction())
    assert signed_data_to_ocpi([]) is None


@pytest.mark.parametrize(
    ("value", "encoding", "key", "plain", "data"),
    [
        (OCMF, "OCMF", None, PAYLOAD, encoded(OCMF)),
        (ALFEN, "Alfen Eichrecht", None, ALFEN, encoded(ALFEN)),
        ("3082A0F1", "unknown", None, "3082A0F1", encoded("3082A0F1")),
        ("[1, 2]", "unknown", None, "[1, 2]", encoded("[1, 2]")),
        ("OCMF|broken", "OCMF", None, "OCMF|broken", encoded("OCMF|broken")),
        # OCPP 2's SignedMeterValue in the text of a 1.6 value
        (wrapped(encoded(OCMF), publicKey="MFkwEw=="), "OCMF", "MFkwEw==", PAYLOAD, encoded(OCMF)),
        (wrapped(encoded(b"\xff\x00\x01"), encodingMethod="EDL"), "EDL", None, "ff0001", encoded(b"\xff\x00\x01")),
        (wrapped(encoded(ALFEN), encodingMethod=""), "Alfen Eichrecht", None, ALFEN, encoded(ALFEN)),
        (wrapped("no base64!"), "OCMF", None, "no base64!", encoded("no base64!")),
        (wrapped(encoded(OCMF), publicKey="k" * 513), "OCMF", None, PAYLOAD, encoded(OCMF)),
    ],
)
def test_values_are_read_as_chargers_write_them(
    value: str, encoding: str, key: str | None, plain: str, data: str
) -> None:  # CD-28
    shown = signed_data_to_ocpi(told((END, value)))
    assert shown is not None
    assert (shown["encoding_method"], shown.get("public_key")) == (encoding, key)
    assert shown["signed_values"] == [{"nature": "End", "plain_data": plain, "signed_data": data}]
    assert problems(shown, "SignedData") == []


@pytest.mark.parametrize("value", ["x" * 3800, wrapped("A" * 5004), "two\nlines", "", '{"a":' * 2000])
def test_what_cut_would_prove_nothing_is_left_out(value: str) -> None:  # CD-28
    assert signed_data_to_ocpi(told((END, value))) is None
    shown = signed_data_to_ocpi(told((END, value), (BEGIN, OCMF)))
    assert shown is not None
    assert [one["nature"] for one in shown["signed_values"]] == ["Start"]


def test_a_cdr_names_one_encoding_that_of_its_end() -> None:  # CD-28
    shown = signed_data_to_ocpi(told((BEGIN, ALFEN), (BETWEEN, OCMF), (END, OCMF)))
    assert shown is not None
    assert shown["encoding_method"] == "OCMF"
    assert [one["nature"] for one in shown["signed_values"]] == ["Intermediate", "End"]


def test_a_meter_that_signs_every_sample_makes_no_endless_cdr() -> None:  # CD-28
    many = told((BEGIN, OCMF), *((BETWEEN, f"OCMF|{number}|s") for number in range(AT_MOST)), (END, OCMF))
    shown = signed_data_to_ocpi(many)
    assert shown is not None
    assert [one["nature"] for one in shown["signed_values"]] == ["Start", "End"]
    fewer = signed_data_to_ocpi(many[2:])
    assert fewer is not None
    assert len(fewer["signed_values"]) == AT_MOST
