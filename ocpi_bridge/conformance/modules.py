"""Which modules we serve, in which role, and how each of py_ocpi's endpoints in them is treated: a new module is a row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.routing import APIRoute
from py_ocpi.core.enums import ModuleID
from py_ocpi.core.routers import ROUTERS
from py_ocpi.modules.versions import router as versions_router
from py_ocpi.modules.versions.enums import VersionNumber
from py_ocpi.modules.versions.v_2_2_1.enums import InterfaceRole

from ocpi_bridge.conformance import charging_preferences, charging_profiles, commands, credentials, hub_clients, tokens
from ocpi_bridge.conformance.treatments import Data, Treatment


@dataclass(frozen=True, kw_only=True)
class Served:
    """`role` is what version details say of us (VE-04); `endpoints` are keyed by the name of py_ocpi's handler."""

    role: InterfaceRole
    endpoints: Mapping[str, Treatment]


HUB_CLIENT = "/hubclientinfo/{country_code}/{party_id}"  # named like its module, as its examples are not (ER-11)

LIST = Treatment(data=Data.LIST)
LOCATION = Treatment(data=Data.ONE, not_found=2003)

VERSIONS: Mapping[str, Treatment] = {"get_versions": LIST}

CREDENTIALS = Served(
    role=InterfaceRole.sender,  # its role has no meaning; SENDER is advised (VE-03)
    endpoints={
        "get_credentials": Treatment(data=Data.ONE, instead=credentials.get),
        "post_credentials": Treatment(data=Data.ONE, check=credentials.check_register, instead=credentials.register),
        "update_credentials": Treatment(data=Data.ONE, check=credentials.check_update, instead=credentials.update),
        "remove_credentials": Treatment(data=Data.NONE, check=credentials.check_delete, instead=credentials.delete),
    },
)
LOCATIONS = Served(
    role=InterfaceRole.sender,
    endpoints={"get_locations": LIST, "get_location": LOCATION, "get_evse": LOCATION, "get_connector": LOCATION},
)
SESSIONS = Treatment(data=Data.LIST, needs_date_from=True)
CDRS = Served(role=InterfaceRole.sender, endpoints={"get_cdrs": LIST})
TARIFFS = Served(role=InterfaceRole.sender, endpoints={"get_tariffs": LIST})
COMMANDS = Served(
    role=InterfaceRole.receiver,
    endpoints={"receive_command": Treatment(data=Data.ONE, check=commands.check_command)},
)


def tokens_served(not_found: int) -> Served:
    return Served(
        role=InterfaceRole.receiver,
        endpoints={
            "get_token": Treatment(data=Data.ONE, check=tokens.check_owner, not_found=not_found),
            "add_or_update_token": Treatment(data=Data.NONE, check=tokens.check_put),
            "partial_update_token": Treatment(
                data=Data.NONE, check=tokens.check_patch, instead=tokens.patch_token, not_found=not_found
            ),
        },
    )


CPO_2_2_1: Mapping[ModuleID, Served] = {
    ModuleID.credentials_and_registration: CREDENTIALS,
    ModuleID.locations: LOCATIONS,
    ModuleID.sessions: Served(
        role=InterfaceRole.sender,
        endpoints={
            "get_sessions": SESSIONS,
            "set_charging_preference": Treatment(data=Data.ONE, instead=charging_preferences.put),
        },
    ),
    ModuleID.cdrs: CDRS,
    ModuleID.tariffs: TARIFFS,
    ModuleID.tokens: tokens_served(not_found=2004),
    ModuleID.commands: COMMANDS,
    ModuleID.charging_profile: Served(
        role=InterfaceRole.receiver,
        endpoints={
            "get_chargingprofile": Treatment(data=Data.ONE, instead=charging_profiles.get),
            "add_or_update_chargingprofile": Treatment(data=Data.ONE, instead=charging_profiles.put),
            "delete_chargingprofile": Treatment(data=Data.ONE, instead=charging_profiles.delete),
        },
    ),
    ModuleID.hub_client_info: Served(
        role=InterfaceRole.receiver,
        endpoints={
            "get_hubclientinfo": Treatment(data=Data.ONE, instead=hub_clients.get, path=HUB_CLIENT),
            "add_or_update_clienthubinfo": Treatment(data=Data.NONE, instead=hub_clients.put, path=HUB_CLIENT),
        },
    ),
}

CPO_2_1_1: Mapping[ModuleID, Served] = {
    ModuleID.credentials_and_registration: CREDENTIALS,
    ModuleID.locations: LOCATIONS,
    ModuleID.sessions: Served(role=InterfaceRole.sender, endpoints={"get_sessions": SESSIONS}),
    ModuleID.cdrs: CDRS,
    ModuleID.tariffs: TARIFFS,
    ModuleID.tokens: tokens_served(not_found=2000),  # it has no word of its own for them (V1-03)
    ModuleID.commands: COMMANDS,
}

SERVED: Mapping[VersionNumber, Mapping[ModuleID, Served]] = {
    VersionNumber.v_2_2_1: CPO_2_2_1,
    VersionNumber.v_2_1_1: CPO_2_1_1,
}
WITHOUT_ROLES = frozenset({VersionNumber.v_2_1_1})  # V1-01


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
        details = {"get_version_details": Treatment(data=Data.ONE, path=f"/{version.value}")}
        yield from treated(routers["version_router"], details, prefix="", version=version)
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
        {"identifier": module.value}
        | ({} if version in WITHOUT_ROLES else {"role": served.role.value})
        | {"url": f"{base_url}/cpo/{version.value}/{module.value}"}
        for module, served in SERVED[version].items()
    ]
