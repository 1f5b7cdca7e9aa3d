"""What importing the package brings along, in a Python that has not imported it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from programs import RunProgram

import aiomysqlx

LOADED = "[name for name in sys.modules if name.startswith('sqlalchemy.dialects.')]"


Answer = Callable[..., Any]
OTHERS = "asyncio, aiomysql, sqlalchemy"


@pytest.fixture
def answer(run_program: RunProgram) -> Answer:
    """What runs code where others have been imported, and gives what it prints, JSON."""

    def answer(code: str, imports: str = OTHERS) -> Any:
        program = f"import json, sys\n{code}"
        done = run_program(program, options=("-W", "error"), imports=imports)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return answer


# By the statement that opens a door: what belongs to another.
OF_OTHERS = {
    "import aiomysqlx": ("sqlalchemy", "aiomysqlx.driver", "aiomysqlx.engine"),
    "from aiomysqlx import connect": ("sqlalchemy", "aiomysqlx.engine", "aiomysqlx.pool"),
    "from aiomysqlx import create_pool": ("sqlalchemy", "aiomysqlx.connection", "aiomysqlx.engine"),
    "import aiomysqlx.dialect": (
        *("aiomysqlx.connection", "aiomysqlx.engine"),
        *("aiomysqlx.pool", "aiomysqlx.sql.plan", "aiomysqlx.sql.planner"),
    ),
    "from aiomysqlx import create_engine": ("aiomysqlx.adapted", "aiomysqlx.lender"),
}


@pytest.mark.parametrize("statement", OF_OTHERS)
def test_each_door_loads_nothing_of_the_others(answer: Answer, statement: str) -> None:
    wanted = f"[name for name in {OF_OTHERS[statement]} if name in sys.modules]"

    assert answer(f"{statement}\nprint(json.dumps({wanted}))", imports="asyncio") == []


def test_every_name_is_there_without_another_import(answer: Answer) -> None:
    code = """
import aiomysqlx
missing = [name for name in aiomysqlx.__all__ if not hasattr(aiomysqlx, name)]
unlisted = [name for name in aiomysqlx.__all__ if name not in dir(aiomysqlx)]
modules = ["connection", "cursor", "cursors", "driver", "engine", "exc", "result", "sa"]
modules += ["pool", "transaction", "url"]
missing += [name for name in modules if getattr(aiomysqlx, name).__name__ != f"aiomysqlx.{name}"]
print(json.dumps([missing, unlisted]))
"""

    assert answer(code) == [[], []]


@pytest.mark.parametrize(
    "module", ["aiomysqlx", *(f"aiomysqlx.{name}" for name in ("engine", "sql.planner", "result"))]
)
def test_import_leaves_sqlalchemys_dialects_for_later(answer: Answer, module: str) -> None:
    assert answer(f"import {module}\nprint(json.dumps({LOADED}))") == []


@pytest.mark.parametrize(
    "use",
    [
        "from aiomysqlx.engine import _dialect",
        "import aiomysqlx; aiomysqlx.engine._dialect",
        "import aiomysqlx; aiomysqlx.create_engine(host='nowhere.invalid').close()",
    ],
    ids=["imported", "looked-up", "engine"],
)
def test_dialects_come_with_their_first_use(answer: Answer, use: str) -> None:
    assert "sqlalchemy.dialects.mysql.pymysql" in answer(f"{use}\nprint(json.dumps({LOADED}))")


@pytest.mark.parametrize(
    "module",
    [
        *("aiomysqlx.argument_types", "aiomysqlx.engine_types", "aiomysqlx.pool.keeper"),
        *("aiomysqlx.shared_connection", "aiomysqlx.sharing", "aiomysqlx.url", "aiomysqlx.xa"),
        *("aiomysqlx.sql.batch", "aiomysqlx.sql.groups", "aiomysqlx.wire.turns"),
        *("aiomysqlx.adapted", "aiomysqlx.ddl", "aiomysqlx.dialect", "aiomysqlx.wire.filenames"),
        *("sqlalchemy.connectors.asyncio", "sqlalchemy.ext.asyncio"),
        *(f"aiomysqlx.wire.{name}" for name in ("ed25519", "hints", "infile", "kill")),
        *("aiomysqlx.wire.tls_errors", "aiomysqlx.wire.tls_options"),
        *(
            f"aiomysqlx.wire.{name}"
            for name in ("gtids", "pipeline", "pipelining", "spans", "summary")
        ),
        *(
            f"aiomysqlx.{name}"
            for name in ("cursors", "holding", "pipeline", "stream", "telemetry")
        ),
        *(
            "aiomysqlx.wire.optionfile",
            "pymysql.constants.FLAG",
            "concurrent.futures.thread",
            "difflib",
            "encodings.ascii",
        ),
    ],
)
def test_import_leaves_for_later_what_few_need(answer: Answer, module: str) -> None:
    code = "import asyncio, aiomysql, sqlalchemy, aiomysqlx.engine"

    assert answer(f"{code}\nprint(json.dumps({module!r} in sys.modules))") is False


OF_OPENING = [
    *("aiomysqlx.hooks", "aiomysqlx.settings", "aiomysqlx.upkeep"),
    *(f"aiomysqlx.wire.{name}" for name in ("addresses", "auth", "dialing", "greeting", "hosts")),
    *(f"aiomysqlx.wire.{name}" for name in ("login", "opening", "option", "options")),
    *("aiomysqlx.wire.session_setup", "aiomysqlx.wire.settling"),
]


def test_import_leaves_what_opens_connections_to_the_first_of_them(answer: Answer) -> None:
    code = (
        f"import aiomysqlx.engine\nprint(json.dumps([n for n in {OF_OPENING} if n in sys.modules]))"
    )

    assert answer(code) == []


def test_what_opens_connections_comes_with_an_engine(answer: Answer) -> None:
    code = f"""
