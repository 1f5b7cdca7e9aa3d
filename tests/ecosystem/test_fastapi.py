"""The example of FastAPI: an application on an `AsyncSession` for each request, also under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from pymysql.cursors import DictCursor
from sqlalchemy import func, select

if TYPE_CHECKING:
    from fastapi import FastAPI
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
async def app(load: Callable[[str], ModuleType]) -> AsyncIterator[FastAPI]:
    """The application, which has started and is ended after the test, with no connection in use."""
    app = load("fastapi/app.py").app
    async with app.router.lifespan_context(app):
        yield app
        assert app.state.sessions.kw["bind"].pool.checkedout() == 0


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of the application."""
    from httpx2 import ASGITransport, AsyncClient

    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client


async def open_accounts(client: AsyncClient) -> list[int]:
    new = {"owner": "Ada", "balance": EACH}
    return [(await client.post("/accounts", json=new)).json() for _ in range(ACCOUNTS)]


def transfer(source: int, target: int, amount: int, purpose: str) -> dict[str, Any]:
    return {"source": source, "target": target, "amount": amount, "purpose": purpose}


def moved(account: int, transfers: Iterable[dict[str, Any]]) -> int:
    """Return by how much the transfers change the balance of an account."""
    return sum(
        each["amount"] * ((each["target"] == account) - (each["source"] == account))
        for each in transfers
    )


async def test_what_was_written_is_read(client: AsyncClient) -> None:
    source, target, *_ = await open_accounts(client)

    answer = await client.post("/transfers", json=transfer(source, target, 300, "rent"))

    assert answer.status_code == 201
    assert (await client.get(f"/accounts/{source}")).json() == {"owner": "Ada", "balance": 700}
    assert (await client.get(f"/accounts/{target}/statement")).json() == {
        "owner": "Ada",
        "balance": 1300,
        "transfers": [transfer(source, target, 300, "rent")],
    }


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

    async def answered(purpose: str, request: Coroutine[Any, Any, Response]) -> Any:
        running[purpose] = task = asyncio.create_task(request)
        await asyncio.wait([task])
        del running[purpose]
        if task.cancelled():
            given_up.add(purpose)
            return None
        if running and chance.random() < 0.5:
            chance.choice(list(running.values())).cancel()
        assert task.result().is_success, task.result().text
        return task.result().json()

    async def work() -> None:
        for number in numbers:
            purpose = f"{number}"
            source, target = chance.sample(accounts, 2)
            if number % 3 == 0:
                found = await answered(purpose, client.get(f"/accounts/{source}/statement"))
                assert found is None or found["balance"] == EACH + moved(source, found["transfers"])
                continue
            wanted = transfer(source, target, chance.randint(1, 50), purpose)
            key = await answered(purpose, client.post("/transfers", json=wanted))
            if key is not None:
                told[purpose] = key

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    with admin.cursor(DictCursor) as cursor:
        cursor.execute(f"SELECT * FROM {database}.fastapi_transfers")
        done = cursor.fetchall()
        cursor.execute(f"SELECT id, balance FROM {database}.fastapi_accounts")
        balances = {account["id"]: account["balance"] for account in cursor.fetchall()}
    keys = {each["purpose"]: each["id"] for each in done}
    assert len(keys) == len(done)
    assert told.items() <= keys.items()
    assert keys.keys() - told.keys() <= given_up
    assert len(given_up) > REQUESTS / 10
    assert balances == {account: EACH + moved(account, done) for account in accounts}


async def test_client_that_leaves_gives_its_connection_back(app: FastAPI) -> None:
    """A response in parts is cancelled where it is: in a statement, with its session open."""
    from fastapi.responses import StreamingResponse

    begun = asyncio.Event()

    @app.get("/slow")
    async def slow() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            async with app.state.sessions() as session:
                yield f"{await session.scalar(select(1))}"
                begun.set()
                yield f"{await session.scalar(select(func.sleep(30)))}"

        return StreamingResponse(parts())

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body"))

    scope = {"type": "http", "method": "GET", "path": "/slow", "query_string": b"", "headers": []}
    await app(scope, receive, send)

    assert sent == [None, b"1"]
