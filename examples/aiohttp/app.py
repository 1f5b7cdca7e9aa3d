"""aiohttp: what was written for aiomysql.sa, with `import aiomysqlx as sa`.

Run it with `python examples/aiohttp/app.py`.
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web
from pymysql.err import IntegrityError
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, select

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")

metadata = MetaData()
links = Table(
    "aiohttp_links",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(20), nullable=False, unique=True),
    Column("target", String(200), nullable=False),
    Column("visits", Integer, nullable=False, default=0),
)
by_name = select(links).where(links.c.name == bindparam("wanted"))
visit = links.update().where(links.c.id == bindparam("key")).values(visits=links.c.visits + 1)

ENGINE = web.AppKey("engine", sa.Engine)


async def engine(app: web.Application) -> AsyncIterator[None]:
    async with sa.create_engine(URL, maxsize=8) as app[ENGINE]:
        await app[ENGINE].create_all(metadata)
        yield


async def add_link(request: web.Request) -> web.Response:
    link = {"name": request.match_info["name"], "target": await request.text()}
    try:
        async with request.app[ENGINE].acquire() as conn, conn.begin():
            await conn.execute(links.insert(), link)
    except IntegrityError:
        raise web.HTTPConflict(text=f"{link['name']} is taken") from None
    return web.Response(status=201)


async def follow_link(request: web.Request) -> web.Response:
    async with request.app[ENGINE].acquire() as conn, conn.begin():
        link = await (await conn.execute(by_name, wanted=request.match_info["name"])).first()
        if link is None:
            raise web.HTTPNotFound
        await conn.execute(visit, key=link.id)
    raise web.HTTPFound(link.target)


async def show_links(request: web.Request) -> web.Response:
    async with request.app[ENGINE].acquire() as conn:
        return web.json_response(
            [row._asdict() async for row in conn.execute(select(links).order_by(links.c.name))]
        )


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(engine)
    app.add_routes(
        [
            web.get("/", show_links),
            web.put("/{name}", add_link),
            web.get("/{name}", follow_link),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(make_app())
