"""Keep a database server for another program: `python tools/serve.py DATABASE`.

Prints the URL of DATABASE on the server at AIOMYSQLX_TEST_URL, else on a private one, and ends
with its standard input: when the program that holds the other end closes it, or ends in any way.
At a terminal, that is Ctrl-D.
"""

from __future__ import annotations

import signal
import sys

from private_server import ServerError, database_server


def main(database: str) -> None:
    # Ctrl-C goes to the other program too, and its end is what counts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with database_server() as server:
            print(server.url(database), flush=True)
            sys.stdin.read()
    except ServerError as error:
        raise SystemExit(f"aiomysqlx: {error}") from None


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit("usage: python tools/serve.py DATABASE")
    main(sys.argv[1])
