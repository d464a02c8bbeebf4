"""Sends traces, logs and metrics with the Python OpenTelemetry SDK and prints the ids of the traces that must be kept.

    signals.py ENDPOINT TRACES

Each trace has two spans, each with a log record; every third one fails and has a third record. A counter and a histogram have
a point for each trace. Prints one JSON object. signals/Signals.java is the same in Java.
"""

import json
import logging
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode


def main():
    endpoint, count = sys.argv[1], int(sys.argv[2])
    resource = Resource.create({"service.name": "python"})
    to = {"endpoint": endpoint, "insecure": True}
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**to), max_queue_size=1 << 16))
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**to), max_queue_size=1 << 16))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(**to))
    metrics = MeterProvider(resource=resource, metric_readers=[reader])

    logger = logging.getLogger("shop")
    logger.addHandler(LoggingHandler(logger_provider=logs))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    tracer, meter = spans.get_tracer("shop"), metrics.get_meter("shop")
    orders, sizes = meter.create_counter("orders"), meter.create_histogram("order.size")
    kept = []
    for number in range(count):
        with tracer.start_as_current_span("order") as root:
            logger.info("order %d accepted", number)
            with tracer.start_as_current_span("reserve"):
                logger.warning("stock of item %d is low", number * 7)
            if number % 3 == 0:
                logger.error("order %d failed at the end", number)
                root.set_status(Status(StatusCode.ERROR, "failed at the end"))
                kept.append(trace.format_trace_id(root.get_span_context().trace_id))
        attributes = {"lane": f"lane-{number % 5}"}
        orders.add(1, attributes)
        sizes.record(number % 10, attributes)
        if number == count // 2:
            # What is told of the rest at the end is a difference to this.
            reader.force_flush()
    for provider in (spans, logs, metrics):
        provider.shutdown()
    print(json.dumps({"service": "python", "traces": count, "kept": kept}))


main()
