// Sends traces with the JavaScript OpenTelemetry SDK over HTTP/JSON and prints the ids of those that must be kept.
//
//     send.mjs ENDPOINT TRACES
//
// Every third trace has an error, in its last span; every span goes out in a request of its own. Prints one JSON object.

import { SpanStatusCode, context, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

const [endpoint, count] = process.argv.slice(2);
const exporter = new OTLPTraceExporter({ url: `${endpoint}/v1/traces`, concurrencyLimit: 1000 });
const taken = exporter.export.bind(exporter);
exporter.export = (spans, done) =>
  taken(spans, (result) => {
    if (result.code !== 0) {
      console.error('the exporter did not take a span:', result.error);
      process.exit(1);
    }
    done(result);
  });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'javascript' }),
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const tracer = provider.getTracer('tailwater.tests', '1.0');
const kept = {};
const dropped = [];
for (let number = 0; number < Number(count); number += 1) {
  const root = tracer.startSpan('root');
  const inside = trace.setSpan(context.active(), root);
  const spans = [root];
  for (let child = 0; child < 3; child += 1) {
    const span = tracer.startSpan(`child-${child}`, { attributes: { number, share: 0.5, list: ['a', 'b'] } }, inside);
    span.end();
    spans.push(span);
  }
  if (number % 3 === 0) root.setStatus({ code: SpanStatusCode.ERROR, message: 'failed at the end' });
  root.end();
  const traceId = root.spanContext().traceId;
  if (number % 3 === 0) kept[traceId] = spans.map((span) => span.spanContext().spanId).sort();
  else dropped.push(traceId);
}
await provider.shutdown();
console.log(JSON.stringify({ kept, dropped }));
