"""Fixtures of SQLAlchemy's `AsyncEngine` on this package's driver."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


@pytest.fixture
def async_url(url: str) -> str:
    """The URL of the test's database for `create_async_engine()`."""
    return url.replace("mysql:", "mysql+aiomysqlx:")


@pytest.fixture
async def async_engine(async_url: str) -> AsyncIterator[AsyncEngine]:
    """An `AsyncEngine` on this package's driver."""
    engine = create_async_engine(async_url)
    yield engine
    await engine.dispose()
