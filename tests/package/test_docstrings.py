"""Every public name says what it is, and the twins say the same."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest
from twins import twins

import aiomysqlx

SOURCES = Path(__file__).resolve().parents[2] / "aiomysqlx"
# What imports OpenTelemetry, which not everybody has.
TRACING = ("aiomysqlx.telemetry", "aiomysqlx.wire.spans")
MODULES = [
    pytest.param(name, marks=pytest.mark.needs("opentelemetry.metrics") if name in TRACING else ())
    for _, name, _ in pkgutil.walk_packages(aiomysqlx.__path__, "aiomysqlx.")
    if not name.endswith("_cy")
]
PIECES = ["binary", "escape", "packet", "row"]

# A public class or function of a .pyx, or of a class in it, with its parameters and docstring.
CYTHON_DEFINITION = re.compile(
    r"^(?P<indent> {4})?(?P<kind>def|cpdef \w+|cdef class|class) "
    r"(?P<name>[a-z]\w*|[A-Z]\w*|__init__)"
    r"(?:\((?P<parameters>[^:]*?)\)(?: except -?\w+)?(?: -> [^:\n]+)?)?:\n"
    r'(?:\s*"""(?P<docstring>[^"\n]*))?',
    re.MULTILINE,
)


class Definition(NamedTuple):
    """What the twins have in common of a class, a function or a method."""

    name: str
    parameters: list[str]
    docstring: str


def public_members(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Give the classes and functions that a module defines, and what is public in the classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if not isinstance(value, (type, FunctionType)):
            continue
        yield name, value
        if isinstance(value, type):
            for member, attribute in vars(value).items():
                if not member.startswith("_") and isinstance(attribute, (FunctionType, property)):
                    yield f"{name}.{member}", getattr(value, member)


def first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def python_definitions(piece: str) -> list[Definition]:
    """Give the definitions of a Python twin, in their order."""
    found = []
    for node in ast.parse((SOURCES / "wire" / f"_{piece}_py.py").read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.append(python_definition(node))
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            found += [python_definition(method, f"{node.name}.") for method in methods]
    return found


def python_definition(node: ast.ClassDef | ast.FunctionDef, owner: str = "") -> Definition:
    parameters = []
    if isinstance(node, ast.FunctionDef):
        defaults = [None] * len(node.args.args) + list(node.args.defaults)
        pairs = zip(node.args.args, defaults[len(node.args.defaults) :], strict=True)
        parameters = [a.arg if d is None else f"{a.arg}={ast.unparse(d)}" for a, d in pairs]
    return Definition(owner + node.name, parameters, first_line(ast.get_docstring(node)))


def cython_definitions(piece: str) -> list[Definition]:
    """Give the public definitions of a compiled twin, in their order."""
    found = []
    owner = ""
    for match in CYTHON_DEFINITION.finditer((SOURCES / "wire" / f"_{piece}_cy.pyx").read_text()):
        name = match["name"]
        parameters = [cython_parameter(text) for text in (match["parameters"] or "").split(",")]
        if match["indent"]:
            name = f"{owner}.{name}"
        elif match["kind"].endswith("class"):
            owner = name
        found.append(Definition(name, [p for p in parameters if p], match["docstring"] or ""))
    return found


def cython_parameter(text: str) -> str:
    """Give a parameter without its C type."""
    name, equals, default = text.removesuffix(" not None").strip().partition("=")
    return f"{name.split()[-1]}{equals}{default}" if name else ""


def contract(piece: str) -> list[str]:
    """Give the names that `_impl` takes from the twins of a piece."""
    return re.findall(
        rf"^(\w+) = _{piece}\.\1$", (SOURCES / "wire" / "_impl.py").read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("name", sorted(aiomysqlx.__all__))
def test_public_names_say_what_they_are(name: str) -> None:
    value = getattr(aiomysqlx, name)

    assert isinstance(value, str) or inspect.getdoc(value)


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_their_public_members_have_docstrings(name: str) -> None:
    module = import_module(name)

    undocumented = [found for found, value in public_members(module) if not inspect.getdoc(value)]

    assert module.__doc__
    assert undocumented == []


@pytest.mark.parametrize("piece", PIECES)
def test_twins_have_every_name_of_the_contract(piece: str) -> None:
    names = contract(piece)

    assert names
    for twin in twins(piece):
        assert [name for name in names if not hasattr(twin, name)] == []


@pytest.mark.parametrize("piece", PIECES)
def test_stub_has_every_name_of_the_contract(piece: str) -> None:
    stub = ast.parse((SOURCES / "wire" / "_impl.pyi").read_text()).body
    described = {node.name for node in stub if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    described |= {ast.unparse(node.target) for node in stub if isinstance(node, ast.AnnAssign)}

    assert set(contract(piece)) <= described


@pytest.mark.parametrize("piece", PIECES)
def test_twins_define_the_same_in_the_same_order(piece: str) -> None:
    compiled = cython_definitions(piece)
    names = [definition.name for definition in compiled]

    pure = [
        definition
        for definition in python_definitions(piece)
        if definition.name in names or is_public_method(definition.name, names)
    ]

    assert compiled == pure


def is_public_method(name: str, owners: list[str]) -> bool:
    owner, _, method = name.partition(".")
    return owner in owners and bool(method) and not method.startswith("_")


@pytest.mark.parametrize("piece", PIECES)
def test_what_only_one_twin_defines_the_other_gives_out(piece: str) -> None:
    defined = {definition.name for definition in cython_definitions(piece)}

    missing = [name for name in contract(piece) if name not in defined]

    shared = twins(piece)[0]
    for twin in twins(piece):
        assert [name for name in missing if getattr(twin, name) is not getattr(shared, name)] == []


@pytest.mark.parametrize("piece", PIECES)
def test_twins_take_the_same_arguments_at_run_time(piece: str) -> None:
    functions = [name for name in contract(piece) if name.islower()]

    taken = [
        {name: list(inspect.signature(getattr(twin, name)).parameters) for name in functions}
        for twin in twins(piece)
    ]

    assert all(signatures == taken[0] for signatures in taken)
