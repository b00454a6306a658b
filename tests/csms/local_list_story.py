"""A strict station that keeps a list of cards, and what every story of such a list begins with."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import update

from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    GetLocalListVersion,
    ListedToken,
    ListVersionAnswer,
    Outcome,
    SendLocalList,
)
from csms.events import AuthorizationReply, AuthorizationStatus
from csms.local_list import lists
from csms.local_list.plan import Limits
from csms.local_list.push import ListPush
from csms.models import LocalList, Station
from tests.csms.core_story import Story

GOOD = AuthorizationReply(status=AuthorizationStatus.ACCEPTED)


class Box:
    """A strict station: no list longer than it keeps, no message longer than it takes, no version that does not rise."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.version = 0
        self.entries: dict[str, ListedToken] = {}

    def take(self, update: SendLocalList) -> Outcome:
        if len(update.entries) > self.limits.message_length:
            return Outcome.FAILED
        if not update.full and update.version <= self.version:
            return Outcome.VERSION_MISMATCH
        if update.full:
            self.entries = {}
        for entry in update.entries:
            if entry.authorization is None:
                self.entries.pop(entry.id_token.casefold(), None)
            else:
                self.entries[entry.id_token.casefold()] = entry
            if len(self.entries) > self.limits.list_length:
                return Outcome.FAILED
        self.version = update.version
        return Outcome.ACCEPTED


def listed(*cards: str, authorization: AuthorizationReply = GOOD) -> list[ListedToken]:
    return [ListedToken(id_token=card, authorization=authorization) for card in cards]


class Charger(Box):
    """A station with settings; `answers` are what it says instead, one after the other, to what is in it."""

    def __init__(self, limits: Limits | None = None, **settings: str) -> None:
        super().__init__(limits or Limits())
        self.settings = {"LocalAuthListEnabled": "true"} | settings
        if limits is not None:
            self.settings |= {
                "LocalAuthListMaxLength": str(limits.list_length),
                "SendLocalListMaxLength": str(limits.message_length),
            }
        self.sent: list[Any] = []
        self.answers: dict[type, list[Answer]] = {}

    async def send(self, command: Any, /, *, timeout_s: float) -> Any:
        await asyncio.sleep(0)
        self.sent.append(command)
        instead = self.answers.get(type(command))
        if instead:
            return instead.pop(0)
        match command:
            case GetConfiguration():
                known = {key: self.settings[key] for key in command.keys if key in self.settings}
                rows = tuple(ConfigurationSetting(key=key, value=value) for key, value in known.items())
                return ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=rows)
            case ChangeConfiguration():
                self.settings[command.key] = command.value
                return Answer(outcome=Outcome.ACCEPTED)
            case GetLocalListVersion():
                return ListVersionAnswer(outcome=Outcome.ACCEPTED, version=self.version)
            case SendLocalList():
                return Answer(outcome=self.take(command))
        raise AssertionError(command)

    def updates(self) -> list[SendLocalList]:
        return [command for command in self.sent if isinstance(command, SendLocalList)]


def connected(story: Story, *station_ids: str, here: bool = True) -> None:
    with story.database.write() as connection:
        values = {"connection_id": "c" if here else None, "connected_at": story.now, "registered": "accepted"}
        connection.execute(update(Station).where(Station.station_id.in_(station_ids)).values(**values))


def enabled(story: Story, *station_ids: str) -> None:
    with story.database.write() as connection:
        for station_id in station_ids:
            lists.enable(connection, station_id, story.now)


def ready(story: Story, *cards: str) -> None:
    """A station that is there, with a list, and these cards."""
    story.site("CP1")
    for card in cards:
        story.card(card)
    connected(story, "CP1")
    enabled(story, "CP1")


def push_of(story: Story, charger: Charger, **options: Any) -> ListPush:
    return ListPush(story.database, send=charger.send, clock=lambda: story.now, **{"prepare_every_s": 0, **options})


async def round_of(push: ListPush) -> int:
    """Tells whoever is due; returns how many."""
    jobs = await push.due()
    await asyncio.gather(*(push.tell(job) for job in jobs))
    return len(jobs)


def row_of(story: Story, station_id: str = "CP1") -> Any:
    (row,) = story.rows(LocalList, LocalList.station_id == station_id)
    return row


def shape(updates: Sequence[SendLocalList]) -> list[tuple[int, bool, list[str]]]:
    return [(one.version, one.full, [entry.id_token for entry in one.entries]) for one in updates]
