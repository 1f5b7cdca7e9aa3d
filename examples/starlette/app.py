"""Starlette: SQLAlchemy Core on an AsyncEngine, a transaction for what writes.

Run it with `uvicorn --app-dir examples/starlette app:app`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

URL = os.environ.get("AIOMYSQLX_URL", "mysql+aiomysqlx://root@127.0.0.1:3306/test")

metadata = MetaData()
notes = Table(
    "starlette_notes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(200), nullable=False),
    Column("written", DateTime, nullable=False, server_default=func.current_timestamp()),
)


class State(TypedDict):
    engine: AsyncEngine


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[State]:
    engine = create_async_engine(URL)
    async with engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
    yield {"engine": engine}
    await engine.dispose()


async def add_notes(request: Request) -> JSONResponse:
    texts = await request.json()
    async with request.state.engine.begin() as conn:  # all of them, or none
        await conn.execute(notes.insert(), [{"text": text} for text in texts])
    return JSONResponse(len(texts), 201)


async def show_note(request: Request) -> JSONResponse:
    wanted = select(notes).where(notes.c.id == request.path_params["key"])
    async with request.state.engine.connect() as conn:
        row = (await conn.execute(wanted)).first()
    if row is None:
        raise HTTPException(404, "no such note")
    return JSONResponse({"id": row.id, "text": row.text, "written": row.written.isoformat()})


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/notes", add_notes, methods=["POST"]),
        Route("/notes/{key:int}", show_note),
    ],
)
