"""Prometheus metrics of the query handlers, by operation.

FastStream labels by subject, and ours end in a resource: that would put users' ids into the metrics
and make one series of each. Here the label ends with the operation. Needs ``memfold[metrics]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from faststream.nats.prometheus.provider import NatsMetricsSettingsProvider
from faststream.prometheus.middleware import PrometheusMiddleware
from prometheus_client import REGISTRY, start_http_server

if TYPE_CHECKING:
    from faststream.message import StreamMessage
    from faststream.prometheus import ConsumeAttrs
    from faststream.response import PublishCommand
    from nats.aio.msg import Msg

OPERATION_TOKENS: Final = 3
"""``{namespace}.query.{operation}``."""


class OperationProvider(NatsMetricsSettingsProvider):
    """Names a request by its operation, and every reply ``reply``."""

    def get_consume_attrs_from_message(self, msg: StreamMessage[Msg]) -> ConsumeAttrs:
        """Return what is counted of a request."""
        attributes = super().get_consume_attrs_from_message(msg)
        subject = msg.raw_message.subject.split(".")
        attributes["destination_name"] = ".".join(subject[:OPERATION_TOKENS])
        return attributes

    def get_publish_destination_name_from_cmd(self, cmd: PublishCommand) -> str:
        """Return the label of an answer; its subject is an inbox made for one request."""
        del cmd
        return "reply"


def prometheus_middleware(port: int) -> Any:  # noqa: ANN401 - FastStream's own union of types.
    """Serve the metrics of this process on a loopback port; return the middleware that counts."""
    start_http_server(port, addr="127.0.0.1")
    provider = OperationProvider()
    return PrometheusMiddleware(
        settings_provider_factory=lambda _: provider, registry=REGISTRY, app_name="memfold"
    )
