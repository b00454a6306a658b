"""Registration: a platform becomes a partner, changes its tokens or leaves, whichever side begins."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from adapters import v211
from adapters.datatypes import Unreadable
from adapters.v211.credentials import credentials_from_211, credentials_to_211
from crud.caller import Caller, Party, Refusal
from crud.partners import PartnerRecord, Partners, PartnerState, Terms, UnknownPartner, new_token
from csms.database import Database
from csms.locations import imported_parties
from ocpi_bridge.emsp_client import Delivery, EmspClient, Reply
from ocpi_bridge.peers import is_raw, without_tokens
from ocpi_bridge.push import resync
from ocpi_bridge.terms import VERSIONS, Unusable, details_url, read_credentials, read_endpoints
from ocpi_bridge.token_sync import invalidate_all

log = structlog.get_logger(__name__)

T = TypeVar("T")

OurRole = tuple[str, str, str]  # country_code, party_id, operator's name


def our_roles(connection: Connection, own: Party, operator_name: str) -> list[OurRole]:
    """The settings' own party, and those whose sites were imported by now: partners know an object's owner only by our
    roles (PU-03, CR-31)."""
    others = [party for party in imported_parties(connection) if party != own]
    return [(*party, operator_name) for party in (own, *others)]


class RegistrationFailed(Exception):
    """What an operator asked for did not come about; the text is for people and holds no token."""


class Registration:
    """OCPI credentials in both directions.

    No database transaction is open while a partner is called (CR-12): it calls us back meanwhile. Of several requests
    that rest on one token, the first to be written counts.
    """

    def __init__(
        self,
        database: Database,
        partners: Partners,
        client: EmspClient,
        *,
        public_url: str,
        our_roles: Sequence[OurRole],
        clock: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
        offer: Callable[[str], Any] = lambda _version: None,
    ) -> None:
        """`changed` is called on the loop after a partner registered, so that pushes and pulls look at once. `our_roles`
        is read anew each time; the first is the one a partner deals with unless told otherwise. `offer`: what a partner of
        this OCPI version knows of us by our credentials."""
        self._database = database
        self._partners = partners
        self._client = client
        self._versions_url = f"{public_url.rstrip('/')}/ocpi/versions"
        self._our_roles = our_roles
        self._clock = clock
        self._changed = changed
        self._offer = offer

    # ---- the partner begins (CR-01 to CR-13) ------------------------------------------------------------------------

    async def get(self, caller: Caller) -> dict[str, Any]:
        """Our credentials, with the token by which this partner calls us (CR-11)."""
        partner = await self._partner(caller)
        if partner.token_in is None:
            raise Refusal(405, 2000, "Not registered")
        return self._credentials(partner.token_in)

    async def register(self, caller: Caller, body: Mapping[str, Any], version: str) -> dict[str, Any]:
        """POST with token A, which stays good until this has succeeded and is dead then (CR-03 to CR-07); but a partner that
        did not hear the answer has no other token, so until it used the new one it may post again."""
        partner = await self._partner(caller)
        if not caller.superseded and partner.state is not PartnerState.INVITED:
            raise Refusal(405, 2000, "Already registered")
        return await self._adopt(partner, caller, body, version)

    async def update(self, caller: Caller, body: Mapping[str, Any], version: str) -> dict[str, Any]:
        """PUT: everything is read again, and the old token is good for nothing but another PUT, until the new one is used
        (CR-08, CR-13). From here on the partner speaks the version whose credentials it put (CR-28)."""
        partner = await self._partner(caller)
        if caller.token_state != "C" or partner.state is not PartnerState.REGISTERED:
            raise Refusal(405, 2000, "Not registered")
        return await self._adopt(partner, caller, body, version)

    async def delete(self, caller: Caller) -> None:
        """CR-10."""
        partner = await self._partner(caller)
        if caller.token_state != "C" or partner.state is not PartnerState.REGISTERED:
            raise Refusal(405, 2000, "Not registered")
        await self._write(lambda connection: self._leave(connection, partner.id))
        log.info("partner_left", partner=partner.name, by="partner")

    async def _adopt(
        self, partner: PartnerRecord, caller: Caller, body: Mapping[str, Any], version: str
    ) -> dict[str, Any]:
        if partner.token_in is None:
            raise Refusal(405, 2000, "Not registered")
        expecting = partner.token_in
        try:
            token, url, roles = read_credentials(body)
        except Unreadable as error:
            raise Refusal(200, 2001, str(error), {"field": error.field}) from None
        try:
            terms = await self._terms(url, token, roles, raw=is_raw(partner, version), versions=(version,))
        except Unusable as reason:
            log.warning("registration_refused", partner=partner.name, status_code=reason.code, reason=str(reason))
            raise Refusal(200, reason.code, str(reason)) from None
        issued = new_token()
        if not await self._write(
            lambda connection: self._complete(connection, partner, expecting, issued, terms, caller)
        ):
            raise Refusal(405, 2000, "Another request with this token was quicker")
        log.info("partner_registered", partner=partner.name, version=terms.version, by="partner")
        self._changed()
        return self._credentials(issued)

    # ---- we begin (CR-20 to CR-28) ----------------------------------------------------------------------------------

    async def register_at(
        self, name: str, versions_url: str, token_a: str, *, raw_tokens: bool = False, version: str | None = None
    ) -> PartnerRecord:
        """Register us at the partner `name` with the token it gave us, in `version` or the newest that both speak. Raises
        RegistrationFailed, AlreadyRegistered."""
        country_code, party_id, _ = self._our_roles[0]
        now = self._clock()
        partner_id = await self._write(
            lambda connection: self._partners.offer(connection, name, (country_code, party_id), now, raw=raw_tokens)
        )
        partner = await asyncio.to_thread(self._read, partner_id)
        return await self._introduce(partner, versions_url, token_a, version, self._client.post_credentials)

    async def rotate(self, name: str, version: str | None = None) -> PartnerRecord:
        """New tokens in both directions, and the partner's endpoints read again, of `version` if that is another than before
        (CR-27, CR-28)."""
        partner = await self._named(name)
        if partner.state is not PartnerState.REGISTERED or partner.token_out is None or partner.versions_url is None:
            raise RegistrationFailed(f"{name} is not registered.")
        return await self._introduce(
            partner, partner.versions_url, partner.token_out, version or partner.version, self._client.put_credentials
        )

    async def unregister(self, name: str) -> bool:
        """The relation ends here whatever the partner says; True when it was told (CR-10)."""
        partner = await self._named(name)
        told = False
        endpoint = partner.endpoint("credentials", "SENDER")
        if partner.state is PartnerState.REGISTERED and partner.token_out is not None and endpoint is not None:
            raw = is_raw(partner, partner.version)
            reply = await self._client.delete_credentials(endpoint, partner.token_out, raw)
            told = reply.ok or reply.http_status == 405  # 405: it knows nothing of us any more
        await self._write(lambda connection: self._leave(connection, partner.id))
        log.info("partner_left", partner=name, by="operator", told=told)
        return told

    async def _introduce(
        self,
        partner: PartnerRecord,
        versions_url: str,
        token: str,
        version: str | None,
        send: Callable[[str, str, Mapping[str, Any], bool], Awaitable[Reply]],
    ) -> PartnerRecord:
        """Hand the partner a token that works for its call back, and take what it answers (CR-22 to CR-24). `version` None:
        the newest that it offers too."""
        name, partner_id = partner.name, partner.id
        # Open before anything is asked, so that whatever fails is cleaned up in one place (CR-26).
        in_doubt = partner.pending_sent
        issued = await self._write(lambda connection: self._partners.open_pending(connection, partner_id))
        try:
            wanted = VERSIONS if version is None else (version,)
            terms = await self._terms(versions_url, token, (), raw=is_raw(partner, version), versions=wanted)
            raw = is_raw(partner, terms.version)
            endpoint = next((e["url"] for e in terms.endpoints if e["identifier"] == "credentials"), None)
            if endpoint is None:
                raise Unusable(3003, "The version details list no credentials endpoint.")
            ours = in_words_of(terms.version, self._credentials(issued), partner.our_party)
            await self._write(lambda connection: self._partners.pending_sent(connection, partner_id, issued, True))
            reply = await send(endpoint, token, ours, raw)
            if surely_refused(reply) and not in_doubt:
                await self._write(lambda connection: self._partners.pending_sent(connection, partner_id, issued, False))
            if not reply.ok:
                raise Unusable(3001, f"It did not take our credentials: {said(reply, token, issued)}")
            their_token, their_url, roles = read_credentials(in_221(terms.version, reply.data))
            agreed = Terms(
                token=their_token,
                versions_url=their_url,
                version=terms.version,
                roles=roles,
                endpoints=terms.endpoints,
            )
            partner = await asyncio.to_thread(self._read, partner_id)
            if not await self._write(lambda connection: self._complete(connection, partner, issued, issued, agreed)):
                raise RegistrationFailed(f"{name}: another registration was begun meanwhile.")
        except (Unusable, Unreadable) as reason:
            await self._write(lambda connection: self._partners.close_pending(connection, partner_id, issued))
            raise RegistrationFailed(f"{name}: {reason}") from None
        except BaseException:
            await asyncio.shield(
                self._write(lambda connection: self._partners.close_pending(connection, partner_id, issued))
            )
            raise
        log.info("partner_registered", partner=name, version=agreed.version, by="operator")
        self._changed()
        return await asyncio.to_thread(self._read, partner_id)

    # ---- what both directions need ----------------------------------------------------------------------------------

    async def _terms(
        self, url: str, token: str, roles: Sequence[Mapping[str, Any]], *, raw: bool, versions: Sequence[str]
    ) -> Terms:
        """The partner's details of the first of these `versions` that it offers, read with `token`; each call has the client's
        own time limit.

        The list of versions is of no version, so whether its token is encoded is not said: one that does not take it as it is
        written here may be of 2.1.1 still, and of nothing else (TR-05)."""
        offered = await self._client.get_versions(url, token, raw)
        # py_ocpi fails, with 3000, over a token that is no Base64.
        if (offered.http_status == 401 or offered.status_code == 3000) and v211.VERSION in versions:
            otherwise = await self._client.get_versions(url, token, not raw)
            if otherwise.ok and offers(otherwise.data, v211.VERSION):
                offered, versions = otherwise, (v211.VERSION,)
        if not offered.ok:
            raise Unusable(3001, f"The versions endpoint cannot be used: {said(offered, token)}")
        version, address = details_url(offered.data, versions)
        details = await self._client.get_version_details(address, token, raw or version == v211.VERSION)
        if not details.ok:
            raise Unusable(3001, f"The version details cannot be used: {said(details, token)}")
        return Terms(
            token=token,
            versions_url=url,
            version=version,
            roles=roles,
            endpoints=read_endpoints(details.data, version),
        )

    def _complete(
        self,
        connection: Connection,
        before: PartnerRecord,
        expecting: str,
        token_in: str,
        terms: Terms,
        asked_by: Caller | None = None,
    ) -> bool:
        now = self._clock()
        done = self._partners.complete(
            connection, before.id, expecting=expecting, token_in=token_in, terms=terms, now=now, asked_by=asked_by
        )
        if done:
            self._partners.told(connection, before.id, self._offer(terms.version))
        moved = (before.version, sorted(before.endpoints, key=str)) != (
            terms.version,
            sorted(map(dict, terms.endpoints), key=str),
        )
        if done and (before.state is not PartnerState.REGISTERED or moved):
            resync(connection, before.id, now)  # PU-18
        if done and before.version != terms.version:
            self._partners.pulled(connection, before.id, None)  # its cards have other words now
        return done

    def _leave(self, connection: Connection, partner_id: int) -> None:
        self._partners.leave(connection, partner_id)
        # Whoever pays for these cards is gone; a new registration reads them again.
        invalidate_all(connection, partner_id, self._clock())

    def _credentials(self, token: str) -> dict[str, Any]:
        return {
            "token": token,
            "url": self._versions_url,
            "roles": [
                {"role": "CPO", "country_code": country, "party_id": party, "business_details": {"name": name}}
                for country, party, name in self._our_roles
            ],
        }

    async def _partner(self, caller: Caller) -> PartnerRecord:
        return await asyncio.to_thread(self._read, caller.partner_id)

    async def _named(self, name: str) -> PartnerRecord:
        def read() -> PartnerRecord:
            with self._database.read() as connection:
                return self._partners.named(connection, name)

        try:
            return await asyncio.to_thread(read)
        except UnknownPartner:
            raise RegistrationFailed(f"There is no partner {name}.") from None

    def _read(self, partner_id: int) -> PartnerRecord:
        with self._database.read() as connection:
            return self._partners.get(connection, partner_id)

    async def _write(self, change: Callable[[Connection], T]) -> T:
        def write() -> T:
            with self._database.write() as connection:
                return change(connection)

        return await asyncio.to_thread(write)


def offers(versions: Any, version: str) -> bool:
    try:
        return bool(details_url(versions, (version,)))
    except Unusable:
        return False


def in_words_of(version: str, credentials: Mapping[str, Any], our_party: Party) -> Mapping[str, Any]:
    return credentials_to_211(credentials, our_party) if version == v211.VERSION else credentials


def in_221(version: str, body: Any) -> Any:
    return credentials_from_211(body) if version == v211.VERSION and isinstance(body, Mapping) else body


def surely_refused(reply: Reply) -> bool:
    """The partner has not taken our credentials. No answer, or one that is none of OCPI's, may come of one that has."""
    if reply.status_code is not None or reply.delivery is Delivery.UNREACHABLE:
        return not reply.ok
    return reply.http_status is not None and 400 <= reply.http_status < 500


def said(reply: Reply, *secrets: str) -> str:
    """What came back, in a few words; a token that the other side repeats is not among them."""
    if reply.http_status is None:
        return reply.status_message
    words = without_tokens(reply.status_message, *secrets)[:200]
    code = "no OCPI answer" if reply.status_code is None else f"OCPI {reply.status_code}"
    return f"HTTP {reply.http_status}, {code} ({words})" if words else f"HTTP {reply.http_status}, {code}"
