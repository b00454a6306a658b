"""py_ocpi's Adapter, by its method names, for the modules that are served: what our crud returns is an OCPI object already,
so each only gives it its form."""

from collections.abc import Mapping
from typing import Any

from adapters.rendered import Rendered

Data = Rendered | Mapping[str, Any]


class Adapter:
    """Stateless. `version` is py_ocpi's word for the caller's OCPI version; the objects are those of 2.2.1."""

    def location_adapter(self, data: Data, version: object = None) -> Rendered:
        return _rendered(data)

    def session_adapter(self, data: Data, version: object = None) -> Rendered:
        return _rendered(data)

    def cdr_adapter(self, data: Data, version: object = None) -> Rendered:
        return _rendered(data)

    def tariff_adapter(self, data: Data, version: object = None) -> Rendered:
        return _rendered(data)

    def command_response_adapter(self, data: Data, version: object = None) -> Rendered:
        return _rendered(data)

    def token_adapter(self, data: Data, version: object = None) -> Rendered:
        return _rendered(data)


def _rendered(data: Data) -> Rendered:
    return data if isinstance(data, Rendered) else Rendered(dict(data))
