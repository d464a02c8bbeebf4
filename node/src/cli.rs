//! The command line. Every knob of the catalogue is a flag of `run` and `check`; nothing about a knob is written here.

use crate::{boot, check, doctor, log_tool, machine};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tailwater_config::{Inputs, Kind, Knob, Loaded, Problem, knobs, load};

/// The configuration is wrong: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIGURATION: u8 = 78;
/// The command line is wrong: `EX_USAGE`.
const EXIT_USAGE: u8 = 64;

/// Runs the program with these arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let knobs = knobs();
    let matches = match command(&knobs).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let asked = !error.use_stderr();
            // A closed terminal is no reason to fail differently.
            _ = error.print();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) };
        }
    };
    match matches.subcommand() {
        Some(("run", matches)) => {
            let repair = matches.get_flag("repair");
            with_configuration(matches, &knobs, |loaded| boot::run(loaded, repair))
        }
        Some(("check", matches)) => with_configuration(matches, &knobs, check::run),
        Some(("doctor", matches)) => {
            let json = matches.get_flag("json");
            with_configuration(matches, &knobs, |loaded| doctor::run(loaded, json))
        }
        Some(("log", matches)) => log(matches),
        _ => ExitCode::from(EXIT_USAGE),
    }
}

/// Runs a verb of `tailwater log`. None needs the configuration: a directory is enough, also one from elsewhere.
fn log(matches: &ArgMatches) -> ExitCode {
    let path = |matches: &ArgMatches| matches.get_one::<PathBuf>("path").cloned().unwrap_or_default();
    match matches.subcommand() {
        Some(("dump", matches)) => log_tool::dump(&path(matches), matches.get_flag("json")),
        Some(("verify", matches)) => log_tool::verify(&path(matches)),
        _ => ExitCode::from(EXIT_USAGE),
    }
}

fn command(knobs: &[Knob]) -> Command {
    let configured = |name: &'static str, about: &'static str| {
        let command = Command::new(name).about(about).next_line_help(true);
        command.arg(config_argument()).args(knobs.iter().map(argument))
    };
    Command::new("tailwater")
        .about("Tail sampling for OpenTelemetry: holds each trace until it can be judged as a whole")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            configured("run", "Receive, sample and export until told to stop").arg(
                Arg::new("repair")
                    .long("repair")
                    .action(ArgAction::SetTrue)
                    .help("Set files of the log aside that cannot be read, and start without them")
                    .display_order(1),
            ),
        )
        .subcommand(configured("check", "Check the configuration and print what would run, with the memory plan"))
        .subcommand(configured("doctor", "Test this machine and name the remedy for what is missing").arg(
            Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object").display_order(1),
        ))
        .subcommand(log_command())
}

fn log_command() -> Command {
    let path = |name: &'static str, help: &'static str| {
        Arg::new("path").value_name(name).value_parser(clap::value_parser!(PathBuf)).required(true).help(help)
    };
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object a line");
    Command::new("log")
        .about("Read the write-ahead log; changes nothing and may run beside a node")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("dump")
                .about("Print the records of a segment")
                .arg(path("PATH", "Segment file; or directory of the log, for all of its segments"))
                .arg(json),
        )
        .subcommand(
            Command::new("verify")
                .about("Check all segments of a directory: exit code 1 if accepted data is missing")
                .arg(path("DIRECTORY", "Directory of the log, or data directory")),
        )
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .short('c')
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Configuration file, native or the OpenTelemetry Collector's")
        .display_order(0)
}

fn argument(knob: &Knob) -> Arg {
    let help = format!("{} [default: {}] [environment: {}]", knob.effect, knob.default, knob.environment);
    let argument = Arg::new(knob.path.clone()).long(knob.flag.clone()).help(help).action(ArgAction::Set);
    match knob.kind {
        // A switch may be given without a value.
        Kind::Bool => argument.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL"),
        Kind::Choice(choices) => argument.value_name(choices.join("|")),
        Kind::Bytes { .. } => argument.value_name("BYTES"),
        Kind::Duration { .. } => argument.value_name("DURATION"),
        Kind::Count { .. } | Kind::Number { .. } => argument.value_name("NUMBER").allow_negative_numbers(true),
        Kind::Path => argument.value_name("PATH"),
        Kind::Address => argument.value_name("HOST:PORT"),
        Kind::Text => argument.value_name("TEXT"),
        Kind::List => argument.value_name("A,B"),
        Kind::Headers => argument.value_name("NAME=VALUE"),
        Kind::Policies => argument.value_name("YAML"),
    }
}

/// Loads the configuration that the flags ask for and goes on with it, or says what is wrong with it.
fn with_configuration(matches: &ArgMatches, knobs: &[Knob], go_on: impl FnOnce(&Loaded) -> ExitCode) -> ExitCode {
    let flags: Vec<(String, String)> = knobs
        .iter()
        .filter_map(|knob| Some((knob.path.clone(), matches.get_one::<String>(&knob.path)?.clone())))
        .collect();
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let file = match matches.get_one::<PathBuf>("config").map(|path| read(path)).transpose() {
        Ok(file) => file,
        Err(text) => {
            say(&text);
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let inputs = Inputs {
        file: file.as_ref().map(|(name, text)| (name.as_str(), text.as_str())),
        environment: &environment,
        flags: &flags,
        machine_memory_bytes: machine::memory_bytes(),
    };
    match load(&inputs) {
        Ok(loaded) => go_on(&loaded),
        Err(problems) => {
            for problem in &problems {
                say(&problem.to_string());
            }
            say(&closing_line(&problems));
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

fn read(path: &Path) -> Result<(String, String), String> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(format!("{name}: cannot read the configuration file: {error}; give its path with --config")),
    }
}

fn closing_line(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "1 problem in the configuration; nothing was started".into(),
        count => format!("{count} problems in the configuration; nothing was started"),
    }
}

/// A line to the person at the terminal, before logging is set up. A closed terminal is no failure.
pub fn say(line: &str) {
    _ = writeln!(std::io::stderr(), "{line}");
}

/// Text asked for, to standard output. A closed pipe is no failure.
pub fn print(text: &str) {
    _ = std::io::stdout().write_all(text.as_bytes());
}
