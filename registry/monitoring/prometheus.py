"""Write the figures of monitoring in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from registry.monitoring.figures import FIGURES, Figure


class MonitoringCollector:
    """A collector that reads the newest figures at every scrape."""

    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family per figure."""
        named: dict[str, GaugeMetricFamily] = {}
        for one in self._figures():
            family = named.setdefault(
                one.name,
                GaugeMetricFamily(one.name, FIGURES[one.name], labels=tuple(sorted(one.labels))),
            )
            family.add_metric([one.labels[name] for name in sorted(one.labels)], one.value)
        yield from named.values()


def monitoring_text(figures: Iterable[Figure]) -> bytes:
    """The figures in Prometheus' text format, for a collector that reads files."""
    registry = CollectorRegistry()
    registry.register(MonitoringCollector(lambda: figures))
    return generate_latest(registry)
