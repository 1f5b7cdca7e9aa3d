"""The changes that `make mutants` makes, and how it tells which of them a test notices."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import mutants
import pymysql
import pytest
from leftovers import end_what_is_left
from mutations import Mutant, Source
from private_server import MortalServer

pytestmark = pytest.mark.once

PYTHON = '''
"""A module."""
from __future__ import annotations

import os

LIMIT = 3


def clip(values: list[int], most: int = 9) -> list[int]:
    """Give what is small enough."""
    total: int = 0
    found = []
    for value in values:
        if value < 0 or value > most:
            continue
        total += value
        if not total <= 20 and value != 5:
            break
        found.append(-value if value % 2 else value)
    while len(found) > LIMIT:
        del found[-1]
    return found
'''
CYTHON = """\
cdef int add(const char* data) except -1:
    cdef int first = data[0], second
    if first == c"a" and <int>data[1] < 3:
        return 1
    return 0
"""
CHANGES = {
    "LIMIT = 3": {"3 -> 4", "3 -> 2"},
    "total: int = 0": {"0 -> 1"},
    "continue": {"-> break"},
    "total += value": {"+= -> -=", "-> pass"},
    "if value < 0 or value > most:": {
        "value < 0 or value > most -> True",
        "value < 0 or value > most -> False",
        "value < 0 -> False",
        "value > most -> False",
        "< -> <=",
        "> -> >=",
        "0 -> 1",
        "or -> and",
    },
    "return found": {"found -> None", "-> pass"},
}


def noticing(mutants: list[Mutant], code: str) -> set[str]:
    return {mutant.change for mutant in mutants if mutant.code == code}


def outcome(program: str, chosen: int) -> Any:
    names: dict[str, Any] = {}
    try:
        exec(program, names)
        if chosen:
            names["_choose_mutant"](chosen)
        return [
            names["clip"](values) for values in ([1, 2, -3, 0], [9, 10, 8, 5, 4], [5, 5, 5, 6, 7])
        ]
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("code", CHANGES)
def test_statement_is_changed_in_each_place(code: str) -> None:
    source = Source(".py", PYTHON)

    assert noticing(source.mutants, code) == CHANGES[code]


def test_docstrings_imports_and_annotations_are_left_alone() -> None:
    changed = {mutant.code for mutant in Source(".py", PYTHON).mutants}

    assert not [code for code in changed if '"""' in code or "import" in code]
    assert "def clip(values: list[int], most: int = 9) -> list[int]:" in changed  # its default


def test_one_text_does_what_each_changed_text_does() -> None:
    source = Source(".py", PYTHON)
    text, _ = source.switched()

    assert outcome(text, 0) == outcome(PYTHON, 0) == [[-1, 2, 0], [-9, 8, -5], [-5, -5, -5]]
    for mutant in source.mutants:
        if not mutant.alone:
            assert outcome(text, mutant.number) == outcome(source.changed(mutant), 0), mutant


def test_casts_and_types_of_cython_are_left_alone() -> None:
    changes = {(mutant.code, mutant.change) for mutant in Source(".pyx", CYTHON).mutants}
    condition = 'if first == c"a" and <int>data[1] < 3:'

    assert (condition, "< -> <=") in changes and (condition, 'c"a" -> c"b"') in changes
    assert (condition, "< -> <= #2") not in changes
    assert "return 0" not in {code for code, _ in changes}


def test_declaration_of_cython_is_parted_from_its_assignment() -> None:
    text, _ = Source(".pyx", CYTHON).switched()

    assert "    cdef int first, second\n    if _at(1, 1):" in text
    assert "    else:\n     first = data[0]\n" in text


def test_lines_of_the_one_text_belong_to_their_changes() -> None:
    source = Source(".pyx", CYTHON)
    text, lines = source.switched()
    written = text.splitlines()

    for line, number in lines.items():
        assert source.mutants[number - 1].edit.text in written[line - 1]
    assert not [line for line in source.switched({1})[1].values() if line == 1]


TEST = """
from aiomysqlx.wire._row_py import BaseMetadata, BaseRow

def test_length():
    assert len(BaseRow(BaseMetadata({}, {}), (1, 2))) == 2
"""


def test_run_tells_what_is_noticed_from_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "WORK", tmp_path / "work")
    tests = tmp_path / "test_little.py"
    tests.write_text(TEST)
    programs = Path(sys.executable).parent
    settings = mutants.Settings(programs, time.time() + 60, seconds=9, sample=0, seed=0)
    trial = mutants.Trial("wire/_row_py.py", [tests], settings, "__len__|as_tuple")

    trial.run_together()

    assert {mutant.function for mutant in trial.survivors} == {"BaseRow.as_tuple"}
    killers = {trial.results[mutant.key] for mutant in trial.mutants}
    assert killers == {None, "test_little.py::test_length"}
    assert mutants.Trial("wire/_row_py.py", [tests], settings).results == trial.results


@pytest.mark.server
def test_what_a_killed_process_has_left_on_its_server_is_ended(own_server: MortalServer) -> None:
    own_server.revive()
    server = own_server.server
    connect: Any = partial(
        pymysql.connect, host=server.host, port=server.port, user=server.user, database="test"
    )
    idle, gone = connect(), connect()
    idle.query("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    for sql in ("XA START {}", "INSERT INTO t VALUES (1)", "XA END {}", "XA PREPARE {}"):
        gone.query(sql.format("'x', 'y', 3"))
    gone.close()
    idle.query("INSERT INTO t VALUES (2)")

    end_what_is_left(server)

    with pytest.raises(pymysql.err.OperationalError):
        idle.query("SELECT 1")
    with connect() as admin, admin.cursor() as cursor:
        assert cursor.execute("XA RECOVER") == 0
        assert cursor.execute("SELECT * FROM t FOR UPDATE NOWAIT") == 0
        cursor.execute("DROP TABLE t")
