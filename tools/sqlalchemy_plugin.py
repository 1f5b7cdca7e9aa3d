"""A plugin of pytest's that acquaints SQLAlchemy's own tests with this package's dialect.

They know a dialect that is part of SQLAlchemy by the name of its driver. Of this one they learn
here: how databases are made for it, what it can do, how its server-side cursors are known, and
what is left out (`sqlalchemy_exclusions.py`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy_exclusions import EXCLUSIONS, UNLIKE_ASYNCMY

DRIVER = "aiomysqlx"
LIKE = "asyncmy"


# SQLAlchemy's plugin must be the first to import its modules: nothing of it at the top.


def pytest_configure() -> None:
    """Have the databases of MySQL and MariaDB made by what SQLAlchemy's own dialects use."""
    import_module("sqlalchemy.dialects.mysql.provision")


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Tell what this driver can do, before any test is asked what it needs."""
    exclusions: Any = import_module("sqlalchemy.testing.exclusions")
    requirements: Any = type(import_module("sqlalchemy.testing").requires)
    holds = exclusions.SpecPredicate.__call__

    def holds_for_us(predicate: Any, config: Any) -> bool:
        if holds(predicate, config):
            return True
        if predicate.db.rpartition("+")[2] != LIKE:
            return False
        named = exclusions.SpecPredicate(predicate.db.replace(LIKE, DRIVER))
        return bool(predicate.op is None and holds(named, config))

    exclusions.SpecPredicate.__call__ = holds_for_us
    for name in UNLIKE_ASYNCMY:
        setattr(requirements, name, exclusions.open())
    # Only now: it asks for what is required as it is imported.
    server_side: Any = import_module("sqlalchemy.testing.suite").ServerSideCursorsTest
    server_side._is_server_side = lambda _, cursor: cursor.server_side


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Expect what is left out to fail."""
    config: Any = import_module("sqlalchemy.testing.config")
    server, version = config.db.name, import_module("sqlalchemy").__version__
    for item in items:
        name = plain_name(item)
        for exclusion in EXCLUSIONS:
            if exclusion.applies(name, server, version):
                item.add_marker(pytest.mark.xfail(strict=True, reason=exclusion.reason))


def plain_name(item: Any) -> str:
    """Return the name of a test, without its parameters and the server that it runs on."""
    cls = getattr(item.cls, "_sa_orig_cls_name", item.cls.__name__)
    path = Path(item.path).relative_to(item.config.rootpath).as_posix()
    return f"{path}::{cls}::{item.originalname}"
