"""MySQL's server from Debian's unstable release: the stable releases have MariaDB only."""

from __future__ import annotations

import os
import shlex

from debian import command, fetch
from environments import ROOT
from machine import fail, note
from private_server import ServerError, find_flavour, find_program, find_server, is_mariadb

# Beside .venv, so that `make clean` removes it and nothing is left in the user's home.
FOLDER = ROOT / ".mysql"
PACKAGE = "mysql-server-core"
REMEDY = "install MySQL's server, or set AIOMYSQLX_MYSQLD or AIOMYSQLX_TEST_URL"


def require_mysql() -> None:
    """See that the server to test against is MySQL."""
    try:
        if not (os.environ.get("AIOMYSQLX_TEST_URL") or os.environ.get("AIOMYSQLX_MYSQLD")):
            os.environ["AIOMYSQLX_MYSQLD"] = shlex.join(mysql_program())
        # Debian's unstable release has the newest: which that is, is told.
        note(f"server {find_server()}")
        if find_flavour() != "mysql":
            fail(f"expected a MySQL server, got {find_server()}")
    except ServerError as error:
        fail(str(error))


def mysql_program() -> list[str]:
    """Give the command of MySQL's server: the one on PATH, else Debian's."""
    path = find_program("mysqld")
    if path and not is_mariadb([path]):
        return [path]
    if not FOLDER.exists():
        fetch(FOLDER, [PACKAGE], REMEDY)
    return command(FOLDER, "usr/sbin/mysqld", "usr/lib/mysql/private")
