"""Both builds show users of the package the same: signatures, kinds of methods, copies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twins import twins

import aiomysqlx
from aiomysqlx.runtime.awaitable import CallbackContext

# What is told of each public class, and of an object of it, as far as it is the same in both.
SHOWS = r"""
import asyncio, collections.abc, copy, gc, inspect, json, pickle, re, sys, weakref
from unittest import mock
import aiomysqlx as sa

def told(call):
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def shown(cls):
    members = {"class": [each.__name__ for each in cls.__mro__ if each.__name__ != "BaseRow"]}
    for name in dir(cls):
        member = getattr(cls, name, None)
        if name.startswith("_"):
            continue
        if callable(member):
            kind = "async def" if inspect.iscoroutinefunction(member) else "def"
            signature = told(lambda: inspect.signature(member))
            doc = inspect.getdoc(member)  # a class of Python's keeps no indentation from 3.13 on
            members[name] = f"{kind} {name}{signature}: {member.__qualname__}, {doc}"
        else:
            described = inspect.isdatadescriptor(inspect.getattr_static(cls, name))
            members[name] = f"property {inspect.getdoc(member)}" if described else repr(member)
    members["abstract"] = [
        name for name in collections.abc.__all__ if issubclass(cls, getattr(collections.abc, name))
    ]
    return members

def does(value):
    cls = type(value)
    found = shown(cls)
    found["repr"] = re.sub("0x[0-9a-f]+", "0x", repr(value))
    found["weak"] = told(lambda: weakref.ref(value)() is value)
    found["dict"] = hasattr(value, "__dict__")
    found["new attribute"] = told(lambda: setattr(value, "x", 1))
    for way in (copy.copy, pickle.dumps):
        found[way.__name__] = told(lambda: type(way(value)).__name__)
    found["subclass"] = told(lambda: type("Sub", (cls,), {"x": 1}).x)
    found["slots"] = told(lambda: type("Sub", (cls,), {"__slots__": ("y",)}).__slots__)
    found["truth"] = bool(value), value == value, told(lambda: hash(value) == hash(value))
    for name in ("acquire", "release", "execute"):
        if hasattr(cls, name):
            spec = getattr(mock.create_autospec(value), name)
            found[f"mocked {name}"] = type(spec).__name__, str(told(lambda: spec(1, 2, a=3)))[:30]
    return found

async def main():
    async with sa.create_engine(**json.loads(sys.argv[1])) as engine, engine.acquire() as conn:
        result = await conn.execute("SELECT 1 AS a UNION SELECT 2")
        row = await result.fetchone()
        transaction, nested = await conn.begin(), await conn.begin_nested()
        contexts = engine.acquire(), conn.execute("SELECT 1"), result.fetchall(), conn.begin()
        values = (
            engine, conn, result, result.mappings(), row, row._mapping, transaction, nested,
            engine.stats(), conn.connection, conn.connection.cursor(), *contexts,
        )
        found = {}
        for value in values:
            found[type(value).__name__] = does(value)
        for context in contexts:
            context.close()
        copied = copy.copy(result)
        rows = await copied.fetchall()
        found["copied"] = [each.as_tuple() for each in rows], await result.fetchall()
        class Own(sa.ResultProxy):
            pass
        own = Own(conn)
        own.mine = []
        found["own"] = copy.copy(own).mine is own.mine
        await transaction.rollback()
    found["public"] = {
        name: shown(getattr(sa, name)) for name in sa.__all__ if inspect.isclass(getattr(sa, name))
    }
    print(json.dumps(found))

asyncio.run(main())
"""


def shown(implementation: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-c", SHOWS, json.dumps(kwargs)],
        capture_output=True,
        text=True,
        # The package of this run, not the sources in the folder it was started from.
        cwd="/",
        env={
            **os.environ,
            "AIOMYSQLX_IMPL": implementation,
            "PYTHONPATH": str(Path(aiomysqlx.__file__).parents[1]),
        },
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


@pytest.mark.server
def test_compiled_classes_show_and_do_what_the_python_ones_do(
    connect_kwargs: dict[str, Any],
) -> None:
    python = shown("python", connect_kwargs)

    for implementation in ["python", "cython"][: len(twins("row"))]:
        assert shown(implementation, connect_kwargs) == python


@pytest.mark.server
def test_result_is_copied_and_what_has_a_connection_is_not(connect_kwargs: dict[str, Any]) -> None:
    found = shown(aiomysqlx.IMPLEMENTATION, connect_kwargs)
    ways = {
        name: each["copy"]
        for name, each in found.items()
        if isinstance(each, dict) and name != "public"
    }

    refused = {name for name, way in ways.items() if "object cannot be copied or pickled" in way}

    contexts = {"Acquire", "Begin", "CallbackContext", "ExecuteContext"}
    assert refused == {"Engine", "SAConnection", "Connection", *contexts}
    assert ways["ResultProxy"] == "ResultProxy"
    assert found["copied"] == [[[2]], []]
    assert found["own"] is True


def test_awaitable_that_was_never_made_has_no_attributes() -> None:
    with pytest.raises(AttributeError):
        CallbackContext.__new__(CallbackContext).rows  # noqa: B018
