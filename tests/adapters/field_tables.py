"""The specification's own field tables as a judge of what we render: types, cardinality, lengths, enums."""

import json
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[1] / "vectors" / "ocpi"

DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
GEO = {
    "2.2.1": {"latitude": re.compile(r"-?\d{1,2}\.\d{5,7}"), "longitude": re.compile(r"-?\d{1,3}\.\d{5,7}")},
    "2.1.1": {"latitude": re.compile(r"-?\d{1,2}\.\d{6}"), "longitude": re.compile(r"-?\d{1,3}\.\d{6}")},
}
SIZED = re.compile(r"(CiString|string|int)\((\d+)\)")


@cache
def tables(version: str = "2.2.1") -> dict[str, Any]:
    return json.loads((VECTORS / "field_tables" / f"{version}.json").read_text())


def vector(name: str, version: str = "2.2.1") -> Any:
    """A specification example, numbers exact."""
    return json.loads((VECTORS / version / f"{name}.json").read_text(), parse_float=Decimal)


def vector_names(prefix: str, version: str = "2.2.1") -> list[str]:
    return sorted(path.stem for path in (VECTORS / version).glob(f"{prefix}__*.json"))


def problems(body: Any, kind: str, at: str = "$", version: str = "2.2.1") -> list[str]:
    """What in `body` is not as the table of the class `kind` says; empty when nothing is."""
    fields = tables(version)["classes"][kind]
    found = [f"{at}.{name}: not in the table" for name in body if name not in fields]
    for name, rule in fields.items():
        many = rule["card"] in "*+"
        if name not in body:
            if rule["card"] in "1+":
                found.append(f"{at}.{name}: missing")
            continue
        value = body[name]
        if many and not (isinstance(value, list) and value):
            found.append(f"{at}.{name}: neither absent nor a list with entries")
            continue
        for entry in value if many else [value]:
            found += _value_problems(entry, rule["type"], f"{at}.{name}", name, version)
    return found


def _value_problems(value: Any, kind: str, at: str, name: str, version: str) -> list[str]:
    if kind in tables(version)["classes"]:
        return problems(value, kind, at, version) if isinstance(value, dict) else [f"{at}: not an object"]
    if kind in tables(version)["enums"]:
        return [] if value in tables(version)["enums"][kind]["values"] else [f"{at}: {value!r} is no {kind}"]
    if kind == "number":
        good = isinstance(value, int | Decimal) and not isinstance(value, bool)
        return (
            [] if good and -Decimal(value).as_tuple().exponent <= 4 else [f"{at}: {value!r} is no number of 4 decimals"]
        )
    if kind == "boolean":
        return [] if isinstance(value, bool) else [f"{at}: {value!r} is no boolean"]
    if kind == "DateTime":
        return [] if isinstance(value, str) and DATE_TIME.fullmatch(value) else [f"{at}: {value!r} is no DateTime"]
    if kind == "URL":
        return [] if isinstance(value, str) and len(value) <= 255 else [f"{at}: no URL"]
    if kind == "int" or kind.startswith("int("):
        return [] if isinstance(value, int) and not isinstance(value, bool) else [f"{at}: {value!r} is no int"]
    sized = SIZED.fullmatch(kind)
    assert sized is not None, f"the table has an unknown type {kind}"
    if not isinstance(value, str) or not 0 < len(value) <= int(sized[2]) or any(c in value for c in "\r\n\t\0"):
        return [f"{at}: {value!r} is no {kind}"]
    if name in GEO[version] and not GEO[version][name].fullmatch(value):
        return [f"{at}: {value!r} has not as many decimals as {version} wants"]
    return []
