"""The schemas that the `ocpp` package ships, compiled: what OCPP 1.6 allows, and the name of each thing it does not."""

from collections.abc import Iterator
from importlib import resources
from itertools import islice

import jsonschema_rs
import orjson

from csms.gateway.frames import ErrorCode, Json

MOST_VIOLATIONS = 20  # a frame of 1 MiB could break its schema fifty thousand times

# What a CALLERROR says of each kind of violation, OCPP-J 1.6 table 7.
CODES = {
    "required": ErrorCode.PROTOCOL_ERROR,  # "payload is incomplete"
    "type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "enum": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "maxLength": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "minItems": ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION,
}


class Schema:
    """The schema of one message, by its file's name: `Authorize` or `AuthorizeResponse`."""

    def __init__(self, name: str) -> None:
        # What is a time is for csms.clock to say: chargers leave out the zone, and that breaks no transaction (X05).
        self._validator = jsonschema_rs.validator_for(document(name), validate_formats=False)
        self.is_valid = self._validator.is_valid

    def violations(self, payload: Json) -> list[str]:
        """`idTag:maxLength`, `transactionData.0.sampledValue.0.value:type`, `timestamp:required`."""
        try:
            return list(islice(self._named(payload), MOST_VIOLATIONS))
        except ValueError:  # nested deeper than the validator follows
            return ["payload:nesting"]

    def _named(self, payload: Json) -> Iterator[str]:
        for error in self._validator.iter_errors(payload):
            kind = error.kind
            if isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
                named: list[str] = [*kind.unexpected]
            elif isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
                named = [kind.property]
            else:
                named = []
            for name in named or [""]:
                path = ".".join(str(part)[:40] for part in (*error.instance_path, *([name] if name else [])))
                yield f"{path or 'payload'}:{kind.name}"


def document(name: str) -> dict[str, Json]:
    text = resources.files("ocpp").joinpath("v16", "schemas", f"{name}.json").read_text("utf-8-sig")
    schema: dict[str, Json] = orjson.loads(text)
    return schema


def actions() -> frozenset[str]:
    """Every action that OCPP 1.6 and its security whitepaper name, in both directions."""
    files = resources.files("ocpp").joinpath("v16", "schemas").iterdir()
    names = {file.name.removesuffix(".json") for file in files if file.name.endswith(".json")}
    return frozenset(name for name in names if not name.endswith("Response"))


def error_code(violations: list[str]) -> ErrorCode:
    kinds = (violation.rpartition(":")[2] for violation in violations)
    return next((CODES[kind] for kind in kinds if kind in CODES), ErrorCode.FORMATION_VIOLATION)
