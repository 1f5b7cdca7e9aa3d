"""What a server tells of itself and of a session, by statements that only read.

Each question may be refused: a user may not see everything, and a proxy may not know it.
"""

from __future__ import annotations

import ssl
import time
from typing import Any

from pymysql import err
from pymysql.constants import CLIENT, COMMAND

from ..wire.columns import describe_bytes
from ..wire.command import Question, packet_of
from ..wire.greeting import BULK, DEPRECATE_EOF
from ..wire.prepared import Statement
from ..wire.preparing import Prepare, closing
from ..wire.session import Session as Connected
from .deducing import (
    account,
    behind,
    days_left,
    is_port,
    is_remote,
    replica,
    role,
    skew,
    vendor,
    verified,
)
from .facts import (
    Capabilities,
    Galera,
    Limits,
    Member,
    Replica,
    Route,
    Security,
    Server,
    Session,
)

_VARIABLES = (
    *("version", "version_comment", "aurora_version"),
    *("read_only", "innodb_read_only", "wsrep_on", "group_replication_group_name"),
    *("character_set_client", "collation_connection"),
    *("character_set_server", "collation_server"),
    *("character_set_database", "collation_database"),
    *("sql_mode", "time_zone", "system_time_zone", "transaction_isolation", "tx_isolation"),
    *("completion_type", "max_allowed_packet", "wait_timeout"),
    *("max_connections", "max_user_connections"),
)
_STATUS = (
    *("Threads_connected", "Max_used_connections"),
    *("wsrep_local_state_comment", "wsrep_cluster_status", "wsrep_cluster_size"),
)
# Access denied: to a database, a table, a column, a routine, or for want of a privilege.
_DENIED = frozenset({1044, 1142, 1143, 1227, 1370})
_UNKNOWN_SYNTAX = 1064
_MEMBER = (
    "SELECT MEMBER_STATE, MEMBER_ROLE FROM performance_schema.replication_group_members"
    " WHERE MEMBER_ID = @@server_uuid"
)
_SEEN = "SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()"
_ACCOUNT = "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
_CLOCK = "SELECT UNIX_TIMESTAMP(SYSDATE(6))"

Texts = dict[str, str]
"""Variables and their values, by names in lower case."""


