"""What pipelines cost: the processor time of a million spans that one, two and three pipelines on one receiver each judge.

Every pipeline has the ten policies of the baseline in a sampler of its own, and sends to the same server. The numbers of
pipelines take turns, round by round, and the medians are compared with those of one. docs/adr/0008-pipelines.md says why
each pipeline buffers and judges for itself.

With `--instructions` each request goes through as many shards in one process, as the port of a core has it, and what is
compared are instructions a span.
"""

import cost
from processes import PERF

CONFIG = PERF / "baseline.yaml"
COUNTS = {"one": 1, "two": 2, "three": 3}
# Where the sampler begins and ends there, and the pipeline.
SAMPLER_BEGIN, SAMPLER_END = "  tail_sampling:\n", "  # What is kept leaves"
PIPELINE_BEGIN = "    traces:\n"


settle = cost.settle


def configuration(count):
    """The configuration of the baseline with so many pipelines, each with a sampler of its own."""
    head, rest = cost.with_wait(CONFIG.read_text()).split(SAMPLER_BEGIN)
    sampler, rest = rest.split(SAMPLER_END)
    middle, pipeline = rest.split(PIPELINE_BEGIN)
    samplers = [f"  tail_sampling/{index}:\n{sampler}" for index in range(count)]
    pipelines = [f"    traces/{index}:\n" + pipeline.replace("tail_sampling", f"tail_sampling/{index}")
                 for index in range(count)]
    return head + "".join(samplers) + SAMPLER_END + middle + "".join(pipelines)


def run(options):
    """One row for each number of pipelines."""
    if options.instructions:
        return {"rows": [row for size in options.sizes for row in counted(size, options)]}
    return {"rows": cost.in_turn("pipelines", {name: configuration(count) for name, count in COUNTS.items()}, options)}


def counted(size, options):
    """Instructions a span of each number of pipelines."""
    counts = {count: cost.instructions(f"{name} pipelines", CONFIG.read_text(), size, options.load, cost.SHORT_ROUNDS,
                                       options.keep_profiles, [*cost.SHORT, "--pipelines", str(count)])
              for name, count in COUNTS.items()}
    return [{"span_bytes": size, "pipelines": number, "instructions_per_span": count, "of_one": count / counts[1]}
            for number, count in counts.items()]


def print_table(results, facts, options):
    """Shows the ratios."""
    if options.instructions:
        print(f"\nas many shards in one process under callgrind, ten policies each, commit {facts['commit']}\n")
        print("| span | pipelines | instructions a span | of one |")
        print("| --- | ---: | ---: | ---: |")
        for row in results["rows"]:
            print(f"| {row['span_bytes']} B | {row['pipelines']} | {row['instructions_per_span']:,.0f} | {row['of_one']:.2f} |")
        return
    print(f"\n{facts['cpu']}, kernel {facts['kernel']}, one core for the server, generator and sink on another; "
          f"medians of {options.rounds} rounds, window {options.window} s, commit {facts['commit']}\n")
    print("| span | pipelines | CPU s per million | of one | each round |")
    print("| --- | ---: | ---: | ---: | --- |")
    for row in results["rows"]:
        kind = f"{row['span_bytes']} B" + (f" {row['compression']}" if row["compression"] != "none" else "")
        each = ", ".join(f"{ratio:.2f}" for ratio in row["of_one_each"])
        print(f"| {kind} | {row['pipelines']} | {row['cpu_s_per_million']:.3f} | {row['of_one']:.2f} | {each} |")
