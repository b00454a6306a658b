"""What a meter signed reaches the eMSP as the meter signed it: its driver can check the bill without believing us."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.datatypes import present, printable

NATURE = {"Transaction.Begin": "Start", "Transaction.End": "End"}  # of a context; every other is Intermediate
INTERMEDIATE = "Intermediate"
ORDER = ("Start", INTERMEDIATE, "End")
BEGINNINGS = {"OCMF|": "OCMF", "AP;": "Alfen Eichrecht"}  # how values begin whose encoding nobody names
UNKNOWN = "unknown"
VALUE_LIMIT = 5000
KEY_LIMIT = 512
AT_MOST = 100  # values of one CDR


@dataclass(frozen=True, kw_only=True)
class Signed:
    """`data` is base64 of what was signed, with its signature; `plain` what of it people and programs read."""

    encoding: str
    data: str
    plain: str
    key: str | None


def signed_data_to_ocpi(values: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """Of a ChargeRecord's signed_data: the Start, what came between, the End; None where there is nothing that fits.

    A CDR names one encoding: that of the last value. A value that is longer than OCPI allows is left out, for cut it proves
    nothing; so are Intermediate ones where there are more than a hundred values.
    """
    read = [(NATURE.get(told["context"], INTERMEDIATE), signed(told["value"])) for told in values or ()]
    fitting = [(nature, one) for nature, one in sorted(read, key=lambda told: ORDER.index(told[0])) if _fits(one)]
    if not fitting:
        return None
    encoding = fitting[-1][1].encoding
    of_one = [(nature, one) for nature, one in fitting if one.encoding == encoding]
    if len(of_one) > AT_MOST:
        of_one = [(nature, one) for nature, one in of_one if nature != INTERMEDIATE][-AT_MOST:]
    key = next((one.key for _, one in of_one if one.key and len(one.key) <= KEY_LIMIT and printable(one.key)), None)
    shown = [{"nature": nature, "plain_data": one.plain, "signed_data": one.data} for nature, one in of_one]
    return present({"encoding_method": encoding, "public_key": key, "signed_values": shown}) if shown else None


def signed(value: str) -> Signed:
    """A SampledValue of format SignedData: the text itself, or OCPP 2's SignedMeterValue in JSON (as the application note
    "Signed Meter Values in OCPP" has it for 1.6)."""
    wrapped = _wrapped(value)
    if wrapped is None:
        return Signed(encoding=_encoding(value), data=_base64(value), plain=_plain(value), key=None)
    data = str(wrapped["signedMeterData"])
    text = _decoded(data)
    return Signed(
        encoding=str(wrapped.get("encodingMethod") or "")[:36].strip() or _encoding(text or ""),
        data=data if text is not None else _base64(data),
        plain=_plain(text or data),
        key=str(wrapped.get("publicKey") or "") or None,
    )


def _wrapped(value: str) -> Mapping[str, Any] | None:
    try:
        told = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and told.get("signedMeterData") else None


def _decoded(data: str) -> str | None:
    """The text in base64, bytes that are none as hex; None where it is no base64."""
    try:
        signed_bytes = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        return signed_bytes.decode()
    except UnicodeDecodeError:
        return signed_bytes.hex()


def _encoding(text: str) -> str:
    return next((name for beginning, name in BEGINNINGS.items() if text.startswith(beginning)), UNKNOWN)


def _plain(text: str) -> str:
    """Of OCMF its payload, which is JSON; of the others all of it."""
    if text.startswith("OCMF|") and text.count("|") > 1:
        return text[len("OCMF|") : text.rindex("|")]
    return text


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


def _fits(one: Signed) -> bool:
    return bool(one.plain) and max(len(one.plain), len(one.data)) <= VALUE_LIMIT and printable(one.plain)
