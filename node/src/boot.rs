//! `tailwater run`: from a checked configuration to running cores, in the order in which things can be refused.

use crate::blueprint::{Blueprint, blueprint, problem};
use crate::cluster::{ClusterError, prepare};
use crate::doctor::Unfit;
use crate::launch::launch;
use crate::listening::{listening, why_taken};
use crate::logging;
use crate::sockets::resolve;
use crate::source::{ConfigurationSource, Stamp};
use crate::summary;
use crate::supervise::supervise;
use crate::survey::{
    LogSurvey, PipelineSurvey, REQUESTS_DIRECTORY, Survey, SurveyError, claim, given_up_below, holds_forwarded,
    holds_segments, log_directories, log_directory, next_number, survey,
};
use crate::terminal::{EXIT_CONFIGURATION, say};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::{Config, Loaded, Problem};
use tailwater_connectors::file::FileWriter;
use tailwater_runtime::file_system::inspect;
use tailwater_runtime::lock::DataDirectoryLock;
use tailwater_runtime::net::exclusive_port_probe;
use tailwater_runtime::{clock, limits, probe};
use thiserror::Error;

/// Something on this machine is in the way: `EX_OSERR` of sysexits.h.
const EXIT_MACHINE: u8 = 71;

/// Why the program does not start. Nothing was accepted.
#[derive(Debug, Error)]
enum BootError {
    #[error("{0}")]
    Configuration(String),
    #[error("{0}")]
    Machine(String),
}

impl BootError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => EXIT_CONFIGURATION,
            Self::Machine(_) => EXIT_MACHINE,
        }
    }
}

