"""`make bench`: every benchmark once, to see that it works; with arguments, asv and these.

One server serves them all. `make bench ARGS="run HEAD^!"` measures, `make bench ARGS=history` the
last tags, which it draws; benchmarks/README.md has more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

from environments import ROOT
from machine import fail, note, require_compiler, require_server, require_venv, run, start
from private_server import ServerError, database_server
from suite import MAIN

HISTORY = "history"
LAST_TAGS = 10
PAGES = ROOT / ".asv" / "html"
MACHINE = ".asv-machine.json"  # where asv keeps, in the home, what machine this is
ONCE = "run --python=same --quick --show-stderr"  # its status is 2 where a benchmark fails


def main(arguments: list[str]) -> int:
    commits = commits_of(arguments[1:]) if arguments[:1] == [HISTORY] else []
    require_venv()
    require_compiler()
    require_server()
    MAIN.install()
    try:
        with database_server() as server:
            note(f"server {server}")
            os.environ["AIOMYSQLX_TEST_URL"] = server.url()
            if commits:
                return measure_history(commits, options_of(arguments[1:]))
            return measure(arguments) if arguments else try_out()
    except ServerError as error:
        fail(str(error))


def measure(arguments: list[str]) -> int:
    """Run asv with *arguments*."""
    return run(["env", f"--chdir={ROOT}", MAIN.program("asv"), *arguments])


def measure_history(commits: list[str], options: list[str]) -> int:
    """Measure those of *commits* that are not measured yet, and draw all that ever was."""
    register = ["machine", "--yes"]
    if not (Path.home() / MACHINE).exists() and measure(register):
        fail("asv does not know this machine: make bench ARGS=machine asks what it is")
    with tempfile.NamedTemporaryFile("w") as file:
        print(*commits, sep="\n", file=file, flush=True)
        status = measure(["run", "--skip-existing-successful", *options, f"HASHFILE:{file.name}"])
    drawn = measure(["publish"])
    if not drawn:
        note(f"drawn: {PAGES}/index.html; make bench ARGS=preview shows it")
    return status or drawn


def commits_of(arguments: list[str]) -> list[str]:
    """Give the commits that revisions name, or the last tags do where there are none."""
    revisions = [*takewhile(lambda argument: not argument.startswith("-"), arguments)]
    if not revisions:
        revisions = git("tag", "--sort=-creatordate", "--merged=HEAD")[:LAST_TAGS]
    if not revisions:
        fail('there are no tags yet: name revisions, make bench ARGS="history HEAD~200 HEAD"')
    return [commit for each in revisions for commit in git("rev-list", *span(each))]


def span(revision: str) -> list[str]:
    """Give what has `git rev-list` name one commit, or those of a range."""
    return [revision] if ".." in revision else ["--no-walk", revision]


def options_of(arguments: list[str]) -> list[str]:
    """Give what is behind the revisions, which is asv's."""
    return arguments[len([*takewhile(lambda each: not each.startswith("-"), arguments)]) :]


def git(*command: str) -> list[str]:
    """Give the lines that git prints; its own words, where it fails, are the user's."""
    done = subprocess.run(["git", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        fail(f"git {' '.join(command)} failed")
    return done.stdout.split()


def try_out() -> int:
    """Run every benchmark of both builds once, and keep nothing of it in the user's home."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        register = [MAIN.program("asv"), "machine", "--yes"]
        subprocess.run(register, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return measure(ONCE.split())


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
