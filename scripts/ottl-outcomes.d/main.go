// Fills in the outcomes in a table of conditions with what the Collector's pkg/ottl makes of them, as its tail_sampling
// processor uses it. See scripts/ottl-outcomes.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspanevent"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/ottlfuncs"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type request = ptraceotlp.ExportRequest

func main() {
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		work(os.Args[2])
		return
	}
	if len(os.Args) < 3 {
		fail("usage: ottl-outcomes REQUESTS TABLE [TABLE...]; the tables with their outcomes go to standard output")
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	var worker worker
	for _, path := range os.Args[2:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fail("%v", err)
		}
		for number, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				fmt.Fprintln(out, line)
				continue
			}
			parts := strings.SplitN(line, " ", 4)
			if len(parts) != 4 || (parts[2] != "span" && parts[2] != "spanevent") {
				fail("%s: line %d is no row: %s", path, number+1, line)
			}
			row := strings.Join(parts[1:], " ")
			found := worker.ask(row)
			if os.Getenv("REASONS") != "" && len(found) > 1 {
				fmt.Fprintf(os.Stderr, "%s %s: %s\n", found[:1], parts[3], found[1:])
			}
			fmt.Fprintf(out, "%s %s\n", found[:1], row)
		}
	}
}

// A process of its own that evaluates rows: some crash the Collector in a way that nothing survives.
type worker struct {
	process *exec.Cmd
	rows    io.WriteCloser
	found   *bufio.Reader
}

// How long a row may take. What takes longer does not end.
const patience = 10 * time.Second

// The outcome of a row, and the words of an error behind it.
func (w *worker) ask(row string) string {
	if w.process == nil {
		w.process = exec.Command(os.Args[0], "worker", os.Args[1])
		rows, err := w.process.StdinPipe()
		if err == nil {
			w.rows = rows
			var found io.ReadCloser
			found, err = w.process.StdoutPipe()
			w.found = bufio.NewReader(found)
		}
		if err == nil {
			err = w.process.Start()
		}
		if err != nil {
			fail("%v", err)
		}
	}
	process := w.process
	timer := time.AfterFunc(patience, func() { _ = process.Process.Kill() })
	_, err := fmt.Fprintln(w.rows, row)
	var found string
	if err == nil {
		found, err = w.found.ReadString('\n')
	}
	timer.Stop()
	if err != nil {
		_ = w.process.Wait()
		w.process = nil
		return "P the process ends or hangs"
	}
	return strings.TrimSuffix(found, "\n")
}

// Evaluates rows from standard input.
func work(path string) {
	requests, err := readRequests(path)
	if err != nil {
		fail("%s: %v", path, err)
	}
	rows := bufio.NewScanner(os.Stdin)
	rows.Buffer(nil, 1<<20)
	for rows.Scan() {
		parts := strings.SplitN(rows.Text(), " ", 3)
		body, ok := requests[parts[0]]
		if !ok {
			fail("there is no request %s", parts[0])
		}
		found, why := outcome(body, parts[1], parts[2])
		fmt.Println(strings.TrimSpace(found + " " + strings.ReplaceAll(why, "\n", " ")))
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, "ottl-outcomes: "+format+"\n", arguments...)
	os.Exit(2)
}

// The requests by name: a name and hexadecimal digits in each line.
func readRequests(path string) (map[string]request, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	requests := map[string]request{}
	for _, line := range bytes.Split(text, []byte("\n")) {
		name, digits, ok := strings.Cut(string(line), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		body, err := hex.DecodeString(digits)
		if err != nil {
			return nil, err
		}
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(body); err != nil {
			return nil, err
		}
		requests[name] = request
	}
	return requests, nil
}

// T, F or E of one condition on the one span of a request, X when it is refused, P when the Collector would crash; and
// the words of an error.
func outcome(body request, name, condition string) (found, why string) {
	defer func() {
		if crash := recover(); crash != nil {
			found, why = "P", fmt.Sprint(crash)
		}
	}()
	settings := componenttest.NewNopTelemetrySettings()
	resource := body.Traces().ResourceSpans().At(0)
	scope := resource.ScopeSpans().At(0)
	span := scope.Spans().At(0)
	letter := func(holds bool, err error) (string, string) {
		switch {
		case err != nil:
			return "E", err.Error()
		case holds:
			return "T", ""
		}
		return "F", ""
	}
	events := span.Events()
	if name == "span" {
		converters := ottlfuncs.StandardConverters[*ottlspan.TransformContext]()
		root := ottlfuncs.NewIsRootSpanFactory()
		converters[root.Name()] = root
		parser, err := ottlspan.NewParser(converters, settings, ottlspan.EnablePathContextNames())
		if err != nil {
			return "X", err.Error()
		}
		sequence, err := read(parser, settings, name, condition)
		if err != nil {
			return "X", err.Error()
		}
		return letter(sequence.Eval(context.Background(), ottlspan.NewTransformContext(resource, scope, span)))
	}
	converters := ottlfuncs.StandardConverters[*ottlspanevent.TransformContext]()
	parser, err := ottlspanevent.NewParser(converters, settings, ottlspanevent.EnablePathContextNames())
	if err != nil {
		return "X", err.Error()
	}
	sequence, err := read(parser, settings, name, condition)
	if err != nil {
		return "X", err.Error()
	}
	for index := range events.Len() {
		event := ottlspanevent.NewTransformContext(resource, scope, span, events.At(index))
		if found, why := letter(sequence.Eval(context.Background(), event)); found != "F" {
			return found, why
		}
	}
	return "F", ""
}

// As the processor reads a condition: a path without a context gets that of its list.
func read[K any](parser ottl.Parser[K], settings component.TelemetrySettings, name, condition string) (*ottl.ConditionSequence[K], error) {
	type parsed = *ottl.ConditionSequence[K]
	sequence := func(_ *ottl.ParserCollection[parsed], _ ottl.ConditionsGetter, conditions []*ottl.Condition[K]) (parsed, error) {
		all := ottl.NewConditionSequence(conditions, settings, ottl.WithConditionSequenceErrorMode[K](ottl.PropagateError))
		return &all, nil
	}
	collection, err := ottl.NewParserCollection(settings,
		ottl.WithParserCollectionContext(name, &parser, ottl.WithConditionConverter(sequence)))
	if err != nil {
		return nil, err
	}
	return collection.ParseConditionsWithContext(name, ottl.NewConditionsGetter([]string{condition}), true)
}
