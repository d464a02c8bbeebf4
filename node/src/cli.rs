//! The command line. Every knob of the catalogue is a flag of `run` and `check`; nothing about a knob is written here.

use crate::source::{ConfigurationSource, Stamp};
use crate::terminal::{EXIT_CONFIGURATION, VERSION, say};
use crate::{boot, check, doctor, explain, log_tool, reach_back, trial};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tailwater_config::{Kind, Knob, Loaded, knobs};

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
            with_configuration(matches, &knobs, |loaded, source, stamp| boot::run(loaded, source, stamp, repair))
        }
        Some(("check", matches)) => {
            let explains = matches.get_flag("explain");
            with_configuration(matches, &knobs, |loaded, _, _| check::run(loaded, explains))
        }
        Some(("doctor", matches)) => {
            let json = matches.get_flag("json");
            let peers = matches.get_flag("peers");
            with_configuration(matches, &knobs, |loaded, _, _| doctor::run(loaded, json, peers))
        }
        Some(("explain", matches)) => {
            let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
            explain::client::run(&text("trace"), &text("admin-endpoint"), matches.get_flag("json"))
        }
        Some(("recall", matches)) => recall(matches),
        Some(("try", matches)) => {
            let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
            trial::run(&trial::Request {
                config: path("config").unwrap_or_default(),
                against: path("against"),
                files: matches.get_many("file").into_iter().flatten().cloned().collect(),
                json: matches.get_flag("json"),
            })
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

/// Asks for traces from the log.
fn recall(matches: &ArgMatches) -> ExitCode {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let named =
        |name: &'static str| matches.get_many::<String>(name).into_iter().flatten().map(move |value| (name, value));
    let parameters = ["trace_id", "since", "until", "service", "name", "match", "limit", "pipeline"].into_iter();
    let parameters = parameters.flat_map(named).map(|(name, value)| (name.to_string(), value.clone()));
    let again = matches.get_flag("again").then(|| ("again".to_string(), "true".to_string()));
    reach_back::client::run(&reach_back::client::Request {
        parameters: parameters.chain(again).collect(),
        sends: matches.get_flag("send"),
        endpoint: text("admin-endpoint").unwrap_or_default(),
        directory: matches.get_one::<PathBuf>("data-dir").cloned(),
        json: text("format").as_deref() == Some("json"),
    })
}

fn command(knobs: &[Knob]) -> Command {
    let configured = |name: &'static str, about: &'static str| {
        let command = Command::new(name).about(about).next_line_help(true);
        command.arg(config_argument()).args(knobs.iter().map(argument))
    };
    Command::new("tailwater")
        .about("Tail sampling for OpenTelemetry: holds each trace until it can be judged as a whole")
        .version(VERSION)
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
        .subcommand(
            configured("check", "Check the configuration and print what would run, with the memory plan").arg(
                Arg::new("explain")
                    .long("explain")
                    .action(ArgAction::SetTrue)
                    .help("Print the Collector's policies as rules instead, or rules as the Collector's policies")
                    .display_order(1),
            ),
        )
        .subcommand(
            configured("doctor", "Test this machine and the ways to other nodes; name the remedy for what is missing")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .action(ArgAction::SetTrue)
                        .help("Print one JSON object")
                        .display_order(1),
                )
                .arg(
                    Arg::new("peers")
                        .long("peers")
                        .action(ArgAction::SetTrue)
                        .help("Test only the other nodes of the cluster, such as beside a node that runs")
                        .display_order(1),
                ),
        )
        .subcommand(explain_command(knobs))
        .subcommand(recall_command(knobs))
        .subcommand(try_command())
        .subcommand(log_command())
}

fn admin_argument(knobs: &[Knob]) -> Arg {
    let admin = knobs.iter().find(|knob| knob.path == "admin.endpoint");
    let endpoint = std::env::var("TAILWATER_ADMIN_ENDPOINT").ok();
    let endpoint = endpoint.or_else(|| admin.map(|knob| knob.default.clone())).unwrap_or_default();
    let argument = Arg::new("admin-endpoint").long("admin-endpoint").value_name("HOST:PORT");
    argument.default_value(endpoint).help("Admin endpoint of the node")
}

fn explain_command(knobs: &[Knob]) -> Command {
    let trace = Arg::new("trace").value_name("TRACE ID").required(true).help("32 hexadecimal digits");
    Command::new("explain")
        .about("Ask a running node why a trace was kept or dropped, or what it has of a pending one")
        .arg(trace)
        .arg(admin_argument(knobs))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the node's JSON"))
}

