"""The examples of Starlette and aiohttp: applications answer as they should."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]

pytestmark = [pytest.mark.server, pytest.mark.once, pytest.mark.usefixtures("quiet")]


@pytest.mark.needs("httpx2", "starlette")
def test_starlette_keeps_notes(load: Load) -> None:
    from starlette.testclient import TestClient

    with TestClient(load("starlette/app.py").app) as client:
        answers = [
            client.post("/notes", json=["milk", "bread"]),
            client.get("/notes/2"),
            client.get("/notes/3"),
        ]

    assert [answer.status_code for answer in answers] == [201, 200, 404]
    assert answers[0].json() == 2
    note = answers[1].json()
    assert note.pop("written")
    assert note == {"id": 2, "text": "bread"}


@pytest.mark.needs("httpx2", "starlette")
def test_starlette_adds_all_notes_or_none(load: Load) -> None:
    from sqlalchemy.exc import DataError
    from starlette.testclient import TestClient

    with TestClient(load("starlette/app.py").app) as client:
        with pytest.raises(DataError, match="Data too long for column 'text'"):
            client.post("/notes", json=["milk", "x" * 201])

        assert client.get("/notes/1").status_code == 404


@pytest.mark.needs("aiohttp")
async def test_aiohttp_follows_links(load: Load) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    app = load("aiohttp/app.py").make_app()
    async with TestClient(TestServer(app)) as client:
        added = await client.put("/docs", data="https://docs.example")
        taken = await client.put("/docs", data="https://other.example")
        found = await client.get("/docs", allow_redirects=False)
        missing = await client.get("/no")
        shown = await (await client.get("/")).json()

    assert [answer.status for answer in (added, taken, found, missing)] == [201, 409, 302, 404]
    assert found.headers["Location"] == "https://docs.example"
    assert shown == [{"id": 1, "name": "docs", "target": "https://docs.example", "visits": 1}]
