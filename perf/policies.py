"""What policies cost: the processor time of a million spans with none, one, ten and fifty of them, and ten conditions.

The first policy of every set keeps the same traces, a third of those that the generator marks; what the others of the
set ask for is looked at on every span and never there. So the sets differ in nothing but the looking. The sets take
turns, round by round, and the medians are compared with those of the set of one: a virtual machine is not equally fast
from minute to minute.

With `--instructions` the spans go through one shard in a process of its own under `valgrind --tool=callgrind`, and what is
compared are instructions a span: from the scan to the batches that leave, without sockets. Those are the same each time.
"""

import json

import cost
from processes import PERF

CONFIG = PERF / "baseline.yaml"
# What stands before and behind the policies there.
POLICIES_BEGIN, POLICIES_END = "    policies:\n", "  # What is kept leaves"
# Of the set of one, at most.
AIMS = {"ten": 1.05, "ten conditions": 1.25}


def add_arguments(group):
    group.add_argument("--instructions", action="store_true",
                       help="count the instructions of a shard instead of the time of the process; needs valgrind")
    group.add_argument("--keep-profiles", metavar="DIRECTORY", help="with --instructions: keep callgrind's files there")


settle = cost.settle


# -- the sets ----------------------------------------------------------------------------------------------------------


def text(key, *values):
    return {"type": "string_attribute", "string_attribute": {"key": key, "values": list(values)}}


def number(key, low, high):
    return {"type": "numeric_attribute", "numeric_attribute": {"key": key, "min_value": low, "max_value": high}}


def truth(key):
    return {"type": "boolean_attribute", "boolean_attribute": {"key": key, "value": True}}


def condition(text_of_it):
    return {"type": "ottl_condition", "ottl_condition": {"error_mode": "propagate", "span": [text_of_it]}}


KEEPER = text("customer.tier", "platinum")
IDLE = [
    text("url.path", "/admin", "/internal/debug"),
    number("cart.items", 1000, 1000000),
    truth("sampling.force"),
    {"type": "span_count", "span_count": {"min_spans": 1000}},
    {"type": "latency", "latency": {"threshold_ms": 3600000}},
    text("service.name", "no-such-service"),
    number("http.response.status_code", 600, 699),
    text("http.request.method", "TRACE"),
    text("deployment.environment.name", "staging"),
]
CONDITIONS = [
    'attributes["customer.tier"] == "platinum"',
    'attributes["http.response.status_code"] >= 600',
    'attributes["cart.items"] > 1000 and attributes["cart.total"] > 100000.0',
    'resource.attributes["service.name"] == "no-such-service"',
    'kind == SPAN_KIND_SERVER and attributes["http.response.status_code"] >= 600',
    'status.code == STATUS_CODE_ERROR and name == "GET /no/such/route"',
    'IsRootSpan() and attributes["url.path"] == "/no/such/path"',
    'end_time - start_time > Duration("1h")',
    'HasPrefix(name, "no such span")',
    'attributes["sampling.force"] == true or attributes["no.such.key"] != nil',
]


def many(count):
    """One that keeps and others with keys of their own, which no span has, or has with other values."""
    more = [text(f"no.such.key.{index}", "x") if index % 2 else number("cart.items", 1000 + index, 1000000)
            for index in range(count - 1 - len(IDLE))]
    return [KEEPER, *IDLE, *more]


SETS = {
    "none": [],
    "one": [KEEPER],
    "ten": [KEEPER, *IDLE],
    "fifty": many(50),
    "ten conditions": [condition(each) for each in CONDITIONS],
}


def configuration(policies):
    """The configuration of the baseline with these policies."""
    whole = CONFIG.read_text()
    head, rest = whole.split(POLICIES_BEGIN)
    tail = rest[rest.index(POLICIES_END):]
    # JSON is YAML.
    named = [{"name": f"p{index}", **policy} for index, policy in enumerate(policies)]
    return cost.with_wait(f"{head}    policies: {json.dumps(named)}\n\n{tail}")


# -- measuring ---------------------------------------------------------------------------------------------------------


def run(options):
    """One row for each set."""
    if options.instructions:
        return {"rows": [row for size in options.sizes for row in counted(size, options)]}
    return {"rows": cost.in_turn("policies", {name: configuration(policies) for name, policies in SETS.items()}, options)}


def counted(size, options):
    """Instructions a span of each set."""
    counts = {name: cost.instructions(name, configuration(policies), size, options.load, keep=options.keep_profiles)
              for name, policies in SETS.items()}
    return [{"span_bytes": size, "policies": name, "instructions_per_span": count,
             "of_one": count / counts["one"], "more_than_one": count - counts["one"]} for name, count in counts.items()]


# -- showing -----------------------------------------------------------------------------------------------------------


def print_table(results, facts, options):
    """Shows the ratios, and which aims are missed."""
    if options.instructions:
        return print_instructions(results, facts)
    print(f"\n{facts['cpu']}, kernel {facts['kernel']}, one core for the server, generator and sink on another; "
          f"medians of {options.rounds} rounds, window {options.window} s, commit {facts['commit']}\n")
    print("| span | policies | CPU s per million | of one policy | each round |")
    print("| --- | --- | ---: | ---: | --- |")
    for row in results["rows"]:
        kind = f"{row['span_bytes']} B" + (f" {row['compression']}" if row["compression"] != "none" else "")
        each = ", ".join(f"{ratio:.2f}" for ratio in row["of_one_each"])
        print(f"| {kind} | {row['policies']} | {row['cpu_s_per_million']:.3f} | {row['of_one']:.2f} | {each} |")
    for row in results["rows"]:
        aim = AIMS.get(row["policies"])
        if aim and row["of_one"] > aim:
            print(f"\n{row['policies']} cost {row['of_one']:.2f} of one policy; the aim is {aim:.2f}")


def print_instructions(results, facts):
    print(f"\none shard under callgrind, commit {facts['commit']}\n")
    print("| span | policies | instructions a span | more than one policy |")
    print("| --- | --- | ---: | ---: |")
    for row in results["rows"]:
        print(f"| {row['span_bytes']} B | {row['policies']} | {row['instructions_per_span']:,.0f} | "
              f"{row['more_than_one']:+,.0f} |")
