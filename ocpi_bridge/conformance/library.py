"""py_ocpi, loaded without the environment's settings, silent, and reading values as OCPI writes them."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, BaseSettings
from pydantic.fields import ModelField

from adapters.datatypes import moment
from ocpi_bridge.conformance import values

log = structlog.get_logger(__name__)

DISTRIBUTION = "extrawest-ocpi"
REPAIRED_VERSION = "2025.7.16"
URL_LENGTH = 255
SHORTEST_NAME, TOLERATED = 36, 255
EMSP_ROUTES = re.compile(r"py_ocpi\.modules\.\w+\.v_\w+\.api\.emsp")

SETTINGS = {
    "ENVIRONMENT": "production",
    "NO_AUTH": False,
    "BACKEND_CORS_ORIGINS": [],
    "TRAILING_SLASH": False,
    "CI_STRING_LOWERCASE_PREFERENCE": False,
}


class UnknownPyOcpi(RuntimeError):
    """Another py_ocpi than the one whose deviations are known here."""


def load() -> None:
    """Imports py_ocpi and repairs it; repeating it changes nothing."""
    installed = version(DISTRIBUTION)
    if installed != REPAIRED_VERSION:
        raise UnknownPyOcpi(f"{DISTRIBUTION} {installed} is installed; the repairs were made for {REPAIRED_VERSION}")
    if "py_ocpi" not in sys.modules:
        with settings_from_code_only(), without_emsp_routes():
            import py_ocpi  # noqa: F401
    tame()
    repair_values()


@contextmanager
def settings_from_code_only() -> Iterator[None]:
    """Its settings have no prefix, so a NO_AUTH, an ENVIRONMENT or a .env of somebody else's would steer or break it."""
    read = BaseSettings._build_values
    BaseSettings._build_values = lambda _self, init_kwargs, *_args, **_kwargs: init_kwargs  # type: ignore[method-assign]
    try:
        yield
    finally:
        BaseSettings._build_values = read  # type: ignore[method-assign]


class EmptyRouters(MetaPathFinder, Loader):
    """Finds the modules that hold the routes of an eMSP, and leaves them without any."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if EMSP_ROUTES.fullmatch(fullname) else None

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        module.router = APIRouter()


@contextmanager
def without_emsp_routes() -> Iterator[None]:
    """We are a CPO, and to build what is never served is a fifth of the work of starting."""
    empty = EmptyRouters()
    sys.meta_path.insert(0, empty)
    try:
        yield
    finally:
        sys.meta_path.remove(empty)


def tame() -> None:
    from py_ocpi.core.config import logger, settings

    for name, value in SETTINGS.items():
        setattr(settings, name, value)
    # It writes credentials at DEBUG and whole token uids at INFO to a handler of its own.
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.CRITICAL + 1)


def repair_values() -> None:
    """Replaces the validators and makes every field of every py_ocpi model take them: fields hold what they found when
    their model was built."""
    from py_ocpi.core import data_types
    from py_ocpi.core.routers import ROUTERS  # noqa: F401 - the models exist once the routers are imported

    data_types.StringBase.validate = classmethod(read_string)
    data_types.CiStringBase.validate = classmethod(read_cistring)
    data_types.URL.validate = classmethod(read_url)
    data_types.DateTime.validate = classmethod(read_datetime)
    for model in models(BaseModel):
        for field in model.__fields__.values():
            for each in with_parts(field):
                each.populate_validators()


def models(parent: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in parent.__subclasses__():
        yield from models(model)
        if model.__module__.startswith("py_ocpi."):
            yield model


def with_parts(field: ModelField) -> Iterator[ModelField]:
    for part in field.sub_fields or ():
        yield from with_parts(part)
    yield field


def read_string(cls: Any, value: object) -> Any:
    return cls(printable(value, cls.max_length))


def read_url(cls: Any, value: object) -> Any:
    return cls(printable(value, URL_LENGTH))


def read_cistring(cls: Any, value: object) -> Any:
    if not isinstance(value, str):
        raise TypeError("must be a string")
    if not values.PRINTABLE_ASCII.fullmatch(value):
        raise ValueError("holds characters that are not printable ASCII")
    at_most(cls.max_length, value)
    return cls(value)


def read_datetime(cls: Any, value: object) -> Any:
    if not isinstance(value, str):
        raise TypeError("must be a DateTime string")
    return cls(moment(values.read_datetime(value)))


def printable(value: object, max_length: int) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a string")
    if values.NOT_PRINTABLE.search(value):
        raise ValueError("holds control characters")
    at_most(max_length, value)
    return value


def at_most(length: int, text: str) -> None:
    """A name or id that is longer than the specification allows, but not out of all measure, does no harm: it is cut where it
    is sent on (TY-07)."""
    if len(text) > (max(length, TOLERATED) if length >= SHORTEST_NAME else length):
        raise ValueError(f"is longer than {length} characters")
    if len(text) > length:
        log.warning("ocpi_text_too_long", allowed=length, length=len(text))
