"""What SQLAlchemy's `inspect()`, and with it reflection, says of what is not its own."""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.inspection import _inspects

from .connection import SAConnection
from .engine import Engine
from .exc import InvalidRequestError
from .runtime.printable import type_name


class InspectionError(InvalidRequestError, NoInspectionAvailable):
    """An engine or a connection of this package was given to `inspect()` or to reflection."""


@_inspects(Engine, SAConnection)
def _refuse(subject: Any) -> NoReturn:
    raise InspectionError(
        "inspect(), reflect() and autoload_with= take one of SQLAlchemy's own engines or"
        f" connections, got {type_name(type(subject))}: make one with"
        " sqlalchemy.create_engine('mysql+pymysql://…'), and use it before the event loop runs, or"
        " in asyncio.to_thread()"
    )
