"""The exceptions: their hierarchy, and the driver's errors that pass untouched."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pymysql import err

import aiomysqlx as sa
import aiomysqlx.sa
from aiomysqlx import exc


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        pytest.param(exc.Error, (err.Error,), id="Error"),
        pytest.param(exc.ArgumentError, (exc.Error,), id="ArgumentError"),
        pytest.param(exc.InvalidRequestError, (exc.ArgumentError,), id="InvalidRequestError"),
        pytest.param(
            exc.NoSuchColumnError, (KeyError, exc.InvalidRequestError), id="NoSuchColumnError"
        ),
        pytest.param(exc.ResourceClosedError, (exc.InvalidRequestError,), id="ResourceClosedError"),
    ],
)
def test_hierarchy_is_that_of_aiomysql_sa(
    error: type[Exception], bases: tuple[type[Exception], ...]
) -> None:
    assert error.__bases__ == bases
    assert getattr(sa.sa, error.__name__, None) in (error, None)
    assert getattr(exc, error.__name__) is error


def test_one_name_catches_the_servers_errors_and_those_of_the_package() -> None:
    assert sa.Error is err.Error is sa.Connection.Error
    assert issubclass(exc.Error, sa.Error)


def test_errors_of_the_package_are_not_taken_for_the_servers() -> None:
    assert not issubclass(exc.Error, exc.SERVER_ERRORS)
    assert not issubclass(exc.InvalidRequestError, exc.SERVER_ERRORS)
    assert issubclass(exc.StatementTimeoutError, exc.SERVER_ERRORS)


def test_error_has_a_sqlstate_whichever_base_initializes_it() -> None:
    assert exc.NoSuchColumnError("no column").sqlstate is None
    assert exc.AcquireTimeoutError("late").sqlstate is None


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(exc.NoSuchColumnError("no column")))

    assert type(error) is exc.NoSuchColumnError
    assert error.args == ("no column",)


@pytest.mark.server
@pytest.mark.parametrize(
    ("sql", "error", "code"),
    [
        pytest.param("SELEKT", err.ProgrammingError, 1064, id="syntax"),
        pytest.param("SELECT * FROM absent", err.ProgrammingError, 1146, id="no-table"),
        pytest.param("SELECT absent FROM t", err.OperationalError, 1054, id="no-column"),
        pytest.param("INSERT INTO t VALUES (1)", err.IntegrityError, 1062, id="duplicate"),
        pytest.param("INSERT INTO t VALUES (NULL)", err.IntegrityError, 1048, id="null"),
        pytest.param("INSERT INTO t VALUES (99999999999)", err.DataError, 1264, id="out-of-range"),
        pytest.param("", err.OperationalError, 1065, id="empty"),
        pytest.param("USE absent", err.OperationalError, 1049, id="no-database"),
    ],
)
async def test_server_errors_are_pymysqls(
    conn: sa.SAConnection, sql: str, error: type[Exception], code: int
) -> None:
    await conn.execute("CREATE TABLE t (id INT PRIMARY KEY)")
    await conn.execute("INSERT INTO t VALUES (1)")

    with pytest.raises(error) as caught:
        await conn.execute(sql)

    assert caught.value.args[0] == code
    assert type(caught.value).__module__ == "pymysql.err"
    assert await conn.scalar("SELECT COUNT(*) FROM t") == 1


@pytest.mark.server
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"user": "nobody", "password": "wr0ng!secret"}, 1045, id="password"),
        pytest.param({"db": "absent"}, 1049, id="database"),
        pytest.param({"host": "nowhere.invalid"}, 2003, id="host"),
        pytest.param({"unix_socket": "/nonexistent/socket"}, 2003, id="unix-socket"),
        pytest.param({"port": 1}, 2003, id="port"),
    ],
)
async def test_failing_connect_is_an_operational_error(
    connect_kwargs: dict[str, Any], changes: dict[str, Any], code: int
) -> None:
    with pytest.raises(err.OperationalError) as caught:
        await sa.create_engine(**{**connect_kwargs, **changes, "connect_timeout": 20})

    assert caught.value.args[0] == code
    assert "wr0ng!secret" not in str(caught.value)
