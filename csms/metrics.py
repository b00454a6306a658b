"""What an operator's Prometheus may ask of one process."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry for one process; the parts say what they count by handing over something to read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.restarts = Counter(
            "roambridge_task_restarts",
            "Long tasks that failed and were started again",
            ["task"],
            registry=self._registry,
        )

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """`read` is called at each scrape."""
        self._registry.register(_Reading(lambda: [GaugeMetricFamily(f"roambridge_{name}", about, value=read())]))

    def counts(self, name: str, about: str, label: str, read: Callable[[], Mapping[str, int]]) -> None:
        """A mapping that only ever grows, a series for each key."""
        self._by_label(CounterMetricFamily, name, about, label, read)

    def gauges(self, name: str, about: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """A mapping that rises and falls, a series for each key."""
        self._by_label(GaugeMetricFamily, name, about, label, read)

    def seconds(self, name: str, about: str, label: str) -> Callable[[str, float], None]:
        """A histogram for each key; call what is returned with a key and a number of seconds, from any thread."""
        told = Histogram(f"roambridge_{name}_seconds", about, [label], buckets=SECONDS, registry=self._registry)
        return lambda key, seconds: told.labels(key).observe(seconds)

    def _by_label(
        self,
        family: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        about: str,
        label: str,
        read: Callable[[], Mapping[str, float]],
    ) -> None:
        def collect() -> list[Metric]:
            told = family(f"roambridge_{name}", about, labels=[label])
            for key, number in sorted(read().items()):
                told.add_metric([key], number)
            return [told]

        self._registry.register(_Reading(collect))

    def text(self) -> bytes:
        """What a scrape gets; some of what is read is in the database, so this belongs into a thread."""
        return generate_latest(self._registry)


class _Reading(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()

    def describe(self) -> Iterable[Metric]:
        return ()
