"""The driver's wish is answered with one word, as the specification says (SE-30)."""

from typing import Any

from py_ocpi.core.enums import RoleEnum

from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import plain

MODULE = "charging_preferences"  # of our crud: to OCPI it is part of sessions


async def put(call: Call) -> Any:
    wished = plain(call.values["charging_preferences"].dict())
    return await call.crud.do(MODULE, RoleEnum.cpo, "set", wished, session_id=call.values["session_id"])
