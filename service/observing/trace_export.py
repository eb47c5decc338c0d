"""Where spans go: OpenTelemetry's SDK, imported only when traces are asked for."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from crossfix.errors import InvalidParameter
from service.settings import Settings
from service.version import service_version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORT_S = 5.0
QUEUE_SPANS = 4096
BATCH_SPANS = 512
FLUSH_MS = 1000.0


def make_provider(settings: Settings) -> "TracerProvider":
    """A provider of our own (the process-wide one stays untouched), sending in batches.

    Raises:
        InvalidParameter: the endpoint is no address, or the extra is not installed.
    """
    _require_address(settings.otlp_endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError:
        raise InvalidParameter(
            "otlp_endpoint is set but OpenTelemetry is not installed",
            hint="pip install 'crossfix[otel]', or leave otlp_endpoint empty",
        ) from None
    name = os.environ.get("OTEL_SERVICE_NAME", "crossfix")
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": service_version()}),
        sampler=ParentBasedTraceIdRatio(settings.trace_share),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=EXPORT_S),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=FLUSH_MS,
            max_export_batch_size=BATCH_SPANS,
        )
    )
    return provider


def _require_address(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidParameter(
            "otlp_endpoint is not an address of http or https",
            hint="for example http://127.0.0.1:4318/v1/traces",
        )