fn recall_command(knobs: &[Knob]) -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).allow_hyphen_values(true).help(help)
    };
    let trace =
        Arg::new("trace_id").value_name("TRACE ID").num_args(0..).help("32 hexadecimal digits; several are possible");
    let directory = Arg::new("data-dir").long("data-dir").value_name("PATH").value_parser(clap::value_parser!(PathBuf));
    Command::new("recall")
        .about(
            "Find traces in the log of a node, dropped ones too, while they are there; print them or have them sent on",
        )
        .arg(trace)
        .arg(option("since", "TIME", "Received from then on: RFC 3339, seconds since 1970, or 10m for ten minutes ago"))
        .arg(option("until", "TIME", "Received up to then"))
        .arg(option("service", "TEXT", "With a span of this service"))
        .arg(option("name", "TEXT", "With a span of this name"))
        .arg(
            option("match", "KEY=VALUE", "With a span that has it, or whose resource has; several are possible")
                .action(ArgAction::Append),
        )
        .arg(option("limit", "NUMBER", "Most traces [default: 100]"))
        .arg(option("pipeline", "NAME", "With --send: the pipeline that is to send them; all without it"))
        .arg(
            Arg::new("send")
                .long("send")
                .action(ArgAction::SetTrue)
                .help("Keep those that were dropped after all, and send them to the exporters"),
        )
        .arg(
            Arg::new("again")
                .long("again")
                .requires("send")
                .action(ArgAction::SetTrue)
                .help("With --send: send those once more that were recalled before"),
        )
        .arg(admin_argument(knobs))
        .arg(directory.help("Data directory to be read where no node answers"))
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["summary", "json"])
                .default_value("summary")
                .help("A line a trace, or OTLP/JSON"),
        )
}

fn try_command() -> Command {
    let path = |name: &'static str| Arg::new(name).value_name("FILE").value_parser(clap::value_parser!(PathBuf));
    Command::new("try")
        .about("Try the rules of a configuration on captured traces; changes nothing and needs no node")
        .arg(path("config").long("config").short('c').required(true).help("Configuration whose rules are tried"))
        .arg(path("against").long("against").help("Another configuration, to tell what is different"))
        .arg(
            path("file")
                .required(true)
                .num_args(1..)
                .help("OTLP as JSON or protobuf, also with gzip or zstd; - for standard input; segments of a log; a data directory"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
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
        .help("Configuration file, native or the OpenTelemetry Collector's [environment: TAILWATER_CONFIG]")
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
        Kind::Addresses => argument.value_name("HOST:PORT,HOST:PORT"),
        Kind::Text | Kind::Secret => argument.value_name("TEXT"),
        Kind::List => argument.value_name("A,B"),
        Kind::Statuses => argument.value_name("401,403"),
        Kind::Headers => argument.value_name("NAME=VALUE"),
        Kind::Policies | Kind::Rules | Kind::MetricRules | Kind::Triggers => argument.value_name("YAML"),
    }
}

/// Loads the configuration that the flags ask for and goes on with it, or says what is wrong with it.
fn with_configuration(
    matches: &ArgMatches,
    knobs: &[Knob],
    go_on: impl FnOnce(&Loaded, ConfigurationSource, Option<Stamp>) -> ExitCode,
) -> ExitCode {
    let source = ConfigurationSource::of(matches, knobs);
    // Looked at before it is read: a change in between is found later.
    let stamp = source.stamp();
    match source.load() {
        Ok(loaded) => go_on(&loaded, source, stamp),
        Err(refused) => {
            for line in refused.notes.iter().map(|note| format!("note: {note}")).chain(refused.problems.iter().cloned())
            {
                say(&line);
            }
            say(&closing_line(refused.problems.len()));
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

fn closing_line(problems: usize) -> String {
    match problems {
        1 => "1 problem in the configuration; nothing was started".into(),
        count => format!("{count} problems in the configuration; nothing was started"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page of the configuration, which people search for what `--help` shows them.
    const PAGE: &str = include_str!("../../docs/configuration.md");

    fn arguments(command: &Command, path: &str, out: &mut Vec<(String, String)>) {
        for argument in command.get_arguments() {
            let written = match argument.get_long() {
                Some(long) => format!("--{long}"),
                None => argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap(),
            };
            out.push((path.to_string(), written));
        }
        for inner in command.get_subcommands() {
            arguments(inner, &format!("{path} {}", inner.get_name()), out);
        }
    }

    #[test]
    fn every_argument_of_every_command_is_on_the_page() {
        let mut command = command(&knobs());
        command.build();
        let mut all = Vec::new();
        arguments(&command, "tailwater", &mut all);
        assert!(all.iter().any(|(_, argument)| argument == "--repair") && all.len() > 100);
        for (command, argument) in all {
            let is_there = match knobs().iter().find(|knob| format!("--{}", knob.flag) == argument) {
                Some(knob) => PAGE.contains(&format!("`{}`", knob.path)),
                None => PAGE.contains(&format!("`{argument}")),
            };
            assert!(is_there || command.contains(" help"), "{command} {argument} is not on the page");
        }
    }
}
