"""The example of FastAPI: an application on an `AsyncSession` for each request, also under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

pytestmark = [
    pytest.mark.server,
    pytest.mark.once,
    pytest.mark.needs("fastapi", "httpx2"),
    pytest.mark.usefixtures("quiet"),
]

REQUESTS = 300
AT_ONCE = 32
ACCOUNTS = 10
EACH = 1000


@pytest.fixture
async def client(load: Callable[[str], ModuleType]) -> AsyncIterator[AsyncClient]:
    """A client of the application, which has started and is ended after the test."""
    from httpx2 import ASGITransport, AsyncClient

    app = load("fastapi/app.py").app
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://test") as client,
    ):
        yield client
        pool = app.state.sessions.kw["bind"].pool
        assert pool.checkedout() == 0


async def open_accounts(client: AsyncClient) -> list[int]:
    new = {"owner": "Ada", "balance": EACH}
    return [(await client.post("/accounts", json=new)).json() for _ in range(ACCOUNTS)]


def transfer(source: int, target: int, amount: int, purpose: str) -> dict[str, Any]:
    return {"source": source, "target": target, "amount": amount, "purpose": purpose}


async def test_what_was_written_is_read(client: AsyncClient) -> None:
    source, target, *_ = await open_accounts(client)

    answer = await client.post("/transfers", json=transfer(source, target, 300, "rent"))

    assert answer.status_code == 201
    assert (await client.get(f"/accounts/{source}")).json() == {"owner": "Ada", "balance": 700}
    assert (await client.get(f"/accounts/{target}")).json() == {"owner": "Ada", "balance": 1300}


async def test_refused_request_changes_nothing(client: AsyncClient) -> None:
    source, target, *_ = await open_accounts(client)

    answers = [
        await client.post("/transfers", json=transfer(source, target, EACH + 1, "too much")),
        await client.post("/transfers", json=transfer(source, 0, 1, "to nobody")),
        await client.get("/accounts/0"),
    ]

    assert [answer.status_code for answer in answers] == [409, 404, 404]
    assert (await client.get(f"/accounts/{source}")).json()["balance"] == EACH


async def test_no_transfer_is_lost_or_mixed_up_under_load(
    client: AsyncClient, admin: pymysql.Connection[Any], database: str
) -> None:
    """Each second answer has another request given up, wherever that one is on its way."""
    accounts = await open_accounts(client)
    chance = random.Random(7)
    numbers = iter(range(REQUESTS))
    running: dict[str, asyncio.Task[Response]] = {}
    told: dict[str, int] = {}
    given_up: set[str] = set()

    async def send() -> None:
        for number in numbers:
            purpose = f"{number}"
            source, target = chance.sample(accounts, 2)
            wanted = transfer(source, target, chance.randint(1, 50), purpose)
            request = asyncio.create_task(client.post("/transfers", json=wanted))
            running[purpose] = request
            await asyncio.wait([request])
            del running[purpose]
            if request.cancelled():
                given_up.add(purpose)
                continue
            assert request.result().status_code == 201, request.result().text
            told[purpose] = request.result().json()
            if running and chance.random() < 0.5:
                chance.choice(list(running.values())).cancel()

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))

    with admin.cursor() as cursor:
        cursor.execute(
            f"SELECT id, source, target, amount, purpose FROM {database}.fastapi_transfers"
        )
        done = cursor.fetchall()
        cursor.execute(f"SELECT id, balance FROM {database}.fastapi_accounts")
        balances = dict(cursor.fetchall())
    purposes = {purpose: key for key, *_, purpose in done}
    assert len(purposes) == len(done)
    assert told.items() <= purposes.items()
    assert purposes.keys() - told.keys() <= given_up
    assert len(given_up) > REQUESTS / 10
    moved = dict.fromkeys(accounts, EACH)
    for _, source, target, amount, _ in done:
        moved[source] -= amount
        moved[target] += amount
    assert balances == moved