/// Runs until told to stop.
pub fn run(loaded: &Loaded, source: ConfigurationSource, known: Option<Stamp>, repair: bool) -> ExitCode {
    logging::start(&loaded.config.node.log);
    for note in &loaded.notes {
        tracing::warn!(target: logging::ONCE, "{note}");
    }
    match boot(loaded, (source, known), repair) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("tailwater does not start: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn boot(loaded: &Loaded, source: (ConfigurationSource, Option<Stamp>), repair: bool) -> Result<ExitCode, BootError> {
    let config = &loaded.config;
    let mut blueprint =
        blueprint(config).map_err(|problem| BootError::Configuration(loaded.located(&problem).to_string()))?;
    let raised = limits::raise();
    tracing::debug!(?raised, "resource limits");
    let (backend, why) =
        probe::choose(runtime_choice(config)).map_err(|error| BootError::Machine(error.to_string()))?;
    tracing::info!(runtime = %backend, %why, "kernel interface");
    tracing::info!(shards = blueprint.placement.cores.len(), placement = %blueprint.placement.reason, "placement");
    summary::tell(loaded, &source.0, &blueprint);
    let lock = take_data_directory(config)?;
    probe_ports(loaded)?;
    if blueprint.wal.is_some() {
        check_disk(config)?;
    }
    let mut left = take_over(config, &blueprint, repair)?;
    for (pipeline, survey) in blueprint.pipelines.iter_mut().zip(&mut left.by_pipeline) {
        // Nobody else has them yet.
        Arc::get_mut(&mut pipeline.rules).into_iter().for_each(|rules| {
            survey.adopt(rules);
            if blueprint.wal.is_some() {
                rules.allow_by_hand();
            }
        });
    }
    forward_what_waits(config, &mut blueprint, &left);
    let survey = left.whole(&config.node.data_directory, &blueprint);
    let cluster = prepare(config).map_err(|error| match error {
        ClusterError::Configuration(text) => BootError::Configuration(text),
        ClusterError::Machine(text) => BootError::Machine(text),
    })?;
    let file = config.exporters.file.as_ref().map(|file| FileWriter::open(file, clock::unix_nanos)).transpose();
    let file = file.map_err(|error| BootError::Machine(error.to_string()))?;
    let node = launch(config, &blueprint, backend, file, survey, cluster).map_err(BootError::Machine)?;
    let code = supervise(config, source, node);
    drop(lock);
    Ok(code)
}

fn runtime_choice(config: &Config) -> probe::RuntimeChoice {
    match config.node.runtime {
        tailwater_config::RuntimeChoice::Auto => probe::RuntimeChoice::Auto,
        tailwater_config::RuntimeChoice::Uring => probe::RuntimeChoice::Uring,
        tailwater_config::RuntimeChoice::Epoll => probe::RuntimeChoice::Epoll,
    }
}

fn take_data_directory(config: &Config) -> Result<DataDirectoryLock, BootError> {
    let path = &config.node.data_directory;
    std::fs::create_dir_all(path).map_err(|error| {
        let path = path.display();
        BootError::Machine(format!(
            "the data directory {path} cannot be created: {error}; choose another with --data-dir"
        ))
    })?;
    DataDirectoryLock::take(path).map_err(|error| BootError::Machine(error.to_string()))
}

/// Refuses to keep a log where it would be one in name only, and says what is doubtful.
fn check_disk(config: &Config) -> Result<(), BootError> {
    let directory = &config.node.data_directory;
    let shown = directory.display();
    // What can't be found out is no reason not to start.
    let Ok(facts) = inspect(directory) else { return Ok(()) };
    match Unfit::of(&facts) {
        Some(unfit @ (Unfit::Network | Unfit::ReadOnly)) => {
            return Err(BootError::Machine(format!(
                "the data directory {shown} is {} ({}): {}, or set --ack received, which needs no log",
                unfit.what(),
                facts.kind,
                unfit.remedy()
            )));
        }
        Some(unfit) => {
            tracing::warn!(directory = %shown, file_system = facts.kind, "the log is {}: {}", unfit.what(), unfit.remedy());
        }
        None => {}
    }
    if facts.free_bytes < config.wal.bytes_max {
        let (free_mib, wal_mib) = (facts.free_bytes >> 20, config.wal.bytes_max >> 20);
        tracing::warn!(free_mib, wal_mib, directory = %shown, "the disk has less room than the log may take \
            (wal.bytes_max): a long outage of the next hop ends in refused requests");
    }
    Ok(())
}

/// What a former run has left.
struct Left {
    /// What pipelines shared.
    requests: Survey,
    by_pipeline: Vec<Survey>,
    next_number: u64,
}

impl Left {
    /// All of it put together.
    fn whole(self, data_directory: &Path, blueprint: &Blueprint) -> LogSurvey {
        let Self { requests, mut by_pipeline, next_number } = self;
        let names = blueprint.pipelines.iter().map(|pipeline| pipeline.name.clone());
        if let ([single], [found]) = (&*blueprint.pipelines, &mut *by_pipeline)
            && single.name.is_empty()
        {
            return LogSurvey::single(std::mem::take(found), next_number);
        }
        let pipelines = names.zip(by_pipeline).map(|(name, found)| {
            let given_up_below = given_up_below(&data_directory.join(log_directory(&name)));
            PipelineSurvey { name, found, given_up_below }
        });
        LogSurvey::shared(requests, pipelines.collect(), next_number)
    }
}

/// Looks at what a former run has left in the log of each pipeline, and in the one that they share.
fn take_over(config: &Config, blueprint: &Blueprint, repair: bool) -> Result<Left, BootError> {
    let data_directory = &config.node.data_directory;
    let names: Vec<&str> = blueprint.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    let fail = |error: SurveyError| match error {
        SurveyError::Newer { .. } | SurveyError::Unclaimed { .. } => BootError::Configuration(error.to_string()),
        SurveyError::Directory { .. } => BootError::Machine(error.to_string()),
    };
    let Some(wal) = &blueprint.wal else {
        let left = log_directories(data_directory).map_err(fail)?;
        for directory in left.into_iter().filter(|directory| holds_segments(directory)) {
            tracing::warn!(
                directory = %directory.display(),
                "a former run has left a log, which --ack received does not read; start with --ack synced to deliver it"
            );
        }
        let by_pipeline = names.iter().map(|_| Survey::default()).collect();
        return Ok(Left { requests: Survey::default(), by_pipeline, next_number: 1 });
    };
    tracing::info!(%wal, "log");
    claim(data_directory, &names, repair).map_err(fail)?;
    let next_number = next_number(data_directory).map_err(fail)?;
    let look = |directory: String, pipeline: Option<&str>| {
        let found = survey(&data_directory.join(directory), repair).map_err(fail)?;
        if !found.segments.is_empty() {
            let mib = found.segments.iter().map(|segment| segment.bytes).sum::<u64>() >> 20;
            let (segments, verdicts) = (found.segments.len(), found.verdicts.len());
            tracing::info!(
                segments,
                mib,
                verdicts,
                pipeline,
                "reading the log of the last run before anything is accepted"
            );
        }
        Ok(found)
    };
    let named = |name: &&str| (!name.is_empty()).then_some(*name).map(String::from);
    let requests = if names.iter().any(|name| !name.is_empty()) {
        look(REQUESTS_DIRECTORY.to_string(), None)?
    } else {
        Survey::default()
    };
    let by_pipeline: Result<Vec<Survey>, BootError> =
        names.iter().map(|name| look(log_directory(name), named(name).as_deref())).collect();
    Ok(Left { requests, by_pipeline: by_pipeline?, next_number })
}

/// Metrics and logs take the first pipeline. Where that was another one in the last run, and some wait in its log, it sends
/// those.
fn forward_what_waits(config: &Config, blueprint: &mut Blueprint, left: &Left) {
    let data_directory = &config.node.data_directory;
    let named = blueprint.pipelines.iter().zip(&left.by_pipeline).enumerate();
    let forwards: Vec<bool> = named
        .map(|(number, (pipeline, found))| {
            number == 0 || holds_forwarded(data_directory, &pipeline.name, found, &left.requests)
        })
        .collect();
    if !forwards.iter().skip(1).any(|forwards| *forwards) {
        return;
    }
    let configs = config.by_pipeline_forwarding(|number| forwards.get(number).is_some_and(|forwards| *forwards));
    for (pipeline, (_, config)) in blueprint.pipelines.iter_mut().zip(configs) {
        pipeline.config = Arc::new(config);
    }
}

/// The shards' listeners share their ports among themselves, so a plain bind first tells whether another process has
/// them.
fn probe_ports(loaded: &Loaded) -> Result<(), BootError> {
    for (key, endpoint) in listening(&loaded.config) {
        let told = |cause, remedy| {
            let unlocated = Problem { value: Some(endpoint.to_string()), ..*problem(&key, cause, remedy) };
            BootError::Machine(loaded.located(&unlocated).to_string())
        };
        for address in resolve(endpoint).map_err(|cause| told(cause, "correct the name, or write an IP address"))? {
            let mut probed = exclusive_port_probe(address);
            for _ in 0..PORT_PROBES_MAX {
                if probed.is_ok() {
                    break;
                }
                std::thread::sleep(PORT_PROBE_PAUSE);
                probed = exclusive_port_probe(address);
            }
            probed.map_err(|error| told(why_taken(&error), error.remedy()))?;
        }
    }
    Ok(())
}

/// A process on io_uring gives its sockets back some milliseconds after its end; a restart at once finds them taken.
const PORT_PROBES_MAX: usize = 20;
const PORT_PROBE_PAUSE: Duration = Duration::from_millis(25);
