"""Counts and times of a service, as Prometheus reads them; each service has a registry of its own."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """What a service counts.

    Args:
        sizes: of the batches that are computed.
        waiting: returns how many images there are in the service.
        held: returns how many bytes of requests there are in the memory.
    """

    def __init__(self, sizes: Sequence[int], waiting: Callable[[], float], held: Callable[[], float]):
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("flaxcnn_requests", "Requests", ["path", "method", "code"], registry=registry)
        self.seconds = Histogram(
            "flaxcnn_request_seconds",
            "From a request's head to its answer",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter("flaxcnn_images", "Images, answered or unusable", ["outcome"], registry=registry)
        self.batches = Histogram(
            "flaxcnn_batch_images", "Images computed at once", buckets=list(sizes), registry=registry
        )
        self.model_seconds = Histogram(
            "flaxcnn_model_seconds", "The model's time for a batch", buckets=_SECONDS, registry=registry
        )
        Gauge("flaxcnn_queue_images", "Images in the service", registry=registry).set_function(waiting)
        Gauge("flaxcnn_held_bytes", "Bytes of requests in the memory", registry=registry).set_function(held)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch and the model's time for it."""
        self.batches.observe(images)
        self.model_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
