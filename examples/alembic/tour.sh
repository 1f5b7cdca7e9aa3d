#!/bin/sh -eu
# Alembic from `init` to `downgrade`, in a folder that is removed at the end. Two things are edited:
# the URL, and the models that `--autogenerate` compares the database with.
url=${AIOMYSQLX_URL:-mysql+aiomysqlx://root@127.0.0.1:3306/test}
here=$(cd "$(dirname "$0")" && pwd)
python "$here/empty.py" "$url"
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cd "$folder"
cp "$here/models.py" .

alembic init -t async migrations
sed -i "s|^sqlalchemy.url = .*|sqlalchemy.url = $url|" alembic.ini
sed -i "s|^target_metadata = None|from models import Base\ntarget_metadata = Base.metadata|" migrations/env.py

alembic revision --autogenerate -m "authors and books"
alembic upgrade head

sed -i "/title: Mapped/a\    pages: Mapped[int | None]" models.py
alembic revision --autogenerate -m "pages of a book"
cat migrations/versions/*pages_of_a_book.py
alembic upgrade head
alembic check # the database is as the models say

alembic downgrade base
