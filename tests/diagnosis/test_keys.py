"""The keys of the JSON: whoever reads it goes by them, so they are only ever added to."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from aiomysqlx.diagnosis import facts

pytestmark = pytest.mark.once

KEYS = {
    "Facts": "client settings route server security session limits capabilities timings pool_test"
    " not_visible out_of_time error advice",
    "Client": "aiomysqlx implementation reason python platform event_loop debug libraries",
    "Settings": "hosts target_session_attrs minsize maxsize pool_recycle max_idle max_lifetime"
    " pool_pre_ping acquire_timeout statement_timeout connect_timeout autocommit local_infile"
    " multi_statements track_gtids tls",
    "Host": "address role error",
    "Route": "address way remote behind hosts",
    "Galera": "state status size",
    "Member": "state role",
    "Replica": "running lag",
    "Server": "vendor version comment role read_only galera group replica",
    "Security": "tls tls_offered cipher verified certificate_days auth_plugin has_password account",
    "Session": "character_set collation server_character_set server_collation"
    " database_character_set database_collation has_database sql_mode time_zone system_time_zone"
    " isolation_level autocommit completion_type clock_skew",
    "Limits": "max_allowed_packet wait_timeout max_connections max_user_connections connections"
    " most_connections",
    "Capabilities": "prepared_statements pipelining bulk session_tracking deprecate_eof",
    "Spread": "count p50 p99",
    "Timings": "name_lookup connect ping select acquire release",
    "PoolTest": "tasks maxsize statements seconds opened waited longest_wait error",
    "Problem": "key severity what do",
}


def test_every_part_has_its_keys() -> None:
    parts: dict[str, Any] = {
        name: part for name, part in vars(facts).items() if hasattr(part, "__dataclass_fields__")
    }

    found = {name: [field.name for field in fields(part)] for name, part in parts.items()}
    assert found == {name: keys.split() for name, keys in KEYS.items()}
