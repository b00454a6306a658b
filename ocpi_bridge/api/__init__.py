"""The operator REST API: for programs, under /api/v1, by keys with a role."""

from ocpi_bridge.api.app import OperatorApi
from ocpi_bridge.api.asked import Surroundings

__all__ = ["OperatorApi", "Surroundings"]
