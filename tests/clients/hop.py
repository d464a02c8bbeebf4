"""One of several programs that a request goes through: makes a span for each trace, with one child, by the Python SDK.

    hop.py ENDPOINT

Reads a line for each trace: a W3C traceparent, or `-` to begin a trace. Writes a line for each: the traceparent for the next
program, and the ids of its spans. A line that ends in ` error` has the span end with an error. Spans go out over gRPC.
"""

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags


def context_of(traceparent):
    if traceparent == "-":
        return None
    _version, trace_id, span_id, flags = traceparent.split("-")
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    return trace.set_span_in_context(NonRecordingSpan(context))


def main():
    provider = TracerProvider(resource=Resource.create({"service.name": "hop-python"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[1], insecure=True)))
    tracer = provider.get_tracer("tailwater.tests", "1.0")
    lines = []
    for line in sys.stdin:
        traceparent, *rest = line.split()
        with tracer.start_as_current_span("hop", context=context_of(traceparent)) as span:
            with tracer.start_as_current_span("work") as child:
                ids = [format(each.get_span_context().span_id, "016x") for each in (span, child)]
            if rest == ["error"]:
                span.set_status(Status(StatusCode.ERROR, "failed"))
        own = span.get_span_context()
        lines.append(f"00-{own.trace_id:032x}-{own.span_id:016x}-01 {','.join(ids)}")
    if not provider.force_flush():
        sys.exit("the exporter did not take the spans")
    provider.shutdown()
    print("\n".join(lines))


main()
