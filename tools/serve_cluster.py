"""Keep a cluster for another program: `python tools/serve_cluster.py replicas`, galera or group.

Prints the URL of the database `test` on its three servers. Then each line of its standard input is
something to do to one of them, by its place in the URL: `kill 1`, `promote 2`, `start 1`. It ends
with its standard input; at a terminal, that is Ctrl-D.
"""

from __future__ import annotations

import signal
import sys

from clusters import USER, Cluster, galera, group, replicas
from private_server import DATABASE, ServerError

KINDS = {"replicas": replicas, "galera": galera, "group": group}
DEEDS = ("kill", "stop", "start", "pause", "resume", "promote", "partition", "heal")
EXPECTED = f"expected one of {', '.join(DEEDS)}, and the number of a server"


def main(kind: str) -> None:
    # Ctrl-C goes to the other program too, and its end is what counts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with KINDS[kind]() as cluster:
            print(f"mysql://{USER}@{','.join(cluster.hosts)}/{DATABASE}", flush=True)
            for line in sys.stdin:
                print(done(cluster, line.split()), flush=True)
    except ServerError as error:
        raise SystemExit(f"aiomysqlx: {error}") from None


def done(cluster: Cluster, words: list[str]) -> str:
    """Do what a line says, and return what to print."""
    numbers = [str(number) for number in range(1, len(cluster.nodes) + 1)]
    if len(words) != 2 or words[0] not in DEEDS or words[1] not in numbers:
        return EXPECTED
    try:
        getattr(cluster, words[0])(cluster.nodes[int(words[1]) - 1])
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "done"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        raise SystemExit(f"usage: python tools/serve_cluster.py {'|'.join(KINDS)}")
    main(sys.argv[1])
