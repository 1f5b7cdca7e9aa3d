"""What of SQLAlchemy's own tests is left out on this package's dialect, and why.

`make test-sqlalchemy` marks these tests as expected to fail: one that passes is a failure, so that
no line stays longer than it is needed.
"""

from __future__ import annotations

from typing import NamedTuple


class Exclusion(NamedTuple):
    """A test that cannot pass, on which server and SQLAlchemy; empty: on all."""

    test: str
    reason: str
    server: str = ""
    sqlalchemy: str = ""

    def applies(self, test: str, server: str, sqlalchemy: str) -> bool:
        """Tell whether this is about *test* there."""
        return (
            test == self.test
            and server.startswith(self.server)
            and sqlalchemy.startswith(self.sqlalchemy)
        )


EXCLUSIONS = (
    Exclusion(
        "test/engine/test_pool.py::QueuePoolTest::test_recycle_pool_no_race",
        "gives a pool for threads to the engine of the tested URL, which asyncio's refuses; so it"
        " fails with any dialect for asyncio",
    ),
)

# SQLAlchemy's tests ask for what a driver can do by its name. Where they name asyncmy, this driver
# is meant too, but it can do what these ask for.
UNLIKE_ASYNCMY = {
    "literal_float_coercion": "a float is written as one, not as a Decimal",
}
