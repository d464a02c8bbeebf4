// One of several programs that a request goes through: makes a span for each trace, with one child, by the Go SDK.
//
//	hop ENDPOINT
//
// Reads a line for each trace: a W3C traceparent, or `-` to begin a trace. Writes a line for each: the traceparent for the next
// program, and the ids of its spans. A line that ends in ` error` has the span end with an error. Spans go out over gRPC.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(os.Args[1]))
	check(err)
	provider := trace.NewTracerProvider(
		trace.WithResource(resource.NewSchemaless(attribute.String("service.name", "hop-go"))),
		trace.WithBatcher(exporter))
	tracer := provider.Tracer("tailwater.tests")
	propagator := propagation.TraceContext{}
	var lines []string
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		words := strings.Fields(input.Text())
		carrier := propagation.MapCarrier{"traceparent": words[0]}
		spanContext, span := tracer.Start(propagator.Extract(ctx, carrier), "hop")
		_, child := tracer.Start(spanContext, "work")
		child.End()
		if len(words) > 1 && words[1] == "error" {
			span.SetStatus(codes.Error, "failed")
		}
		span.End()
		propagator.Inject(spanContext, carrier)
		lines = append(lines, fmt.Sprintf("%s %s,%s", carrier["traceparent"], span.SpanContext().SpanID(), child.SpanContext().SpanID()))
	}
	check(input.Err())
	check(provider.ForceFlush(ctx))
	check(provider.Shutdown(ctx))
	fmt.Println(strings.Join(lines, "\n"))
}
