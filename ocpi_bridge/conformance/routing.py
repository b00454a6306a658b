"""Message ids are echoed or made, and routing headers come back swapped (transport_and_format § Message Routing Headers)."""

import uuid
from collections.abc import Collection
from dataclasses import replace

from starlette.datastructures import Headers

from crud.caller import Caller, IncomingRequest, Party, Refusal
from ocpi_bridge.conformance.values import same

Header = tuple[bytes, bytes]

# Configuration modules carry no routing headers (RT-02).
CONFIGURATION = frozenset({"versions", "credentials", "hubclientinfo"})


def received(method: str, headers: Headers) -> IncomingRequest:
    """The request with its message ids; an id that is missing is made, never a reason to refuse (ID-04)."""
    return IncomingRequest(
        method=method,
        request_id=headers.get("x-request-id") or str(uuid.uuid4()),
        correlation_id=headers.get("x-correlation-id") or str(uuid.uuid4()),
    )


def addressed(
    request: IncomingRequest, headers: Headers, our_parties: Collection[Party], caller: Caller
) -> IncomingRequest:
    """The request with its parties, `to` in our own spelling; raises Refusal for one that is not ours (RT-12). None for all
    of them: an open request, or one in which a hub left itself as addressed (RT-09, RT-10)."""
    request = replace(request, from_party=named(headers, "from"))
    to = named(headers, "to")
    if to is None or caller.is_itself_a_hub_as(*to):
        return request
    for ours in our_parties:
        if same(ours[0], to[0]) and same(ours[1], to[1]):
            return replace(request, to_party=ours)
    raise Refusal(200, 2001, "The party in the OCPI-to headers is not on this platform")


def named(headers: Headers, end: str) -> Party | None:
    country_code, party_id = headers.get(f"ocpi-{end}-country-code"), headers.get(f"ocpi-{end}-party-id")
    if not country_code and not party_id:
        return None
    if not country_code or not party_id:
        raise Refusal(200, 2001, f"Only one of the two OCPI-{end} headers was given")
    return country_code, party_id


def message_headers(request: IncomingRequest) -> list[Header]:
    return [
        (b"x-request-id", request.request_id.encode("latin-1")),
        (b"x-correlation-id", request.correlation_id.encode("latin-1")),
    ]


def routing_headers(request: IncomingRequest, caller: Caller) -> list[Header]:
    """`to` is who asked, `from` is who answers (RT-03); what the peer left out follows from its token (RT-15)."""
    asked = request.from_party or next(((country, party) for country, party, _ in caller.roles), None)
    answers = request.to_party or caller.our_party
    ends = [("from", answers)] if asked is None else [("to", asked), ("from", answers)]
    return [
        (f"ocpi-{end}-{name}".encode(), value.encode("latin-1"))
        for end, party in ends
        for name, value in zip(("country-code", "party-id"), party, strict=True)
    ]
