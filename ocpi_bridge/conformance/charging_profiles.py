"""A charging profile is whole, and where its result goes is read as it was sent, before anybody is asked.

py_ocpi's own endpoints cannot be used: its SetChargingProfile refuses the specification's (D45), it answers an unknown session
with 2000, and sends results that never came (D46).
"""

from typing import Any
from urllib.parse import unquote

from py_ocpi.core.data_types import URL, DateTime
from py_ocpi.core.enums import ModuleID, RoleEnum
from py_ocpi.modules.chargingprofiles.v_2_2_1.enums import ChargingRateUnit
from pydantic import BaseModel, ConstrainedInt, Field, ValidationError

from crud import charging_profiles
from ocpi_bridge.conformance.refusals import invalid_object, wrong_field
from ocpi_bridge.conformance.treatments import Call
from ocpi_bridge.conformance.values import is_http_url, plain

# What no charger takes, nobody need read; and no time can be reckoned with it.
MOST_PERIODS = 1000
LONGEST_S = 366 * 24 * 3600
HIGHEST_LIMIT = 10**9  # W or A


class Seconds(ConstrainedInt):
    strict = True
    ge = 0
    le = LONGEST_S


class Length(Seconds):
    ge = 1


class Period(BaseModel):
    start_period: Seconds
    limit: float = Field(ge=0, le=HIGHEST_LIMIT)


class Profile(BaseModel):
    start_date_time: DateTime | None
    duration: Length | None
    charging_rate_unit: ChargingRateUnit
    min_charging_rate: float | None = Field(ge=0, le=HIGHEST_LIMIT)
    charging_profile_period: list[Period] | None = Field(max_items=MOST_PERIODS)


class SetProfile(BaseModel):
    charging_profile: Profile
    response_url: URL


async def get(call: Call) -> Any:
    duration = call.values["duration"]
    if duration < 1:
        raise wrong_field("duration", "is at least 1 second")
    return await _do(call, charging_profiles.GET, {"duration": duration}, response_url(call))


async def put(call: Call) -> Any:
    try:
        read = SetProfile.parse_obj(call.values["charging_profile"])
    except ValidationError as error:
        raise invalid_object(error) from error
    return await _do(call, charging_profiles.SET, plain(read.charging_profile.dict()), str(read.response_url))


async def delete(call: Call) -> Any:
    return await _do(call, charging_profiles.CLEAR, {}, response_url(call))


async def _do(call: Call, action: str, data: dict[str, Any], url: str) -> Any:
    if not is_http_url(url):
        raise wrong_field("response_url", "must be an http or https URL")
    return await call.crud.do(
        ModuleID.charging_profile,
        RoleEnum.cpo,
        action,
        data,
        session_id=call.values["session_id"],
        response_url=url,
    )


def response_url(call: Call) -> str:
    """Encoded, or raw as in the specification's own examples: then it may hold `&` itself and is all the rest of the query,
    but for a duration that stands behind it (CP-03)."""
    query = call.values["request"].url.query
    _, _, sent = f"&{query}".partition("&response_url=")
    if "://" not in sent.partition("&")[0]:
        return unquote(sent.partition("&")[0])
    own, asks, _ = sent.rpartition("&duration=")
    return own if asks and "&duration=" not in f"&{query}".partition("&response_url=")[0] else sent
