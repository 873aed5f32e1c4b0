"""GET /metrics: the peer's state and the API's own counts in the Prometheus text format.

Nothing is counted twice: a scrape reads the node's status and writes it out. prometheus-client is imported at the first
scrape, because a peer that nobody scrapes should not carry it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from peerd.node.results import Status

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

RequestCounts = Mapping[tuple[str, str, int], int]
"""Answers by method, route and status; as many as the route table has, whatever clients ask for."""


def render(status: Status, requests: RequestCounts, connections: int) -> tuple[bytes, str]:
    """Return the page and its content type."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
    from prometheus_client.exposition import CONTENT_TYPE_LATEST  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(_Snapshot(status, requests, connections))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Snapshot:
    def __init__(self, status: Status, requests: RequestCounts, connections: int) -> None:
        self._status = status
        self._requests = requests
        self._connections = connections

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        status = self._status
        for name, about, value in (
            ("peerd_uptime_seconds", "Time since the start", status.uptime_s),
            ("peerd_contacts", "Peers known", status.contacts),
            ("peerd_records", "Records kept", status.records),
            ("peerd_blobs", "Pieces of content kept", status.blobs),
            ("peerd_storage_quota_bytes", "Disk that may be used", status.storage.quota_bytes),
            ("peerd_storage_used_bytes", "Disk in use", status.storage.used_bytes),
            ("peerd_repair_missing_copies", "Copies known to be missing", status.repair.missing_copies),
            ("peerd_repair_lag_seconds", "Age of the oldest missing copy", status.repair.lag_s),
            ("peerd_cached_records", "Records of others cached for reads with one", status.cache.records),
            ("peerd_api_connections", "Connections to the local API", self._connections),
        ):
            yield GaugeMetricFamily(name, about, value=value)
        if status.repair.may_fail is not None:
            about = "Machines that may fail at once so that everything kept has a copy left"
            yield GaugeMetricFamily("peerd_machines_may_fail", about, value=status.repair.may_fail)
        kept = GaugeMetricFamily("peerd_storage_class_bytes", "Disk in use by class", labels=["class"])
        kept.add_metric(["pinned"], status.storage.pinned_bytes)
        kept.add_metric(["replica"], status.storage.replica_bytes)
        kept.add_metric(["cache"], status.storage.cache_bytes)
        yield kept
        degraded = GaugeMetricFamily("peerd_degraded", "Reasons why service is degraded", labels=["reason"])
        for reason in status.degraded:
            degraded.add_metric([reason], 1)
        yield degraded
        yield CounterMetricFamily("peerd_cache_hits", "Reads that found the content here", value=status.cache.hits)
        yield CounterMetricFamily("peerd_cache_misses", "Reads that had to fetch", value=status.cache.misses)
        yield CounterMetricFamily("peerd_cache_kept", "Copies that stayed after a read", value=status.cache.kept)
        about = "Reads that left no copy, because others are used more"
        yield CounterMetricFamily("peerd_cache_declined", about, value=status.cache.declined)
        yield CounterMetricFamily("peerd_cache_evicted", "Copies let go of for others", value=status.cache.evicted)
        rejected = CounterMetricFamily("peerd_rejected", "What others sent and was refused", labels=["reason"])
        for reason, count in status.rejected.items():
            rejected.add_metric([reason], count)
        yield rejected
        requests = CounterMetricFamily(
            "peerd_api_requests", "Answers of the local API", labels=["method", "route", "status"]
        )
        for (method, route, code), count in self._requests.items():
            requests.add_metric([method, route, str(code)], count)
        yield requests
