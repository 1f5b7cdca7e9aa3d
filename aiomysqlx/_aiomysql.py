"""aiomysql, and with it PyMySQL, imported also where the process has no user name.

They look up a default for `user` at their import, and expect a `KeyError` if there is none, as for
the uid of a container. Python 3.13 raises an `OSError`, and the versions before it an `ImportError`
on Windows.
"""

from __future__ import annotations

import getpass

_look_up = getpass.getuser


def _get_user() -> str:
    try:
        return _look_up()
    except (OSError, ImportError) as error:
        raise KeyError("this process has no user name") from error


getpass.getuser = _get_user
try:
    import aiomysql  # noqa: F401 - whoever needs it finds it imported
finally:
    getpass.getuser = _look_up
