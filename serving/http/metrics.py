"""What the service counts about itself, for Prometheus to read.

One registry per application, so that two of them in one process never add up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.monitoring.figures import Figure
from registry.monitoring.prometheus import MonitoringCollector
from serving.http.shared_metrics import SharedMetrics
from serving.scoring.portfolio import Portfolio, total
from serving.scoring.score import ScoredBy

__all__ = ["CONTENT_TYPE_LATEST", "MetricsMiddleware", "ServiceMetrics"]

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class ServiceMetrics:
    """The counters and gauges of one application.

    ``monitored`` gives what monitoring found, so that it is read with them.
    """

    def __init__(self, monitored: Callable[[], Iterable[Figure]] = tuple) -> None:
        # Importing Feast turns prometheus_client to files that all its registries share, and two
        # applications would add up; here every value stays with its own registry.
        values.ValueClass = values.MutexValue
        self.registry = CollectorRegistry()
        self.shared: SharedMetrics | None = None  # where there are other workers
        self.registry.register(MonitoringCollector(monitored))
        self.requests = Counter(
            "keepwell_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.refused = Counter(
            "keepwell_refused_requests",
            "Requests refused because as many of their class were worked on.",
            ("route_class",),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "keepwell_request_seconds",
            "Time to answer by route.",
            ("route",),
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.accounts = Gauge(
            "keepwell_accounts", "Accounts scored, by source.", ("source",), registry=self.registry
        )
        self.feature_age = Gauge(
            "keepwell_feature_age_seconds",
            "Age of the newest features by the workspace's clock.",
            registry=self.registry,
        )
        self.revenue_at_risk = Gauge(
            "keepwell_revenue_at_risk",
            "Sum of revenue at risk in the reporting currency.",
            registry=self.registry,
        )
        self.refreshes = Counter(
            "keepwell_refreshes",
            "Times that all accounts were scored anew.",
            registry=self.registry,
        )
        self.refresh_failures = Counter(
            "keepwell_refresh_failures", "Times that scoring anew failed.", registry=self.registry
        )
        self.degraded = Gauge(
            "keepwell_store_degraded",
            "1 where a store of the workspace cannot be used as it is, else 0.",
            ("store",),
            registry=self.registry,
        )
        self.clock_ahead = Gauge(
            "keepwell_clock_ahead_seconds",
            "How far the clock of the machine is ahead of the time that the service goes by.",
            registry=self.registry,
        )
        self.decisions = Counter("keepwell_decisions", "Decisions stored.", registry=self.registry)
        self.outcomes = Counter(
            "keepwell_outcomes", "Outcomes stored, by kind.", ("kind",), registry=self.registry
        )
        self.claims = Counter(
            "keepwell_claims",
            "Steps of claims, by what was done.",
            ("step",),
            registry=self.registry,
        )
        self.events = Counter(
            "keepwell_events",
            "Event rows received, by what became of them.",
            ("status",),
            registry=self.registry,
        )

    def count_refused(self, route_class: str) -> None:
        """Count a request that was refused because its class had no place."""
        self.refused.labels(route_class).inc()

    def show(self, portfolio: Portfolio) -> None:
        """Set the gauges to a portfolio."""
        for source in get_args(ScoredBy):
            count = sum(score.score_source == source for score in portfolio.scores)
            self.accounts.labels(source).set(count)
        self.feature_age.set((portfolio.now - portfolio.as_of).total_seconds())
        at_risk = total(score.revenue_at_risk for score in portfolio.scores)
        self.revenue_at_risk.set(math.nan if at_risk is None else at_risk)

    def text(self) -> bytes:
        """Everything in Prometheus' text format, of all workers where there are others."""
        own = generate_latest(self.registry)
        return own if self.shared is None else self.shared.together(own)

    def share(self) -> None:
        """Leave what was counted for the other workers."""
        if self.shared is not None:
            self.shared.leave(generate_latest(self.registry))


class MetricsMiddleware:
    """Counts every request under its route's pattern, as ASGI middleware.

    The pattern, not the address, is the label: account ids stay out, and nobody can grow the
    number of series by asking for new addresses.
    """

    def __init__(
        self, app: ASGIApp, metrics: ServiceMetrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its status and its time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        began = self.clock()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.seconds.labels(route).observe(self.clock() - began)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
