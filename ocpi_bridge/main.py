"""One role of the service runs as this process: told how to log, with room for every charger, until it is asked to leave."""

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
import uvloop

from ocpi_bridge import memory
from ocpi_bridge.collector import spare_the_collector
from ocpi_bridge.settings import Settings, advice

log = structlog.get_logger(__name__)

OPEN_FILES = 200_000  # ten thousand chargers, and then some


class Role(Protocol):
    """`start` returns when it serves and raises when it cannot; `stop` when all that was taken is done or handed back."""

    @property
    def ports(self) -> Mapping[str, int]: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def run(make: Callable[[Settings], Role], settings: Settings, *, ignored: Sequence[str] = ()) -> None:
    """Until SIGTERM or SIGINT. `ignored`: variables that are set and mean nothing to this role."""
    memory.keep_little()
    configure_logging()
    allow_many_files()
    for name in settings.unknown:
        log.warning("unknown_setting", advice=advice(name))
    for risk in settings.risks:
        log.warning("risky_setting", advice=risk)
    for name in ignored:
        log.warning("setting_not_acted_on", name=name)
    uvloop.run(_run(make, settings))


async def _run(make: Callable[[Settings], Role], settings: Settings) -> None:
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    role = make(settings)
    await role.start()
    spare_the_collector()
    memory.give_back()
    log.info("ready", **{f"{name}_port": port for name, port in role.ports.items()}, public_url=settings.public_url)
    await leave.wait()
    log.info("leaving")
    await role.stop()


def configure_logging(level: int = logging.INFO) -> None:
    """Lines of JSON where nobody watches, colours where somebody does; on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    human = sys.stderr.isatty()
    # structlog's own way of showing an exception tells the values of variables, and so tokens.
    shown = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = shown if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if human else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def allow_many_files() -> None:
    """Raise the limit of open files as far as we may: each charger is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
