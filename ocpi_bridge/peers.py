"""A registered partner as the client calls it: which of its parties is spoken to, and what of its words may be kept."""

import base64

from adapters import v211
from crud.caller import Party
from crud.partners import PartnerRecord, PartnerState
from ocpi_bridge.emsp_client import Peer

ADDRESSED = ("HUB", "EMSP")  # the role whose party hears what names no party of its own, in this order


def peer(
    partner: PartnerRecord,
    *,
    our_party: Party | None = None,
    their_party: Party | None = None,
    open_routing: bool = False,
) -> Peer | None:
    """None when the partner may not be called: it is not registered.

    `our_party` owns the object that is sent, `their_party` is meant by it; without them the partner's own settings hold.
    `open_routing`: a hub finds for itself who is meant (RT-09); another partner is addressed all the same.
    """
    if partner.state is not PartnerState.REGISTERED or partner.token_out is None:
        return None
    return Peer(
        name=partner.name,
        token=partner.token_out,
        send_raw_token=is_raw(partner, partner.version),
        version=partner.version or "2.2.1",
        our_party=our_party or partner.our_party,
        their_party=None if open_routing and partner.is_hub else their_party or addressed(partner),
        endpoints={(endpoint["identifier"], endpoint["role"]): endpoint["url"] for endpoint in partner.endpoints},
        partner_id=partner.id,
    )


def is_raw(partner: PartnerRecord, version: str | None) -> bool:
    """Whether tokens are sent to it as they are: always in 2.1.1 (TR-04), else where the operator said so (TR-05)."""
    return version == v211.VERSION or partner.send_raw_token


def addressed(partner: PartnerRecord) -> Party:
    """The hub's own party, which makes a push a broadcast and a GET one of all its clients (RT-06, RT-10); else the eMSP's
    (RT-04), else the first."""
    for wanted in ADDRESSED:
        for role in partner.roles:
            if role["role"] == wanted:
                return role["country_code"], role["party_id"]
    return partner.roles[0]["country_code"], partner.roles[0]["party_id"]


def without_tokens(words: str, *tokens: str) -> str:
    """A partner's own text, in which it may repeat a token."""
    for token in tokens:
        for spelling in (token, base64.b64encode(token.encode()).decode()):
            words = words.replace(spelling, "…")
    return words
