"""FastAPI: an AsyncSession for each request, which commits before the answer is sent.

Run it with `uvicorn --app-dir examples/fastapi app:app`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, PositiveInt
from sqlalchemy import String, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import aiomysqlx

URL = os.environ.get("AIOMYSQLX_URL", "mysql+aiomysqlx://root@127.0.0.1:3306/test")


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "fastapi_accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(40))
    balance: Mapped[int] = mapped_column(default=0)


class Transfer(Base):
    __tablename__ = "fastapi_transfers"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[int]
    target: Mapped[int]
    amount: Mapped[int]
    purpose: Mapped[str] = mapped_column(String(40))


class NewAccount(BaseModel):
    owner: str
    balance: int = 0


class NewTransfer(BaseModel):
    source: int
    target: int
    amount: PositiveInt
    purpose: str


class Statement(NewAccount):
    transfers: list[NewTransfer]


# Made once, so that it is compiled once.
transfers_of = (
    select(Transfer.source, Transfer.target, Transfer.amount, Transfer.purpose)
    .where((Transfer.source == bindparam("key")) | (Transfer.target == bindparam("key")))
    .order_by(Transfer.id)
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # Made here, as an engine belongs to the event loop that serves the requests.
    engine = create_async_engine(URL, pool_size=8)
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    yield
    await engine.dispose()


async def transaction(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions.begin() as session:
        yield session


app = FastAPI(lifespan=lifespan)
# "function": the commit comes before the answer. An error, HTTPException too, rolls back.
Session = Annotated[AsyncSession, Depends(transaction, scope="function")]


@app.post("/accounts", status_code=201)
async def open_account(new: NewAccount, session: Session) -> int:
    account = Account(**new.model_dump())
    session.add(account)
    await session.flush()
    return account.id


@app.get("/accounts/{key}")
async def show_account(key: int, session: Session) -> NewAccount:
    account = await session.get(Account, key)
    if account is None:
        raise HTTPException(404, "no such account")
    return NewAccount(owner=account.owner, balance=account.balance)


@app.post("/transfers", status_code=201)
async def transfer(new: NewTransfer, session: Session) -> int:
    both = select(Account).where(Account.id.in_([new.source, new.target]))
    # Always locked in the same order: transfers wait for each other, and never in a circle.
    locked = await session.scalars(both.order_by(Account.id).with_for_update())
    accounts = {account.id: account for account in locked}
    if accounts.keys() != {new.source, new.target}:
        raise HTTPException(404, "no such account")
    if accounts[new.source].balance < new.amount:
        raise HTTPException(409, "not enough money")
    accounts[new.source].balance -= new.amount
    accounts[new.target].balance += new.amount
    done = Transfer(**new.model_dump())
    session.add(done)
    await session.flush()
    return done.id


@app.get("/accounts/{key}/statement")
async def show_statement(key: int, session: Session) -> Statement:
    account = await show_account(key, session)
    # Many rows: by Core, without the ORM's price, on the session's connection in its transaction.
    async with aiomysqlx.native(session) as conn:
        rows = await (await conn.execute(transfers_of, key=key)).all()
    return Statement(**account.model_dump(), transfers=[NewTransfer(**row) for row in rows])
