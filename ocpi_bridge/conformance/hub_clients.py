"""A hub tells who stands behind it, one party at a time (mod_hub_client_info, receiver).

py_ocpi's own endpoints cannot be used: they stand at another path than the module's (ER-11), refuse the specification's own
example, which has no last_updated (ER-10), and create without saying whose it is.
"""

from typing import Any

from py_ocpi.core.enums import ModuleID, RoleEnum
from py_ocpi.core.exceptions import NotFoundOCPIError

from ocpi_bridge.conformance.envelope import ABSENT
from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import plain


async def get(call: Call) -> Any:
    known = await call.crud.get(ModuleID.hub_client_info, RoleEnum.cpo, "", **_address(call))
    if known is None:
        raise NotFoundOCPIError
    return known


async def put(call: Call) -> Any:
    body = plain(call.values["client_hub_info"])
    await call.crud.update(ModuleID.hub_client_info, RoleEnum.cpo, body, "", **_address(call))
    return ABSENT


def _address(call: Call) -> dict[str, str]:
    return {name: plain(call.values[name]) for name in ("country_code", "party_id")}
