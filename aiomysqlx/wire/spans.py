"""Statements as OpenTelemetry has them: a span and a duration for each, by its conventions.

Nothing else here needs OpenTelemetry, of which the API is enough.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry import context, metrics, trace

from ..exc import SERVER_ERRORS, Error
from ..runtime.words import type_name
from .summary import BATCH

if TYPE_CHECKING:
    from .addresses import Address

NAME = "aiomysqlx"
SCHEMA = "https://opentelemetry.io/schemas/1.33.0"
"""The version of the conventions in which those of databases are stable."""

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""The bounds of a histogram's buckets that the conventions advise."""

# The API has it for instrumentations, and no other name.
_SUPPRESSED = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "")


class Telemetry:
    """Where spans and metrics go: the given providers, or those of the whole program.

    Nothing goes there any more once it is not `is_on`.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        this = version(NAME)
        self.is_on = True
        # What tells of pools, once there is one.
        self.pools: Any = None
        self.tracer: trace.Tracer = trace.get_tracer(NAME, this, tracer_provider, SCHEMA)
        self.meter: metrics.Meter = metrics.get_meter(NAME, this, meter_provider, SCHEMA)
        self.durations: metrics.Histogram = self.meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )

    def begin(self, observation: Any) -> Running | None:
        """Begin the span of a statement, in that of the running task."""
        if not self.is_on or context.get_value(_SUPPRESSED):
            return None
        return Running(self, observation)


@cache
def of_everybody() -> Telemetry:
    """Return what `telemetry=True` means: the providers of the whole program."""
    return Telemetry()


class Running:
    """The span of a statement that is under way, and what its duration will be counted by."""

    __slots__ = ("_attributes", "_span", "_telemetry")

    def __init__(self, telemetry: Telemetry, observation: Any) -> None:
        session, summary = observation.session, observation.summary
        shared = server_of(session.address)
        shared["db.system.name"] = "mariadb" if session.is_mariadb else "mysql"
        schema, operation = session.schema, observation.operation
        if schema:
            shared["db.namespace"] = schema
        is_batch = observation.executions != 1
        if operation:
            shared["db.operation.name"] = f"{BATCH}{operation}" if is_batch else operation
        if summary:
            shared["db.query.summary"] = summary
        attributes = {**shared, "db.query.text": observation.text}
        if is_batch:
            attributes["db.operation.batch.size"] = observation.executions
        self._telemetry = telemetry
        self._attributes = shared
        self._span = telemetry.tracer.start_span(
            summary or schema or shared["db.system.name"],
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
        )

    def end(self, observation: Any, returned: int | None, error: BaseException | None) -> None:
        """End the span, and count its duration."""
        span, attributes = self._span, self._attributes
        if returned is not None:
            span.set_attribute("db.response.returned_rows", returned)
        if error is not None:
            failure = _failure(error)
            attributes |= failure
            span.set_attributes(failure)
            # Not what the server says: it may repeat a value.
            span.set_status(trace.StatusCode.ERROR, type_name(type(error)))
        span.end()
        if self._telemetry.is_on:
            in_span = trace.set_span_in_context(span)
            self._telemetry.durations.record(observation.seconds, attributes, in_span)


def server_of(address: Address) -> dict[str, Any]:
    """Return the attributes that say where a server is."""
    if address.unix_socket:
        return {"server.address": address.unix_socket}
    return {"server.address": address.host, "server.port": address.port}


def _failure(error: BaseException) -> dict[str, str]:
    """Return the attributes that say what sort of error it is.

    A number of the server's or of a client's, which is the type then; or else the class.
    """
    code = error.args[0] if error.args else None
    if isinstance(error, SERVER_ERRORS) and not isinstance(error, Error) and code:
        return {"error.type": str(code), "db.response.status_code": str(code)}
    return {"error.type": type_name(type(error))}
