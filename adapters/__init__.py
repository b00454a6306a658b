"""py_ocpi's Adapter, by its method names, for the modules that are served: what our crud returns is an OCPI 2.2.1 object
already, so each only gives it its form, and that of the caller's version."""

from collections.abc import Mapping
from typing import Any

from adapters import v211
from adapters.rendered import Rendered

Data = Rendered | Mapping[str, Any]

# How a version shows each module's objects, where not as 2.2.1 does.
VERSIONS = {v211.VERSION: v211.OBJECTS}


class Adapter:
    """Stateless. `version` is py_ocpi's word for the caller's OCPI version; without one it is 2.2.1."""

    def location_adapter(self, data: Data, version: object = None) -> Rendered:
        return shown("locations", data, version)

    def session_adapter(self, data: Data, version: object = None) -> Rendered:
        return shown("sessions", data, version)

    def cdr_adapter(self, data: Data, version: object = None) -> Rendered:
        return shown("cdrs", data, version)

    def tariff_adapter(self, data: Data, version: object = None) -> Rendered:
        return shown("tariffs", data, version)

    def command_response_adapter(self, data: Data, version: object = None) -> Rendered:
        return shown("commands", data, version)

    def token_adapter(self, data: Data, version: object = None) -> Rendered:
        return shown("tokens", data, version)


def shown(module: str, data: Data, version: object = None) -> Rendered:
    """An object of `module`, or of "evses", in this version's words."""
    rendered = data if isinstance(data, Rendered) else Rendered(dict(data))
    translate = VERSIONS.get(str(getattr(version, "value", version)), {}).get(module)
    return rendered if translate is None else rendered.translated(translate)
