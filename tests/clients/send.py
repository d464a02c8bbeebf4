"""Sends traces with the Python OpenTelemetry SDK, over gRPC or HTTP, and prints the ids of those that must be kept.

    send.py grpc|http ENDPOINT TRACES

Every third trace has an error, in its LAST span. The spans of a trace go out one by one, in separate requests, over
two exporters in turn, so that a trace is whole only where it is put together again. Prints one JSON object.
"""

import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode


class Alternating(SpanExporter):
    """Gives each batch to the next of its exporters; fails loudly, so that a refused span fails the test."""

    def __init__(self, exporters):
        self.exporters = exporters
        self.turn = 0

    def export(self, spans):
        self.turn = (self.turn + 1) % len(self.exporters)
        result = self.exporters[self.turn].export(spans)
        if result is not SpanExportResult.SUCCESS:
            sys.exit(f"the exporter did not take {len(spans)} spans: {result}")
        return result

    def shutdown(self):
        for exporter in self.exporters:
            exporter.shutdown()


def make_exporter(protocol, endpoint):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")


def main():
    protocol, endpoint, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    exporter = Alternating([make_exporter(protocol, endpoint) for _ in range(2)])
    provider = TracerProvider(resource=Resource.create({"service.name": f"python-{protocol}"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tailwater.tests", "1.0")
    kept, dropped = {}, []
    for number in range(count):
        spans = []
        with tracer.start_as_current_span("root") as root:
            spans.append(root)
            for child in range(3):
                with tracer.start_as_current_span(f"child-{child}", attributes={"number": number}) as span:
                    span.add_event("step", {"of": "three"})
                    spans.append(span)
            # The root ends last: its span is the one that carries the error.
            if number % 3 == 0:
                root.set_status(Status(StatusCode.ERROR, "failed at the end"))
        trace_id = trace.format_trace_id(root.get_span_context().trace_id)
        ids = sorted(trace.format_span_id(span.get_span_context().span_id) for span in spans)
        if number % 3 == 0:
            kept[trace_id] = ids
        else:
            dropped.append(trace_id)
    provider.shutdown()
    print(json.dumps({"kept": kept, "dropped": dropped}))


main()
