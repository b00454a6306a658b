"""Credentials are sound and come in the state that allows them before the credentials service is asked (credentials)."""

import re
from typing import Any

from starlette.exceptions import HTTPException

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
    check_object(plain(call.values["credentials"].dict()))


def check_update(call: Call) -> None:
    check_state(call, "C")
    check_object(plain(call.values["credentials"].dict()))


def check_delete(call: Call) -> None:
    check_state(call, "C")


def check_state(call: Call, needed: str) -> None:
    if call.caller.token_state != needed:
        raise HTTPException(405, headers={"Allow": METHODS[call.caller.token_state]})


def check_object(body: dict[str, Any]) -> None:
    """CR-30, CR-31."""
    if not TOKEN.fullmatch(body["token"]):
        raise wrong_field("token", "must be 1 to 64 printable ASCII characters without spaces")
    if not is_http_url(body["url"]):
        raise wrong_field("url", "must be an http or https URL")
    if not body["roles"]:
        raise wrong_field("roles", "must hold at least one role")
    seen = set()
    for index, role in enumerate(body["roles"]):
        if not COUNTRY_CODE.fullmatch(role["country_code"]):
            raise wrong_field(f"roles.{index}.country_code", "must be 2 letters")
        if not PARTY_ID.fullmatch(role["party_id"]):
            raise wrong_field(f"roles.{index}.party_id", "must be 3 letters or digits")
        key = (role["role"], role["country_code"].casefold(), role["party_id"].casefold())
        if key in seen:
            raise wrong_field(f"roles.{index}", "is there twice")
        seen.add(key)


async def get(call: Call) -> Any:
    return await call.credentials.get(call.caller)


async def register(call: Call) -> Any:
    return await call.credentials.register(call.caller, plain(call.values["credentials"].dict(exclude_none=True)))


async def update(call: Call) -> Any:
    return await call.credentials.update(call.caller, plain(call.values["credentials"].dict(exclude_none=True)))


async def delete(call: Call) -> Any:
    await call.credentials.delete(call.caller)
    return ABSENT
