"""What is left on a server by a process that was killed, and would keep its locks."""

from __future__ import annotations

import contextlib
import time

import pymysql
from private_server import Server

SECONDS = 20


def end_what_is_left(server: Server) -> None:
    """End all other sessions, and the transactions that are prepared."""
    with (
        pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            autocommit=True,
        ) as connection,
        connection.cursor() as cursor,
    ):
        until = time.monotonic() + SECONDS
        while (endings := _endings(cursor)) and time.monotonic() < until:
            for sql in endings:
                with contextlib.suppress(pymysql.Error):  # it has ended by itself, or not yet
                    cursor.execute(sql)
            time.sleep(0.01)


def _endings(cursor: pymysql.cursors.Cursor) -> list[str]:
    """Give the statements that end what is left."""
    cursor.execute(
        "SELECT CONCAT('KILL ', id) FROM information_schema.processlist"
        " WHERE id <> CONNECTION_ID() AND user = SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
    )
    endings = [kill for (kill,) in cursor.fetchall()]
    cursor.execute("XA RECOVER")
    for form, length, _, xid in cursor.fetchall():
        data = xid if isinstance(xid, bytes) else xid.encode()
        endings.append(f"XA ROLLBACK X'{data[:length].hex()}', X'{data[length:].hex()}', {form}")
    return endings
