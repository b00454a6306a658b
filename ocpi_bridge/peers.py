"""A registered partner as the client calls it: which of its parties is spoken to, and what of its words may be kept."""

import base64

from crud.caller import Party
from crud.partners import PartnerRecord, PartnerState
from ocpi_bridge.emsp_client import Peer

ADDRESSED = ("EMSP", "HUB")  # the role whose party hears what names no party of its own, in this order


def peer(partner: PartnerRecord, *, our_party: Party | None = None, their_party: Party | None = None) -> Peer | None:
    """None when the partner may not be called: it is not registered.

    `our_party` owns the object that is sent, `their_party` is meant by it; without them the partner's own settings hold.
    """
    if partner.state is not PartnerState.REGISTERED or partner.token_out is None:
        return None
    return Peer(
        name=partner.name,
        token=partner.token_out,
        send_raw_token=partner.send_raw_token,
        version=partner.version or "2.2.1",
        our_party=our_party or partner.our_party,
        their_party=their_party or addressed(partner),
        endpoints={(endpoint["identifier"], endpoint["role"]): endpoint["url"] for endpoint in partner.endpoints},
    )


def addressed(partner: PartnerRecord) -> Party:
    """The eMSP's party, else the hub's (RT-04, RT-06), else the first."""
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
