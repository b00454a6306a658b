"""OCPI 2.1.1 out of what 2.2.1 says, and what partners say in it as 2.2.1 would have it: pure, a file for each module.

Objects are made from the rendered 2.2.1 object and from what stands `beside` it: what 2.1.1 shows of them and 2.2.1 does not.
They carry no party, since in 2.1.1 only the address does (V1-04).
"""

from collections.abc import Callable, Mapping
from typing import Any

from adapters.v211.commands import command_response_to_211
from adapters.v211.locations import evse_to_211, location_to_211
from adapters.v211.sessions import cdr_to_211, session_to_211
from adapters.v211.tariffs import tariff_to_211
from adapters.v211.tokens import token_to_211

VERSION = "2.1.1"

Body = Mapping[str, Any]

OBJECTS: dict[str, Callable[[Body, Body], dict[str, Any]]] = {
    "locations": lambda body, _: location_to_211(body),
    "evses": lambda body, _: evse_to_211(body),
    "sessions": session_to_211,
    "cdrs": cdr_to_211,
    "tariffs": lambda body, _: tariff_to_211(body),
    "tokens": lambda body, _: token_to_211(body),
    "commands": lambda body, _: command_response_to_211(body),
}