import asyncio, aiomysqlx
async def main():
    try:
        await aiomysqlx.create_engine(host="nowhere.invalid")
    except aiomysqlx.OperationalError:
        return [name for name in {OF_OPENING} if name not in sys.modules]
print(json.dumps(asyncio.run(main())))
"""

    assert answer(code) == []


def test_import_compiles_nothing_that_takes_its_time(answer: Answer) -> None:
    code = """
import asyncio, aiomysql, sqlalchemy
import dataclasses, inspect, re, typing
made = []
def count(module, name):
    make = getattr(module, name)
    def counting(*args, **kwargs):
        made.append(name)
        return make(*args, **kwargs)
    setattr(module, name, counting)
count(re, "compile")
count(inspect, "signature")
count(dataclasses, "_process_class")
count(typing._TypedDictMeta, "__new__")
count(typing.NamedTupleMeta, "__new__")
import aiomysqlx.engine
print(json.dumps(made))
"""
    of_the_escaper = [] if aiomysqlx.IMPLEMENTATION == "cython" else ["compile"]

    assert answer(code) == of_the_escaper  # every statement needs it


def test_compiled_build_leaves_the_python_twins_for_later(answer: Answer) -> None:
    code = (
        "import aiomysqlx.engine\nprint(json.dumps([n for n in sys.modules if n.endswith('_py')]))"
    )
    pure = [f"aiomysqlx.wire._{piece}_py" for piece in ("escape", "packet", "row", "binary")]

    assert answer(code) == ([] if aiomysqlx.IMPLEMENTATION == "cython" else pure)


def test_default_dialect_is_one_object(answer: Answer) -> None:
    code = "from aiomysqlx import engine\nprint(json.dumps(engine._dialect is engine._dialect))"

    assert answer(code) is True


def test_dialect_that_is_none_is_refused_without_an_engine_before(answer: Answer) -> None:
    code = (
        "import aiomysqlx\n"
        "try: aiomysqlx.create_engine(dialect=5)\n"
        "except aiomysqlx.ArgumentError as error: print(json.dumps(str(error)))"
    )

    assert answer(code) == "argument 'dialect' takes a MySQL dialect, not 5"


def test_other_names_of_the_engine_module_are_missing() -> None:
    with pytest.raises(AttributeError, match=r"^module 'aiomysqlx.engine' has no attribute 'nope'"):
        _ = aiomysqlx.engine.nope  # type: ignore[attr-defined]


NAMELESS = """
import getpass, os, pwd
for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
def nameless(uid):
    raise KeyError(uid)
pwd.getpwuid = nameless
"""
# What getpass.getuser() raises there is of Python's version.
RAISES = """
def nobody():
    raise {}("No username set in the environment")
getpass.getuser = nobody
"""


@pytest.mark.parametrize("error", ["", "KeyError", "OSError", "ImportError"])
def test_import_needs_no_user_name(answer: Answer, error: str) -> None:
    code = NAMELESS + (RAISES.format(error) if error else "")
    code += (
        "get_user = getpass.getuser\n"
        "import aiomysqlx, asyncio\n"
        "async def user(): return aiomysqlx.Connection(user='me').user\n"
        "same = getpass.getuser is get_user\n"
        "print(json.dumps([asyncio.run(user()), same]))"
    )

    assert answer(code, imports="asyncio, sqlalchemy") == ["me", True]


@pytest.mark.parametrize("name", ["engine", "connection", "transaction", "result", "exc"])
def test_classes_are_where_aiomysql_sa_has_them(name: str) -> None:
    theirs = vars(importlib.import_module(f"aiomysql.sa.{name}")).values()
    classes = [each for each in theirs if isinstance(each, type)]
    public = {each.__name__ for each in classes if each.__module__.startswith("aiomysql.sa.")}

    missing = {each for each in public if each[0] != "_"} - vars(
        importlib.import_module(f"aiomysqlx.{name}")
    ).keys()

    assert missing <= {"MySQLCompiler_pymysql"}  # what its own dialect, of SQLAlchemy 1.3, has
