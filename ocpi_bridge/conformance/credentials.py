"""Credentials are sound and come in the state that allows them before the credentials service is asked (credentials)."""

import re
from typing import Any

from starlette.exceptions import HTTPException

from adapters import v211
from adapters.v211.credentials import credentials_from_211, credentials_to_211
from ocpi_bridge.conformance.envelope import ABSENT
from ocpi_bridge.conformance.refusals import wrong_field
from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import is_http_url, plain

TOKEN = re.compile(r"[!-~]{1,64}", re.ASCII)  # CR-30
COUNTRY_CODE = re.compile(r"[A-Za-z]{2}", re.ASCII)
PARTY_ID = re.compile(r"[A-Za-z0-9]{3}", re.ASCII)

# Before registration a partner holds token A, after it token C (CR-07, CR-09).
METHODS = {"A": "GET, POST", "C": "GET, PUT, DELETE"}


def check_register(call: Call) -> None:
    check_state(call, "A")
    check_object(sent(call), flat=call.version == v211.VERSION)


def check_update(call: Call) -> None:
    check_state(call, "C")
    check_object(sent(call), flat=call.version == v211.VERSION)


def check_delete(call: Call) -> None:
    check_state(call, "C")


def check_state(call: Call, needed: str) -> None:
    if call.caller.token_state != needed:
        raise HTTPException(405, headers={"Allow": METHODS[call.caller.token_state]})


def check_object(body: dict[str, Any], *, flat: bool) -> None:
    """CR-30, CR-31. `flat`: its one role stood in the object itself (CR-32), of which py_ocpi requires nothing."""
    if not TOKEN.fullmatch(body.get("token", "")):
        raise wrong_field("token", "must be 1 to 64 printable ASCII characters without spaces")
    if not is_http_url(body.get("url", "")):
        raise wrong_field("url", "must be an http or https URL")
    if not body["roles"]:
        raise wrong_field("roles", "must hold at least one role")
    seen = set()
    for index, role in enumerate(body["roles"]):
        at = "" if flat else f"roles.{index}."
        if not COUNTRY_CODE.fullmatch(role.get("country_code", "")):
            raise wrong_field(f"{at}country_code", "must be 2 letters")
        if not PARTY_ID.fullmatch(role.get("party_id", "")):
            raise wrong_field(f"{at}party_id", "must be 3 letters or digits")
        key = (role["role"], role["country_code"].casefold(), role["party_id"].casefold())
        if key in seen:
            raise wrong_field(f"roles.{index}", "is there twice")
        seen.add(key)


async def get(call: Call) -> Any:
    return ours(call, await call.credentials.get(call.caller))


async def register(call: Call) -> Any:
    return ours(call, await call.credentials.register(call.caller, sent(call), call.version.value))


async def update(call: Call) -> Any:
    return ours(call, await call.credentials.update(call.caller, sent(call), call.version.value))


def sent(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = plain(call.values["credentials"].dict(exclude_none=True))
    return credentials_from_211(body) if call.version == v211.VERSION else body


def ours(call: Call, credentials: dict[str, Any]) -> dict[str, Any]:
    return credentials_to_211(credentials, call.caller.our_party) if call.version == v211.VERSION else credentials


async def delete(call: Call) -> Any:
    await call.credentials.delete(call.caller)
    return ABSENT
