"""SQLModel: tables that are pydantic models, with an AsyncSession."""

import asyncio
import os
from datetime import date
from decimal import Decimal

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import selectinload
from sqlmodel import Field, Relationship, SQLModel, col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

URL = os.environ.get("AIOMYSQLX_URL", "mysql+aiomysqlx://root@127.0.0.1:3306/test")


class Team(SQLModel, table=True):
    __tablename__ = "sqlmodel_teams"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=40, unique=True)
    heroes: list["Hero"] = Relationship(back_populates="team")


class Hero(SQLModel, table=True):
    __tablename__ = "sqlmodel_heroes"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=40, index=True)
    born: date | None = None
    wage: Decimal = Field(default=0, max_digits=8, decimal_places=2)
    team_id: int | None = Field(default=None, foreign_key="sqlmodel_teams.id")
    team: Team | None = Relationship(back_populates="heroes")


async def main() -> None:
    engine = create_async_engine(URL)
    async with engine.begin() as conn:
        await conn.run_sync(SQLModel.metadata.drop_all)
        await conn.run_sync(SQLModel.metadata.create_all)

    async with AsyncSession(engine) as session:
        logic = Team(name="Logic", heroes=[Hero(name="Ada", born=date(1815, 12, 10))])
        ships = Team(name="Ships", heroes=[Hero(name="Grace", wage=Decimal("12.5"))])
        session.add_all([logic, ships, Hero(name="Nobody")])
        await session.commit()

    async with AsyncSession(engine) as session:
        with_heroes = selectinload(Team.heroes)  # type: ignore[arg-type]  # a list, as SQLModel has it
        for team in await session.exec(select(Team).options(with_heroes).order_by(Team.name)):
            print(team.name, [(hero.name, hero.born, hero.wage) for hero in team.heroes])

        grace = (await session.exec(select(Hero).where(Hero.name == "Grace"))).one()
        grace.wage += 1
        session.add(grace)
        await session.commit()
        await session.refresh(grace)
        wages, number = (await session.exec(select(func.sum(Hero.wage), func.count()))).one()
        print(f"{grace.name} earns {grace.wage}; {number} heroes earn {wages}")

        alone = await session.exec(select(Hero.name).where(col(Hero.team_id).is_(None)))
        print("without a team:", alone.all())

    async with engine.begin() as conn:
        await conn.run_sync(SQLModel.metadata.drop_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
