"""What is compared, by version, and the environments that have it."""

from __future__ import annotations

from contenders import CONTENDERS
from environments import Environment

# The versions of all that is compared; the last names of each line are what it runs on.
PEERS = (
    *("SQLAlchemy[asyncio]==2.1.9", "asyncmy==0.2.18", "aiomysql==0.3.2"),
    *("PyMySQL==1.2.4", "greenlet==3.5.6", "uvloop==0.23.0", "cryptography==50.0.2"),
)
OLD_PEERS = (
    *("SQLAlchemy==1.3.24", "aiomysql==0.3.2"),
    *("PyMySQL==1.2.4", "uvloop==0.23.0", "cryptography==50.0.2"),
)
ENVIRONMENT = Environment("compare", implementation="cython", pins=(*PEERS, "matplotlib"))
OLD_ENVIRONMENT = Environment("compare-old", pins=OLD_PEERS, package=False)


def python_of(name: str) -> str:
    """Give the Python that runs a contender."""
    return (OLD_ENVIRONMENT if CONTENDERS[name].old else ENVIRONMENT).program("python")
