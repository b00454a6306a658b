"""What Redis must keep is what it is set to keep: asked once, at the start, and told to the operator in words."""

from collections.abc import Mapping, Sequence
from typing import Final

from csms.bus.client import AWAY, Client

OLDEST: Final = (7, 0)
ASKED: Final = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


async def doubts(client: Client) -> Sequence[str]:
    """Reasons why what Redis confirmed may be gone all the same. Raises redis.exceptions.RedisError when it is not there."""
    server = await client.ask("INFO", "server")
    try:
        answer = await client.ask("CONFIG", "GET", *ASKED)
    except AWAY:
        return [
            "Redis does not tell its settings (CONFIG GET): make sure that appendonly is yes and appendfsync always"
        ]
    settings = {_text(name): _text(value) for name, value in zip(answer[::2], answer[1::2], strict=True)}
    return judge(settings, version=str(server["redis_version"]))


def judge(settings: Mapping[str, str], *, version: str) -> Sequence[str]:
    told = []
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        told.append(f"Redis {version} is older than 7.0, which the bus needs")
    if settings.get("appendonly") != "yes":
        told.append(
            "appendonly is not yes: when Redis stops, chargers' messages that no worker has handled are lost to it, and wait "
            "for their gateways and chargers to say them again"
        )
    elif settings.get("appendfsync") == "no":
        told.append("appendfsync is no: when the machine stops, up to half a minute of messages may be gone")
    elif settings.get("appendfsync") == "everysec":
        told.append("appendfsync is everysec: when the machine stops, the messages of the last second may be gone")
    if settings.get("maxmemory", "0") != "0" and settings.get("maxmemory-policy") != "noeviction":
        told.append("maxmemory-policy is not noeviction: Redis may throw messages away when its memory is full")
    return told


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
