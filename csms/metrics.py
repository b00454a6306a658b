"""What an operator's Prometheus may ask of one process."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from csms.measures import SECONDS, Distribution


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
        ProcessCollector(registry=self._registry)  # memory, processor time, open files

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """`read` is called at each scrape."""
        self._registry.register(_Reading(lambda: [GaugeMetricFamily(f"roambridge_{name}", about, value=read())]))

    def counts(self, name: str, about: str, label: str, read: Callable[[], Mapping[str, int]]) -> None:
        """A mapping that only ever grows, a series for each key."""
        self._by_label(CounterMetricFamily, name, about, label, read)

    def gauges(self, name: str, about: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """A mapping that rises and falls, a series for each key."""
        self._by_label(GaugeMetricFamily, name, about, label, read)

    def counts_by(
        self, name: str, about: str, labels: Sequence[str], read: Callable[[], Mapping[tuple[str, ...], float]]
    ) -> None:
        """As `counts`, with more labels than one."""

        def collect() -> list[Metric]:
            told = CounterMetricFamily(f"roambridge_{name}", about, labels=labels)
            for key, number in sorted(read().items()):
                told.add_metric(key, number)
            return [told]

        self._registry.register(_Reading(collect))

    def seconds(self, name: str, about: str, label: str) -> Callable[[str, float], None]:
        """A histogram for each key; call what is returned with a key and a number of seconds, from any thread."""
        return self.distribution(f"{name}_seconds", about, label, SECONDS)

    def distribution(self, name: str, about: str, label: str, bounds: Sequence[float]) -> Callable[[str, float], None]:
        """As `seconds`, of whatever is measured; without a label there is one histogram, of the key ""."""
        found = Distribution(bounds)

        def collect() -> list[Metric]:
            told = HistogramMetricFamily(f"roambridge_{name}", about, labels=[label] if label else [])
            for key, sums, total in found.read():
                told.add_metric([key] if label else [], sums, total)
            return [told]

        self._registry.register(_Reading(collect))
        return found.add

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
