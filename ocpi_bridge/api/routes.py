"""Everything that the operator API offers, in the order in which it is told."""

from collections.abc import Sequence

from ocpi_bridge.api import (
    alerts,
    authorizations,
    bills,
    charging,
    commands,
    configuration,
    corrections,
    files,
    firmware,
    local_lists,
    locations,
    messages,
    partners,
    reservations,
    reviews,
    security,
    stations,
    tariffs,
    tokens,
    transactions,
)
from ocpi_bridge.api.asked import Route

ROUTES: Sequence[Route] = (
    *stations.ROUTES,
    *commands.ROUTES,
    *configuration.ROUTES,
    *charging.ROUTES,
    *reservations.ROUTES,
    *local_lists.ROUTES,
    *firmware.ROUTES,
    *files.ROUTES,
    *security.ROUTES,
    *locations.ROUTES,
    *tariffs.ROUTES,
    *transactions.ROUTES,
    *tokens.ROUTES,
    *authorizations.ROUTES,
    *bills.ROUTES,
    *corrections.ROUTES,
    *reviews.ROUTES,
    *alerts.ROUTES,
    *messages.ROUTES,
    *partners.ROUTES,
)
