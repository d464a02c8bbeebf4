//! The command line of `tailwater-load`.

use crate::bare::{self, BareOptions};
use crate::generate::{self, GenerateOptions};
use crate::metrics_rollup::{self, MetricsRollupOptions};
use crate::output::Output;
use crate::patterns::{self, PatternsOptions};
use crate::shard::{self, ShardOptions};
use crate::sink::{self, SinkOptions};
use crate::verify::{self, VerifyOptions};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The version and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("TAILWATER_COMMIT"), ")");

/// Load generator, sink and verifier for OpenTelemetry trace samplers.
#[derive(Debug, clap::Parser)]
#[command(name = "tailwater-load", version = VERSION)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Send traces to one or more servers and account for every span
    Generate(Box<GenerateOptions>),
    /// Receive what a sampler lets out and check that traces are whole; exit status 1 if they are not
    Sink(SinkOptions),
    /// Compare what came out of a sampler with what had to come out; exit status 1 on any difference
    Verify(VerifyOptions),
    /// Receive OTLP/gRPC and only count it: the yardstick for servers
    Bare(BareOptions),
    /// Run traces through one shard in this process, always the same: for profilers
    Shard(ShardOptions),
    /// Group the lines of a file by their patterns: how well, and how fast
    Patterns(PatternsOptions),
    /// Merge metric points on one core in this process, and say what a point costs
    MetricsRollup(MetricsRollupOptions),
}

/// Runs the command; the exit status is 0 only if everything came out as it should.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Generate(options) => run_generate(&options),
        Command::Sink(options) => {
            let output = Output { json: options.json, quiet: options.quiet };
            conclude(output, sink::run(&options, output))
        }
        Command::Verify(options) => {
            let output = Output { json: options.json, quiet: false };
            conclude(output, verify::run(&options, output))
        }
        Command::Bare(options) => run_bare(&options),
        Command::Shard(options) => run_shard(&options),
        Command::Patterns(options) => run_patterns(&options),
        Command::MetricsRollup(options) => {
            Output { json: options.json, quiet: false }.result(&metrics_rollup::run(&options));
            ExitCode::SUCCESS
        }
    }
}

fn run_generate(options: &GenerateOptions) -> ExitCode {
    let output = Output { json: options.json, quiet: options.quiet };
    let stop = Arc::new(AtomicBool::new(false));
    crate::interrupt::watch(Arc::clone(&stop));
    match generate::run(options, &output, stop) {
        Ok(report) => {
            output.result(&report.line());
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            output.failure(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run_bare(options: &BareOptions) -> ExitCode {
    let output = Output { json: options.json, quiet: false };
    match bare::run(options, &output) {
        Ok(summary) => {
            output.result(&summary);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output.failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run_shard(options: &ShardOptions) -> ExitCode {
    let output = Output { json: options.json, quiet: false };
    match shard::run(options) {
        Ok(summary) => {
            output.result(&summary);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output.failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run_patterns(options: &PatternsOptions) -> ExitCode {
    let output = Output { json: options.json, quiet: false };
    match patterns::run(options) {
        Ok(summary) => {
            output.result(&summary);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output.failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn conclude(output: Output, outcome: Result<bool, String>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output.failure(&error);
            ExitCode::FAILURE
        }
    }
}
