"""A service on a cluster whose nodes are killed, paused, stopped, switched and cut off.

AIOMYSQLX_CHAOS_SECONDS is how long that goes on, AIOMYSQLX_CHAOS_SEED what is chosen by.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from clusters import Cluster, Galera, Group, Replicas
from footprint import MEGABYTE, settled
from transfers import (
    ACKNOWLEDGED,
    Does,
    Fault,
    Ledger,
    Service,
    Weather,
    audit,
    closed_in_time,
    connections,
    lines,
    prepare,
)
from weathers import (
    GALERA,
    GROUP,
    REPLICAS,
    demote_for_a_while,
    end_connections,
    kill_and_promote,
    kill_any,
    leave,
    switch,
)

Endure = Callable[[Cluster, Sequence[Fault], Sequence[Does]], Awaitable[None]]
SECONDS = float(os.environ.get("AIOMYSQLX_CHAOS_SECONDS", "0"))
TASKS = 12  # of each of two engines

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(300 + 2 * SECONDS)]


@pytest.fixture
def endure(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> Iterator[Endure]:
    """Have a service live through faults of a cluster, and see what became of its work."""

    path = tmp_path / "history"

    async def endure(cluster: Cluster, faults: Sequence[Fault], few: Sequence[Does]) -> None:
        seed = os.environ.get("AIOMYSQLX_CHAOS_SEED") or f"{random.randrange(1 << 32):08x}"
        service = Service(cluster, seed, Ledger(log))
        if not SECONDS:
            faults = [fault for fault in faults if fault.does in few]
        weather = Weather(service, faults)
        await asyncio.to_thread(prepare, cluster)
        await rehearse(service, weather)
        caplog.clear()  # records hold errors, and so what these were raised in
        before = await settled()
        began = time.monotonic()
        await live(service, weather.rage(SECONDS))
        caplog.clear()
        after = await settled(before)
        if excess := after.excess(before):
            service.violations.append(f"more is held than before: {excess}")
        service.violations += await asyncio.to_thread(audit, cluster, service.ledger)
        said = [
            f"chaos of {type(cluster).__name__}: {time.monotonic() - began:.0f} s, seed {seed}",
            f"resident: {before.resident / MEGABYTE:.1f}, then {after.resident / MEGABYTE:.1f} MB",
            *lines(service, weather),
        ]
        if SECONDS:
            with capsys.disabled():
                print("\n" + "\n".join(said), flush=True)
        if service.violations:
            log.flush()
            history = [line for line in path.read_text().splitlines() if line.startswith("at ")]
            broken = [*service.violations[:20], f"{path} has what was told of each operation"]
            pytest.fail("\n".join([*broken, *said, *history]), pytrace=False)
        assert service.ledger.count(ACKNOWLEDGED) > 50

    with open(path, "w") as log:
        yield endure


async def rehearse(service: Service, weather: Weather) -> None:
    """Do everything once: what a process takes by itself then is not for the service."""
    await live(service, weather.strike(Fault("rehearsal", end_connections), random.Random(0)))
    weather.gaps.clear()


async def live(service: Service, weather: Awaitable[None]) -> None:
    """Have two engines' tasks transfer in that weather; they leave no connection behind."""
    service.stopped = False
    async with (
        closed_in_time(service.engine(maxsize=8, kill_on_cancel=True), service) as one,
        closed_in_time(service.engine(maxsize=4, load_balance_hosts="random"), service) as two,
    ):
        service.start(one, TASKS, "one")
        service.start(two, TASKS, "two")
        try:
            await weather
        finally:
            await service.stop()
    deadline = time.monotonic() + 10
    for node in service.cluster.nodes:
        while left := await asyncio.to_thread(connections, node):
            if time.monotonic() > deadline:
                service.violations.append(f"{node!r} has connections left: {left}")
                break
            await asyncio.sleep(0.05)


async def test_service_lives_through_what_happens_to_replicas(
    replicas: Replicas, endure: Endure
) -> None:
    await endure(replicas, REPLICAS, [kill_and_promote, switch, demote_for_a_while])


async def test_service_lives_through_what_happens_to_galera(galera: Galera, endure: Endure) -> None:
    await endure(galera, GALERA, [kill_any])


async def test_service_lives_through_what_happens_to_a_group(group: Group, endure: Endure) -> None:
    await endure(group, GROUP, [switch, leave])
