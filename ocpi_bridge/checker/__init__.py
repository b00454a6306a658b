"""Whether a platform keeps OCPI's rules can be asked of it from outside: by reading only, each deviation under its id."""

from ocpi_bridge.checker.report import Finding, Level, Report
from ocpi_bridge.checker.walk import KNOWN_VERSIONS, Limits, NothingToCheck, check

__all__ = ["KNOWN_VERSIONS", "Finding", "Level", "Limits", "NothingToCheck", "Report", "check"]
