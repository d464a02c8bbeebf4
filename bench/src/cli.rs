//! The command line of `tailwater-load`.

use crate::bare::{self, BareOptions};
use crate::generate::{self, GenerateOptions};
use crate::output::Output;
use crate::verify::{self, VerifyOptions};
use std::process::ExitCode;

/// Load generator, sink and verifier for OpenTelemetry trace samplers.
#[derive(Debug, clap::Parser)]
#[command(name = "tailwater-load", version)]
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
    /// Compare what came out of a sampler with what had to come out; exit status 1 on any difference
    Verify(VerifyOptions),
    /// Receive OTLP/gRPC and only count it: the yardstick for servers
    Bare(BareOptions),
}

/// Runs the command; the exit status is 0 only if everything came out as it should.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Generate(options) => run_generate(&options),
        Command::Verify(options) => run_verify(&options),
        Command::Bare(options) => run_bare(&options),
    }
}

fn run_generate(options: &GenerateOptions) -> ExitCode {
    let output = Output { json: options.json, quiet: options.quiet };
    match generate::run(options, &output) {
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

fn run_verify(options: &VerifyOptions) -> ExitCode {
    let output = Output { json: options.json, quiet: false };
    match verify::run(options, output) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output.failure(&error);
            ExitCode::FAILURE
        }
    }
}
