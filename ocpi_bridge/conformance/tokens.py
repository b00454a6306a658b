"""A partner writes only its own tokens, at the address that the token itself names (mod_tokens, Client Owned Object Push)."""

from typing import Any

from py_ocpi.core.enums import ModuleID, RoleEnum
from py_ocpi.core.exceptions import NotFoundOCPIError

from adapters import v211
from crud.scope import acts_for
from ocpi_bridge.conformance.envelope import ABSENT
from ocpi_bridge.conformance.refusals import http_refusal, wrong_field
from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import plain, same

# The token's field and the part of the address that says the same (TK-05, TR-24).
ADDRESSED_BY = {"country_code": "country_code", "party_id": "party_id", "uid": "token_uid", "type": "token_type"}
CONTRACT = ("contract_id", "auth_id")  # in 2.2.1 and in 2.1.1
REQUIRED = frozenset({*ADDRESSED_BY, *CONTRACT, "issuer", "valid", "whitelist", "last_updated"})  # TK-06


def check_owner(call: Call) -> None:
    """TR-23: to a caller, another party's tokens are at no address."""
    if not acts_for(call.values["country_code"], call.values["party_id"]):
        raise http_refusal(404)


def check_put(call: Call) -> None:
    check_owner(call)
    check_address(call, changes(call.values["token"]))


def check_patch(call: Call) -> None:
    check_owner(call)
    given = changes(call.values["token"])
    if call.version != v211.VERSION and given.get("last_updated") is None:
        raise wrong_field("last_updated", "is required in a PATCH")  # TK-04
    for name in sorted(REQUIRED & given.keys()):
        if given[name] is None:
            raise wrong_field(name, "is required and cannot be cleared")
    check_address(call, given)


def check_address(call: Call, given: dict[str, Any]) -> None:
    for name, part in ADDRESSED_BY.items():
        if name in given and part in call.values and not same(given[name], plain(call.values[part])):
            raise wrong_field(name, "differs from the address")


def changes(token: Any) -> dict[str, Any]:
    """The fields that the body holds; None where it says null."""
    given: dict[str, Any] = plain(token.dict(exclude_unset=True))
    return given


async def patch_token(call: Call) -> Any:
    """In place of py_ocpi's, which ignores a null and so can clear nothing: `crud.update` gets the whole token, None where a
    field was cleared."""
    uid, token = call.values["token_uid"], call.values["token"]
    parts = ("token_type", "country_code", "party_id")  # 2.1.1 knows the first not
    address = {part: call.values[part] for part in parts if part in call.values}
    address |= {"auth_token": None, "version": call.version}
    stored = await call.crud.get(ModuleID.tokens, RoleEnum.cpo, uid, **address)
    if not stored:
        raise NotFoundOCPIError
    whole = {**call.adapter.token_adapter(stored).tree(), **changes(token)}
    await call.crud.update(ModuleID.tokens, RoleEnum.cpo, whole, uid, **address)
    return ABSENT
