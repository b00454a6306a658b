"""Tokens in OCPI 2.1.1: known by auth_id, of one party that only the address or the credentials name (2.1.1 mod_tokens)."""

from collections.abc import Mapping
from typing import Any

from adapters.datatypes import present

Body = Mapping[str, Any]
Party = tuple[str, str]  # country_code, party_id

TYPE = {"AD_HOC_USER": "OTHER", "APP_USER": "OTHER"}
ALIKE = ("uid", "visual_number", "issuer", "valid", "whitelist", "language", "last_updated")


def token_to_211(token: Body) -> dict[str, Any]:
    return present(
        {name: token.get(name) for name in ALIKE}
        | {"type": type_in_211(token["type"]), "auth_id": token["contract_id"]}
    )


def type_in_211(type: str) -> str:
    return TYPE.get(type, type)


def token_from_211(body: Body, party: Party) -> dict[str, Any]:
    """A whole token of this party."""
    return changes_from_211(body) | {"country_code": party[0], "party_id": party[1]}


def changes_from_211(body: Body) -> dict[str, Any]:
    """The fields that a PATCH names; what only 2.2.1 knows is not read."""
    named = {name: body[name] for name in (*ALIKE, "type") if name in body}
    return named | ({"contract_id": body["auth_id"]} if "auth_id" in body else {})
