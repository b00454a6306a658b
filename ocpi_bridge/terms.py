"""What a partner's versions, version details and credentials say: read generously, refused where nothing could work."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from adapters import v211
from adapters.datatypes import Unreadable, present, printable, text

VERSIONS = ("2.2.1", v211.VERSION)  # that we speak, the newest first

# What an eMSP or hub must offer at least one of, for anything to be exchanged with it.
USEFUL = frozenset(
    {
        ("tokens", "SENDER"),
        ("locations", "RECEIVER"),
        ("sessions", "RECEIVER"),
        ("cdrs", "RECEIVER"),
        ("tariffs", "RECEIVER"),
        ("commands", "SENDER"),
    }
)
# Of an eMSP's modules in 2.1.1, which does not tell them.
ROLES_211 = {
    "credentials": "SENDER",
    "tokens": "SENDER",
    "commands": "SENDER",
    "locations": "RECEIVER",
    "sessions": "RECEIVER",
    "cdrs": "RECEIVER",
    "tariffs": "RECEIVER",
}
TOKEN = re.compile(r"[\x21-\x7e]{1,64}")  # CR-30


class Unusable(Exception):
    """The partner's API cannot be used; `code` is OCPI's word for it: 3001, 3002 or 3003 (CR-06)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_credentials(body: Any) -> tuple[str, str, list[dict[str, Any]]]:
    """Token, versions URL and roles of a Credentials object. Raises Unreadable with the field that is wrong."""
    if not isinstance(body, Mapping):
        raise Unreadable("credentials", "not an object")
    token, url, roles = body.get("token"), body.get("url"), body.get("roles")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise Unreadable("token", "not 1 to 64 printable characters without spaces")
    if not isinstance(url, str) or not 0 < len(url) <= 2048 or not printable(url):
        raise Unreadable("url", "not a URL")
    if not isinstance(roles, list) or not roles:
        raise Unreadable("roles", "at least one is needed")
    return token, url, [_role(role, f"roles[{index}]") for index, role in enumerate(roles)]


def _role(role: Any, at: str) -> dict[str, Any]:
    if not isinstance(role, Mapping):
        raise Unreadable(at, "not an object")
    read = {
        "role": _words(role, "role", 20, at).upper(),
        "country_code": _words(role, "country_code", 2, at).upper(),
        "party_id": _words(role, "party_id", 3, at).upper(),
    }
    details = role.get("business_details")
    name = details.get("name") if isinstance(details, Mapping) else None
    shown = present({"name": text(name or "", 100)})
    return read | present({"business_details": shown})


def _words(role: Mapping[str, Any], name: str, limit: int, at: str) -> str:
    value = role.get(name)
    if not isinstance(value, str) or not 0 < len(value.strip()) <= limit:
        raise Unreadable(f"{at}.{name}", f"not a text of at most {limit} characters")
    return value.strip()


def details_url(offered: Any, wanted: Sequence[str]) -> tuple[str, str]:
    """The first of the `wanted` versions that is offered, and where its details are (VE-09). Raises Unusable: 3001 for no list
    of versions, 3002 for one without any of them."""
    if not isinstance(offered, Sequence) or isinstance(offered, str):
        raise Unusable(3001, "The answer of the versions endpoint is not a list of versions.")
    urls = {
        str(entry.get("version")).strip(): entry.get("url") for entry in reversed(offered) if isinstance(entry, Mapping)
    }
    for version in wanted:
        url = urls.get(version)
        if isinstance(url, str) and url:
            return version, url
    raise Unusable(3002, f"Version {' or '.join(wanted)} is not among the versions offered.")


def read_endpoints(details: Any, version: str = VERSIONS[0]) -> list[dict[str, str]]:
    """The endpoints, module ids in lower and roles in upper case. Raises Unusable 3001 or 3003.

    The role of `credentials` has no meaning (VE-03) and is always SENDER here. In 2.1.1 no endpoint says its role: these are
    an eMSP's (V1-01).
    """
    listed = details.get("endpoints") if isinstance(details, Mapping) else None
    if not isinstance(listed, list):
        raise Unusable(3001, "The version details hold no list of endpoints.")
    endpoints = [endpoint for entry in listed if (endpoint := _endpoint(entry, version)) is not None]
    if not any((endpoint["identifier"], endpoint["role"]) in USEFUL for endpoint in endpoints):
        raise Unusable(3003, "None of the modules that a CPO needs is among the endpoints.")
    return endpoints


def _endpoint(entry: Any, version: str) -> dict[str, str] | None:
    if not isinstance(entry, Mapping):
        return None
    module, role, url = entry.get("identifier"), entry.get("role"), entry.get("url")
    if not isinstance(module, str) or not isinstance(url, str) or not url:
        return None
    module = module.strip().lower()
    if version == v211.VERSION:
        role = ROLES_211.get(module)
    elif module == "credentials":
        role = "SENDER"
    if not isinstance(role, str):
        return None
    return {"identifier": module, "role": role.strip().upper(), "url": url}
