"""What may happen to each kind of cluster, for the weather of `transfers.py`."""

from __future__ import annotations

import contextlib
import random
import time

import pymysql
from clusters import CONNECTIONS_OF_A_USER, Cluster, Galera, Group, Node, Replicas, wait_until
from transfers import Fault


def end_connections(cluster: Cluster, _: random.Random) -> None:
    """Kill the service's connections to every node."""
    for node in cluster.nodes:
        with node.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'app'")
            for (number,) in cursor.fetchall():
                with contextlib.suppress(pymysql.Error):  # it has ended by itself
                    cursor.execute(f"KILL {number}")


def crowd(cluster: Cluster, chance: random.Random) -> None:
    """Let the service have three connections to each node for a while."""
    for node in cluster.nodes:
        node.ask("SET GLOBAL max_user_connections = 3")
    end_connections(cluster, chance)
    time.sleep(chance.uniform(1, 3))
    for node in cluster.nodes:
        node.ask("SET GLOBAL max_user_connections = %s", CONNECTIONS_OF_A_USER)


def pause_another(cluster: Cluster, chance: random.Random) -> None:
    pause(cluster, chance.choice(cluster.others), chance.uniform(2, 4))


def kill_another(cluster: Cluster, chance: random.Random) -> None:
    cluster.kill(chance.choice(cluster.others))
    time.sleep(1)


def pause(cluster: Cluster, node: Node, seconds: float) -> None:
    cluster.pause(node)
    time.sleep(seconds)
    cluster.resume(node)


# -- a primary and its replicas -------------------------------------------------------------------


def kill_and_promote(cluster: Replicas, chance: random.Random) -> None:
    promoted = chance.choice(cluster.others)
    cluster.kill(cluster.primary)
    time.sleep(chance.uniform(0, 1))
    cluster.promote(promoted)


def kill_and_restart(cluster: Replicas, chance: random.Random) -> None:
    cluster.kill(cluster.primary)
    time.sleep(chance.uniform(0, 1))
    cluster.start(cluster.primary)


def stop_and_promote(cluster: Replicas, chance: random.Random) -> None:
    promoted = chance.choice(cluster.others)
    cluster.stop(cluster.primary)
    cluster.promote(promoted)


def switch(cluster: Replicas | Group, chance: random.Random) -> None:
    cluster.promote(chance.choice(cluster.others))


def pause_primary(cluster: Replicas, chance: random.Random) -> None:
    pause(cluster, cluster.primary, chance.uniform(2, 5))


def pause_and_promote(cluster: Replicas, chance: random.Random) -> None:
    promoted = chance.choice(cluster.others)
    cluster.pause(cluster.primary)
    time.sleep(chance.uniform(1, 4))
    cluster.promote(promoted)


def cut_off_primary(cluster: Replicas, chance: random.Random) -> None:
    primary = cluster.primary
    cluster.partition(primary)
    time.sleep(chance.uniform(2, 5))
    cluster.heal(primary)


def demote_for_a_while(cluster: Replicas, chance: random.Random) -> None:
    cluster.primary.ask("SET GLOBAL read_only = 1")
    time.sleep(chance.uniform(0.5, 2))
    cluster.primary.ask("SET GLOBAL read_only = 0")


REPLICAS = [
    Fault("primary killed, a replica promoted", kill_and_promote),
    Fault("primary killed and started again", kill_and_restart),
    Fault("primary stopped, a replica promoted", stop_and_promote),
    Fault("another primary promoted", switch),
    Fault("primary paused for 2 to 5 s", pause_primary),
    Fault("primary paused, a replica promoted after 1 to 4 s", pause_and_promote),
    Fault("primary cut off from its replicas for 2 to 5 s", cut_off_primary),
    Fault("primary read only for 0.5 to 2 s", demote_for_a_while),
    Fault("replica killed", kill_another),
    Fault("replica paused for 2 to 4 s", pause_another),
    Fault("all connections killed", end_connections),
    Fault("three connections at most for 1 to 3 s", crowd),
]

# -- Galera ---------------------------------------------------------------------------------------


def kill_any(cluster: Galera, chance: random.Random) -> None:
    cluster.kill(chance.choice(cluster.nodes))


def stop_any(cluster: Galera, chance: random.Random) -> None:
    cluster.stop(chance.choice(cluster.nodes))


def pause_shortly(cluster: Galera, chance: random.Random) -> None:
    pause(cluster, chance.choice(cluster.nodes), chance.uniform(2, 4))


def pause_until_evicted(cluster: Galera, chance: random.Random) -> None:
    pause(cluster, chance.choice(cluster.nodes), 9)


def isolate(cluster: Galera, chance: random.Random) -> None:
    node = chance.choice(cluster.nodes)
    cluster.partition(node)
    time.sleep(9)
    cluster.heal(node)


def kill_two(cluster: Galera, chance: random.Random) -> None:
    left, *killed = chance.sample(cluster.nodes, 3)
    for node in killed:
        cluster.kill(node)
    wait_until(lambda: not cluster.serves(left), "the last node to be without a quorum")
    cluster.bootstrap(left)


GALERA = [
    Fault("node killed", kill_any),
    Fault("node stopped", stop_any),
    Fault("node paused for 2 to 4 s", pause_shortly),
    Fault("node paused for 9 s", pause_until_evicted),
    Fault("node cut off from the others for 9 s", isolate),
    Fault("two of three nodes killed, the last one told to go on", kill_two),
    Fault("all connections killed", end_connections),
    Fault("three connections at most for 1 to 3 s", crowd),
]

# -- Group Replication ----------------------------------------------------------------------------


def kill_primary(cluster: Group, _: random.Random) -> None:
    cluster.kill(cluster.primary)


def stop_primary(cluster: Group, _: random.Random) -> None:
    cluster.stop(cluster.primary)


def pause_until_expelled(cluster: Group, _: random.Random) -> None:
    pause(cluster, cluster.primary, 25)


def switch_by_force(cluster: Group, chance: random.Random) -> None:
    cluster.promote(chance.choice(cluster.others), 1)


def take_offline(cluster: Group, chance: random.Random) -> None:
    cluster.primary.ask("SET GLOBAL offline_mode = 1")
    time.sleep(chance.uniform(1, 3))
    cluster.primary.ask("SET GLOBAL offline_mode = 0")


def leave(cluster: Group, _: random.Random) -> None:
    cluster.partition(cluster.primary)


GROUP = [
    Fault("another primary set", switch),
    Fault("another primary set, after 1 s by force", switch_by_force),
    Fault("primary stopped", stop_primary),
    Fault("primary killed", kill_primary),
    Fault("primary paused for 25 s", pause_until_expelled),
    Fault("primary offline for 1 to 3 s", take_offline),
    Fault("primary left the group", leave),
    Fault("secondary killed", kill_another),
    Fault("secondary paused for 2 to 4 s", pause_another),
    Fault("all connections killed", end_connections),
    Fault("three connections at most for 1 to 3 s", crowd),
]
