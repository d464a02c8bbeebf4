// One of several programs that a request goes through: makes a span for each trace, with one child, by the JavaScript SDK.
//
//     hop.mjs ENDPOINT
//
// Reads a line for each trace: a W3C traceparent, or `-` to begin a trace. Writes a line for each: the traceparent for the next
// program, and the ids of its spans. A line that ends in ` error` has the span end with an error. Spans go out as HTTP/JSON.

import { readFileSync } from 'node:fs';
import { ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

const exporter = new OTLPTraceExporter({ url: `${process.argv[2]}/v1/traces` });
const taken = exporter.export.bind(exporter);
exporter.export = (spans, done) =>
  taken(spans, (result) => {
    if (result.code !== 0) {
      console.error('the exporter did not take the spans:', result.error);
      process.exit(1);
    }
    done(result);
  });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'hop-javascript' }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer('tailwater.tests', '1.0');

function contextOf(traceparent) {
  if (traceparent === '-') return ROOT_CONTEXT;
  const [, traceId, spanId, flags] = traceparent.split('-');
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: parseInt(flags, 16), isRemote: true });
}

const lines = [];
for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const [traceparent, word] = line.split(' ');
  const context = contextOf(traceparent);
  const span = tracer.startSpan('hop', {}, context);
  const child = tracer.startSpan('work', {}, trace.setSpan(context, span));
  child.end();
  if (word === 'error') span.setStatus({ code: SpanStatusCode.ERROR, message: 'failed' });
  span.end();
  const { traceId, spanId } = span.spanContext();
  lines.push(`00-${traceId}-${spanId}-01 ${spanId},${child.spanContext().spanId}`);
}
await provider.shutdown();
console.log(lines.join('\n'));
