import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.logs.Logger;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Scope;
import io.opentelemetry.exporter.otlp.http.logs.OtlpHttpLogRecordExporter;
import io.opentelemetry.exporter.otlp.http.metrics.OtlpHttpMetricExporter;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.logs.SdkLoggerProvider;
import io.opentelemetry.sdk.logs.export.BatchLogRecordProcessor;
import io.opentelemetry.sdk.metrics.SdkMeterProvider;
import io.opentelemetry.sdk.metrics.export.PeriodicMetricReader;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Sends traces, logs and metrics with the Java OpenTelemetry SDK and prints the ids of the traces that must be kept, as
 * signals.py does with that of Python: {@code java -cp 'lib/*' Signals.java ENDPOINT TRACES}.
 */
class Signals {
  public static void main(String[] arguments) {
    String endpoint = arguments[0];
    int traces = Integer.parseInt(arguments[1]);
    Resource resource =
        Resource.getDefault().toBuilder().put(AttributeKey.stringKey("service.name"), "java").build();
    var spans = OtlpHttpSpanExporter.builder().setEndpoint(endpoint + "/v1/traces").build();
    var logs = OtlpHttpLogRecordExporter.builder().setEndpoint(endpoint + "/v1/logs").build();
    var metrics = OtlpHttpMetricExporter.builder().setEndpoint(endpoint + "/v1/metrics").build();
    var reader = PeriodicMetricReader.builder(metrics).build();
    OpenTelemetrySdk sdk =
        OpenTelemetrySdk.builder()
            .setTracerProvider(
                SdkTracerProvider.builder()
                    .setResource(resource)
                    .addSpanProcessor(BatchSpanProcessor.builder(spans).setMaxQueueSize(1 << 16).build())
                    .build())
            .setLoggerProvider(
                SdkLoggerProvider.builder()
                    .setResource(resource)
                    .addLogRecordProcessor(BatchLogRecordProcessor.builder(logs).setMaxQueueSize(1 << 16).build())
                    .build())
            .setMeterProvider(
                SdkMeterProvider.builder().setResource(resource).registerMetricReader(reader).build())
            .build();
    Tracer tracer = sdk.getTracer("shop");
    Logger logger = sdk.getLogsBridge().get("shop");
    var orders = sdk.getMeter("shop").counterBuilder("orders").build();
    var sizes = sdk.getMeter("shop").histogramBuilder("order.size").build();
    List<String> kept = new ArrayList<>();
    for (int number = 0; number < traces; number++) {
      boolean failed = number % 3 == 0;
      Span root = tracer.spanBuilder("order").startSpan();
      try (Scope inRoot = root.makeCurrent()) {
        log(logger, Severity.INFO, "order " + number + " accepted");
        Span child = tracer.spanBuilder("reserve").startSpan();
        try (Scope inChild = child.makeCurrent()) {
          log(logger, Severity.WARN, "stock of item " + (number * 7) + " is low");
        }
        child.end();
        if (failed) {
          log(logger, Severity.ERROR, "order " + number + " failed at the end");
          root.setStatus(StatusCode.ERROR, "failed at the end");
          kept.add("\"" + root.getSpanContext().getTraceId() + "\"");
        }
      }
      root.end();
      Attributes attributes = Attributes.of(AttributeKey.stringKey("lane"), "lane-" + number % 5);
      orders.add(1, attributes);
      sizes.record(number % 10, attributes);
      if (number == traces / 2) {
        // What is told of the rest at the end is a difference to this.
        reader.forceFlush().join(60, TimeUnit.SECONDS);
      }
    }
    boolean isDone = sdk.shutdown().join(60, TimeUnit.SECONDS).isSuccess();
    if (!isDone) {
      System.err.println("the SDK could not send everything");
      System.exit(1);
    }
    System.out.println(
        "{\"service\": \"java\", \"traces\": " + traces + ", \"kept\": [" + String.join(", ", kept) + "]}");
    System.exit(0);
  }

  private static void log(Logger logger, Severity severity, String body) {
    logger.logRecordBuilder().setSeverity(severity).setSeverityText(severity.name()).setBody(body).emit();
  }
}
