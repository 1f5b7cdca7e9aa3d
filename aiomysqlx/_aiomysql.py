"""aiomysql, and with it PyMySQL, imported also where the process has no user name.

They look up a default for `user` at their import, and expect a `KeyError` if there is none, as for
the uid of a container. Python 3.13 raises an `OSError`, and the versions before it an `ImportError`
on Windows.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _name_may_be_missing() -> Iterator[None]:
    look_up = getpass.getuser

    def get_user() -> str:
        try:
            return look_up()
        except (OSError, ImportError) as error:
            raise KeyError("this process has no user name") from error

    getpass.getuser = get_user
    try:
        yield
    finally:
        getpass.getuser = look_up


with _name_may_be_missing():
    import aiomysql  # noqa: F401 - whoever needs it finds it imported
