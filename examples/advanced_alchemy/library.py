"""Advanced Alchemy: a service over a repository over an AsyncSession."""

import asyncio
import os

from advanced_alchemy.base import UUIDAuditBase
from advanced_alchemy.exceptions import DuplicateKeyError
from advanced_alchemy.filters import CollectionFilter, LimitOffset, OrderBy, SearchFilter
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import JSON, String
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column

URL = os.environ.get("AIOMYSQLX_URL", "mysql+aiomysqlx://root@127.0.0.1:3306/test")


class Book(UUIDAuditBase):  # id, created_at and updated_at come with it
    __tablename__ = "advanced_alchemy_books"

    title: Mapped[str] = mapped_column(String(80), unique=True)
    pages: Mapped[int]
    notes: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)


class Books(SQLAlchemyAsyncRepositoryService[Book]):
    class Repository(SQLAlchemyAsyncRepository[Book]):
        model_type = Book

    repository_type = Repository


async def main() -> None:
    engine = create_async_engine(URL)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as conn:
        await conn.run_sync(Book.metadata.drop_all)
        await conn.run_sync(Book.metadata.create_all)

    async with sessions() as session:
        books = Books(session)
        volumes = [
            {"title": f"Volume {n}", "pages": 100 * n, "notes": {"shelf": n}} for n in range(1, 6)
        ]
        await books.create_many(volumes, auto_commit=True)
        longest, total = await books.get_many_and_count(
            SearchFilter("title", "Volume"), OrderBy("pages", "desc"), LimitOffset(2, 0)
        )
        print(f"{total} books, the longest: {[(book.title, book.notes) for book in longest]}")

        old = await books.get_one(title="Volume 1")
        await books.update({"pages": 111}, old.id, auto_commit=True)
        new = {"title": "Volume 1", "pages": 112}
        book = await books.upsert(new, match_fields=["title"], auto_commit=True)
        print(f"the same book: {book.id == old.id}, {book.pages} pages, {book.created_at:%Z}")

        try:
            await books.create(new)
        except DuplicateKeyError as error:
            print(f"{type(error).__name__}: {error}")
            await session.rollback()

        await books.delete_where(CollectionFilter("title", ["Volume 2", "Volume 3"]))
        await session.commit()
        print(f"{await books.count()} books are left")

    async with engine.begin() as conn:
        await conn.run_sync(Book.metadata.drop_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