class Interview:
    """The questions that a session is asked, and what its user may not see."""

    def __init__(self, session: Connected) -> None:
        self.session = session
        self.not_visible: list[str] = []
        self.variables: Texts = {}
        self.status: Texts = {}

    async def begin(self) -> None:
        """Ask for the variables, of which the rest is made."""
        names = ", ".join(f"'{name}'" for name in _VARIABLES)
        self.variables = await self._table(
            "variables", f"SHOW VARIABLES WHERE Variable_name IN ({names})"
        )
        names = ", ".join(f"'{name}'" for name in _STATUS)
        self.status = await self._table(
            "status", f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})"
        )

    async def _ask(self, what: str, sql: str) -> list[tuple[str | None, ...]] | None:
        """Return the rows that answer a question; `None` if it is refused."""
        try:
            return await self._rows(sql)
        except err.MySQLError as error:
            if self.session.closed:
                raise
            if error.args[0] in _DENIED:
                self.not_visible.append(what)
            return None

    async def _rows(self, sql: str) -> list[tuple[str | None, ...]]:
        return [
            tuple(
                None if value is None else value.decode(self.session.encoding, "replace")
                for value in row
            )
            for row in (await self._result(sql)).rows
        ]

    async def _result(self, sql: str) -> Any:
        packet = packet_of(COMMAND.COM_QUERY, sql.encode())
        return (await self.session.run(Question(packet, describe_bytes)))[0]

    async def _value(self, what: str, sql: str) -> str | None:
        rows = await self._ask(what, sql)
        return rows[0][0] if rows else None

    async def _table(self, what: str, sql: str) -> Texts:
        rows = await self._ask(what, sql)
        pairs = [row for row in rows or () if len(row) == 2]
        return {str(name).lower(): str(value) for name, value in pairs if value is not None}

    def _number(self, name: str) -> int | None:
        text = self.variables.get(name) or self.status.get(name) or ""
        return int(text) if text.isdecimal() else None

    # -- the server ------------------------------------------------------------------------------

    async def server(self) -> Server:
        """Return which server it is, and its part in a cluster."""
        # A greeting of MariaDB's may have '5.5.5-' in front.
        version = self.variables.get("version") or self.session.server_version
        comment = self.variables.get("version_comment")
        galera, group = self._galera(), await self._group()
        replica = await self._replica()
        read_only = self._is_read_only()
        return Server(
            vendor=vendor(version, comment, "aurora_version" in self.variables),
            version=version,
            comment=comment,
            role=role(read_only, galera, group, replica),
            read_only=read_only,
            galera=galera,
            group=group,
            replica=replica,
        )

    def _is_read_only(self) -> bool | None:
        values = [self.variables.get(name) for name in ("read_only", "innodb_read_only")]
        told = [value for value in values if value is not None]
        return any(value not in ("OFF", "0") for value in told) if told else None

    def _galera(self) -> Galera | None:
        if self.variables.get("wsrep_on") != "ON":
            return None
        return Galera(
            state=self.status.get("wsrep_local_state_comment", ""),
            status=self.status.get("wsrep_cluster_status", ""),
            size=self._number("wsrep_cluster_size") or 0,
        )

    async def _group(self) -> Member | None:
        if not self.variables.get("group_replication_group_name"):
            return None
        rows = await self._ask("group", _MEMBER)
        return Member(str(rows[0][0]), str(rows[0][1])) if rows else None

    async def _replica(self) -> Replica | None:
        for sql in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):
            try:
                result = await self._result(sql)
            except err.MySQLError as error:
                if self.session.closed:
                    raise
                if error.args[0] == _UNKNOWN_SYNTAX:
                    continue
                if error.args[0] in _DENIED:
                    self.not_visible.append("replica")
                return None
            return replica(result) if result.rows else None
        return None

    # -- the way to it ---------------------------------------------------------------------------

    async def route(self) -> Route:
        """Return how the connection leads to the server."""
        session = self.session
        transport = session.writer.transport
        own, peer = (transport.get_extra_info(name) for name in ("sockname", "peername"))
        over_tcp = not session.address.unix_socket
        seen = await self._value("client", _SEEN)
        return Route(
            address=str(session.address),
            way="TCP" if over_tcp else "Unix socket",
            remote=over_tcp and is_remote(peer),
            behind=behind(
                session.greeting.version,
                self.variables.get("version_comment"),
                session.renumbered,
                bool(over_tcp and seen and not is_port(seen, own[1])),
            ),
            hosts=(),
        )

    async def security(self, has_password: bool) -> Security:
        """Return how the connection is protected."""
        session = self.session
        tls: ssl.SSLObject | None = session.writer.transport.get_extra_info("ssl_object")
        cipher = tls.cipher() if tls is not None else None
        name = await self._value("account", _ACCOUNT)
        return Security(
            tls=tls.version() if tls is not None else None,
            tls_offered=bool(session.greeting.capabilities & CLIENT.SSL),
            cipher=cipher[0] if cipher is not None else None,
            verified=None if tls is None else verified(tls.context),
            certificate_days=None if tls is None else days_left(tls.getpeercert(), time.time()),
            auth_plugin=session.login.plugin,
            has_password=has_password,
            account=account(name),
        )

    # -- what is set -----------------------------------------------------------------------------

    async def session_facts(self) -> Session:
        """Return what the session is set to."""
        get = self.variables.get
        before = time.time()
        clock = await self._value("clock", _CLOCK)
        return Session(
            character_set=get("character_set_client"),
            collation=get("collation_connection"),
            server_character_set=get("character_set_server"),
            server_collation=get("collation_server"),
            database_character_set=get("character_set_database"),
            database_collation=get("collation_database"),
            has_database=bool(self.session.db),
            sql_mode=get("sql_mode"),
            time_zone=get("time_zone"),
            system_time_zone=get("system_time_zone"),
            isolation_level=get("transaction_isolation") or get("tx_isolation"),
            autocommit=self.session.autocommits,
            completion_type=get("completion_type"),
            clock_skew=skew(clock, before, time.time()),
        )

    def limits(self) -> Limits:
        """Return what the server allows."""
        return Limits(
            max_allowed_packet=self._number("max_allowed_packet"),
            wait_timeout=self._number("wait_timeout"),
            max_connections=self._number("max_connections"),
            max_user_connections=self._number("max_user_connections"),
            connections=self._number("threads_connected"),
            most_connections=self._number("max_used_connections"),
        )

    async def capabilities(self, pipelining: bool | None) -> Capabilities:
        """Return what the server and whatever is in between can do."""
        login = self.session.login
        return Capabilities(
            prepared_statements=await self._prepares(),
            pipelining=pipelining,
            bulk=bool(login.extended & BULK),
            session_tracking=bool(login.flags & CLIENT.SESSION_TRACK),
            deprecate_eof=bool(login.flags & DEPRECATE_EOF),
        )

    async def _prepares(self) -> bool:
        statement = Statement()
        try:
            await self.session.run(Prepare(b"SELECT ?", statement))
        except err.MySQLError:
            if self.session.closed:
                raise
            return False
        if statement.number is not None:
            self.session.protocol.write(closing(statement.number))
        return statement.parameters == 1
