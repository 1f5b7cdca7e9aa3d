"""The examples that are programs run as they stand, and say what they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pymysql
import pytest
from clusters import Replicas

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = [pytest.mark.server, pytest.mark.once]


@pytest.fixture
def environment(url: str) -> dict[str, str]:
    """What an example finds around it: the test's database, and the programs of this Python."""
    return {
        **os.environ,
        "AIOMYSQLX_URL": url.replace("mysql:", "mysql+aiomysqlx:"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        # Others may use what is deprecated.
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning",
    }


def output(environment: dict[str, str], path: str, folder: Path) -> str:
    """Run an example, away from the sources, and return what it says."""
    program = [str(EXAMPLES / path)] if path.endswith(".sh") else [sys.executable, EXAMPLES / path]
    done = subprocess.run(
        program,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.needs("alembic")
def test_alembic_from_init_to_downgrade(
    environment: dict[str, str],
    admin: pymysql.Connection[Any],
    database: str,
    tmp_path: Path,
) -> None:
    said = output(environment, "alembic/tour.sh", tmp_path)

    assert re.findall(r"Detected (.*)", said) == [
        "added table 'alembic_authors'",
        "added table 'alembic_books'",
        "added index 'alembic_books_by_title' on '('title', 'author_id')'",
        "added column 'alembic_books.pages'",
    ]
    assert "op.add_column('alembic_books', sa.Column('pages', sa.Integer(), nullable=True))" in said
    assert "No new upgrade operations detected." in said
    steps = re.findall(r"Running (\w+) \w* -> \w*, (.*)", said)
    assert steps == [
        ("upgrade", "authors and books"),
        ("upgrade", "pages of a book"),
        ("downgrade", "pages of a book"),
        ("downgrade", "authors and books"),
    ]
    with admin.cursor() as cursor:
        cursor.execute(f"SHOW TABLES IN {database}")
        assert cursor.fetchall() == (("alembic_version",),)


@pytest.mark.needs("alembic")
def test_alembic_drops_no_table_of_others(
    environment: dict[str, str],
    admin: pymysql.Connection[Any],
    database: str,
    tmp_path: Path,
) -> None:
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {database}.customers (id INT)")

        with pytest.raises(AssertionError, match="would be dropped, as 'customers'"):
            output(environment, "alembic/tour.sh", tmp_path)

        assert cursor.execute(f"SHOW TABLES FROM {database}") == 1


@pytest.mark.needs("sqlmodel")
def test_models_of_sqlmodel_are_written_and_read(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = output(environment, "sqlmodel/heroes.py", tmp_path)

    assert said.splitlines() == [
        "Logic [('Ada', datetime.date(1815, 12, 10), Decimal('0.00'))]",
        "Ships [('Grace', None, Decimal('12.50'))]",
        "Grace earns 13.50; 3 heroes earn 13.50",
        "without a team: ['Nobody']",
    ]


@pytest.mark.needs("advanced_alchemy")
def test_repository_of_advanced_alchemy_works(environment: dict[str, str], tmp_path: Path) -> None:
    said = output(environment, "advanced_alchemy/library.py", tmp_path)

    assert said.splitlines() == [
        "5 books, the longest: [('Volume 5', {'shelf': 5}), ('Volume 4', {'shelf': 4})]",
        "the same book: True, 112 pages, UTC",
        "DuplicateKeyError: A record matching the supplied data already exists.",
        "3 books are left",
    ]


@pytest.mark.needs("opentelemetry.exporter.prometheus")
def test_prometheus_gets_what_the_page_says(environment: dict[str, str], tmp_path: Path) -> None:
    said = output({**environment, "METRICS_PORT": "0"}, "prometheus/metrics.py", tmp_path)

    address, *lines = said.splitlines()
    assert re.fullmatch(r"scrape http://127\.0\.0\.1:\d+/metrics", address)
    page = (EXAMPLES.parent / "docs" / "observing.md").read_text()
    named = re.findall(r"^\| `db\.\S+` \|.*\| `(\w+)` \|$", page, re.M)
    kinds = dict(line.split(" ") for line in lines[: len(named)])
    assert sorted(kinds) == sorted(name.removesuffix("_total") for name in named)
    assert set(kinds.values()) == {"histogram", "gauge", "counter"}
    assert sorted(lines[len(named) :]) == [
        "SELECT information_schema.tables ok 10",
        "SELECT no_such_table 1146 1",
        "idle 1",
        "used 1",
    ]


@pytest.mark.needs("opentelemetry.instrumentation.sqlalchemy")
def test_opentelemetry_sees_statements_and_their_errors(
    environment: dict[str, str], database: str, tmp_path: Path
) -> None:
    said = output(environment, "opentelemetry/spans.py", tmp_path)

    seen, *spans = said.splitlines()
    assert "/*db_driver='aiomysqlx',db_framework='sqlalchemy%3A" in seen
    assert spans == [
        "connect: None, UNSET",
        "SELECT: SELECT info FROM information_schema.processlist WHERE id = CONNECTION_ID(), UNSET",
        "SELECT: SELECT %s + 1, UNSET",
        "SELECT: SELECT * FROM no_such_table, ERROR",
        f"""   (1146, "Table '{database}.no_such_table' doesn't exist")""",
        "request: None, UNSET",
    ]


# -- what needs nothing but this package -----------------------------------------------------------


def test_table_is_exported_as_csv(environment: dict[str, str], tmp_path: Path) -> None:
    said = output(environment, "export_csv.py", tmp_path).splitlines()

    assert said.pop(said.index("10000 rows")) and len(said) == 10_001
    assert said[:2] == ["id,taken,celsius", "1,2026-01-01 00:00:00,0.0"]
    assert said[-1] == "10000,2026-01-07 22:39:00,39.9"


def test_rows_of_a_file_are_loaded_and_brought_up_to_date(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = output(environment, "bulk_load.py", tmp_path)

    assert said.splitlines() == [
        "read 5000 rows; the table has 5000, worth 3124375.00",
        "read 5000 rows; the table has 5000, worth 6248750.00",
    ]


def test_money_is_transferred_in_spite_of_deadlocks(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = output(environment, "transfer.py", tmp_path)

    assert said.splitlines() == [
        "failed otherwise than for want of money: []",
        "4000 cents in all, nobody is overdrawn: True",
    ]


def test_own_writes_are_read_elsewhere(environment: dict[str, str], tmp_path: Path) -> None:
    said = output(environment, "replica_reads.py", tmp_path)

    assert said.splitlines() == [
        "own writes that were read: True",
        "posts: True",
        "reads on connections of their own: 21",
    ]


def test_own_writes_are_read_on_replicas(
    environment: dict[str, str], replicas: Replicas, tmp_path: Path
) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in replicas.nodes)
    url = f"mysql://app@{hosts}/test"

    said = output({**environment, "AIOMYSQLX_URL": url}, "replica_reads.py", tmp_path)

    assert said.splitlines()[0] == "own writes that were read: True"


def test_messages_of_an_outbox_are_sent_once(environment: dict[str, str], tmp_path: Path) -> None:
    said = output(environment, "queue_worker.py", tmp_path)

    assert said.splitlines() == ["100 messages sent by 4 workers", "each just once: True"]


def test_pipelines_read_together_and_write_together(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = output(environment, "pipelining.py", tmp_path)

    assert re.sub(r"[0-9.]+ ms", "… ms", said).splitlines() == [
        "one_by_one: 340 visits, … ms",
        "together: 340 visits, … ms",
        "refused: 1062",
        "kept of both: 0",
    ]


def test_driver_alone_does_with_a_pool_and_cursors(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = output(environment, "driver_pool.py", tmp_path)

    assert said.splitlines()[:2] == [
        "added: 5",
        "longest: [{'name': 'Barbara', 'size': 7}, {'name': 'Edsger', 'size': 6}]",
    ]


def test_readme_names_every_example() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    linked = {EXAMPLES / path for path in re.findall(r"\]\((\w[^)#]*\.(?:py|sh))\)", readme)}

    there = {path for path in EXAMPLES.iterdir() if path.suffix == ".py" or path.is_dir()}
    shown = {path if path.parent == EXAMPLES else path.parent for path in linked}
    assert all(path.is_file() for path in linked)
    assert shown == {path for path in there if path.name != "__pycache__"}
