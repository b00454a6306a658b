"""Which modules we serve, in which role, and how each of py_ocpi's endpoints in them is treated: a new module is a row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from py_ocpi.core.enums import ModuleID
from py_ocpi.core.routers import ROUTERS
from py_ocpi.modules.versions import router as versions_router
from py_ocpi.modules.versions.enums import VersionNumber
from py_ocpi.modules.versions.v_2_2_1.enums import InterfaceRole

from crud.caller import Refusal
from ocpi_bridge.conformance import commands, credentials, tokens
from ocpi_bridge.conformance.treatments import Call, Data, Treatment


@dataclass(frozen=True, kw_only=True)
class Served:
    """`role` is what version details say of us (VE-04); `endpoints` are keyed by the name of py_ocpi's handler."""

    role: InterfaceRole
    endpoints: Mapping[str, Treatment]


async def refuse_charging_preferences(call: Call) -> Any:
    """SE-31: no EVSE of ours has CHARGING_PREFERENCES_CAPABLE."""
    raise Refusal(404, 2001, "Charging preferences are not supported here")


LIST = Treatment(data=Data.LIST)
LOCATION = Treatment(data=Data.ONE, not_found=2003)

VERSIONS: Mapping[str, Treatment] = {
    "get_versions": Treatment(data=Data.LIST),
    "get_version_details": Treatment(data=Data.ONE, path="/2.2.1"),
}

CPO_2_2_1: Mapping[ModuleID, Served] = {
    ModuleID.credentials_and_registration: Served(
        role=InterfaceRole.sender,  # its role has no meaning; SENDER is advised (VE-03)
        endpoints={
            "get_credentials": Treatment(data=Data.ONE, instead=credentials.get),
            "post_credentials": Treatment(
                data=Data.ONE, check=credentials.check_register, instead=credentials.register
            ),
            "update_credentials": Treatment(data=Data.ONE, check=credentials.check_update, instead=credentials.update),
            "remove_credentials": Treatment(data=Data.NONE, check=credentials.check_delete, instead=credentials.delete),
        },
    ),
    ModuleID.locations: Served(
        role=InterfaceRole.sender,
        endpoints={"get_locations": LIST, "get_location": LOCATION, "get_evse": LOCATION, "get_connector": LOCATION},
    ),
    ModuleID.sessions: Served(
        role=InterfaceRole.sender,
        endpoints={
            "get_sessions": Treatment(data=Data.LIST, needs_date_from=True),
            "set_charging_preference": Treatment(data=Data.ONE, instead=refuse_charging_preferences),
        },
    ),
    ModuleID.cdrs: Served(role=InterfaceRole.sender, endpoints={"get_cdrs": LIST}),
    ModuleID.tariffs: Served(role=InterfaceRole.sender, endpoints={"get_tariffs": LIST}),
    ModuleID.tokens: Served(
        role=InterfaceRole.receiver,
        endpoints={
            "get_token": Treatment(data=Data.ONE, check=tokens.check_owner, not_found=2004),
            "add_or_update_token": Treatment(data=Data.NONE, check=tokens.check_put),
            "partial_update_token": Treatment(
                data=Data.NONE, check=tokens.check_patch, instead=tokens.patch_token, not_found=2004
            ),
        },
    ),
    ModuleID.commands: Served(
        role=InterfaceRole.receiver,
        endpoints={"receive_command": Treatment(data=Data.ONE, check=commands.check_command)},
    ),
}

SERVED: Mapping[VersionNumber, Mapping[ModuleID, Served]] = {VersionNumber.v_2_2_1: CPO_2_2_1}


@dataclass(frozen=True, kw_only=True)
class ServedRoute:
    """`version` None: the list of versions belongs to none."""

    route: APIRoute
    treatment: Treatment
    prefix: str
    version: VersionNumber | None


def served_routes() -> Iterator[ServedRoute]:
    """A KeyError here is an endpoint of a new py_ocpi that nobody has decided about."""
    yield from treated(versions_router, VERSIONS, prefix="", version=None)
    for version, modules in SERVED.items():
        routers = ROUTERS[version]
        yield from treated(routers["version_router"], VERSIONS, prefix="", version=version)
        for module, served in modules.items():
            yield from treated(
                routers["cpo_router"][module], served.endpoints, prefix=f"/cpo/{version.value}", version=version
            )


def treated(
    router: APIRouter, treatments: Mapping[str, Treatment], *, prefix: str, version: VersionNumber | None
) -> Iterator[ServedRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield ServedRoute(
                route=route, treatment=treatments[route.endpoint.__name__], prefix=prefix, version=version
            )


def endpoints_of(version: VersionNumber, base_url: str) -> list[dict[str, str]]:
    """What version details list: exactly what is mounted (VE-04, D40)."""
    return [
        {"identifier": module.value, "role": served.role.value, "url": f"{base_url}/cpo/{version.value}/{module.value}"}
        for module, served in SERVED[version].items()
    ]
