"""The examples of Starlette and aiohttp: applications answer as they should."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from watch import check_capacity

import aiomysqlx as sa

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


@pytest.mark.needs("aiohttp")
@pytest.mark.usefixtures("quiet")
async def test_aiohttp_requests_that_are_cut_off_leave_others_their_rows(
    connect_kwargs: dict[str, Any],
) -> None:
    import aiohttp
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    chance = random.Random(2)

    async def answer(request: web.Request) -> web.Response:
        tag = int(request.query["tag"])
        async with engine.acquire() as conn, conn.begin():
            await conn.execute("SELECT SLEEP(%s)", (chance.random() / 300,))
            return web.json_response(await conn.scalar("SELECT %s", (tag,)))

    async def ask(tag: int) -> bool:
        limit = aiohttp.ClientTimeout(chance.choice([0.005, 0.02, 20]))
        try:
            async with client.get("/", params={"tag": tag}, timeout=limit) as response:
                assert await response.json() == tag
        except asyncio.TimeoutError:
            return False
        return True

    app = web.Application()
    app.router.add_get("/", answer)
    async with sa.create_engine(**connect_kwargs, minsize=0, maxsize=4) as engine:
        async with TestClient(TestServer(app)) as client:
            answered = [
                await asyncio.gather(*(ask(tag) for tag in range(first, first + 20)))
                for first in range(0, 400, 20)
            ]
        await asyncio.wait_for(check_capacity(engine, 4), 20)
    assert {True, False} == {got for each in answered for got in each}
