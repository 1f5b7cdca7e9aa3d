"""`python -m aiomysqlx URL` prints a diagnosis, see `diagnosis`."""

from __future__ import annotations

import sys

from .diagnosis.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
