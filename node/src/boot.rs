//! `tailwater run`: from a checked configuration to running cores, in the order in which things can be refused.

use crate::cli::{EXIT_CONFIGURATION, say};
use crate::control::{CONTROL_QUEUE_LENGTH, Control, Cores};
use crate::core::log::CoreLog;
use crate::core::replay::{Barrier, Common, Share};
use crate::core::{Core, CorePort, HISTORY, Message, Settings};
use crate::doctor::Unfit;
use crate::outbox::{FileJob, FileQueue, Outbox};
use crate::sockets::{Addresses, CoreListeners};
use crate::source::{ConfigurationSource, Stamp};
use crate::supervise::{Node, supervise};
use crate::survey::{LOG_DIRECTORY, OldSegment, Spare, Survey, SurveyError, survey};
use crate::{logging, plan};
use async_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::{Config, Loaded, MemoryPlan, WalFull, WalPlan, memory_plan, wal_plan};
use tailwater_connectors::file::FileWriter;
use tailwater_connectors::otlp::exporter::{Endpoints, Exporter};
use tailwater_engine::host::ExportFate;
use tailwater_engine::log::lane::{Lane, LanePlan};
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_runtime::affinity::{self, Placement};
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, start};
use tailwater_runtime::file_system::inspect;
use tailwater_runtime::files::Directory;
use tailwater_runtime::lock::DataDirectoryLock;
use tailwater_runtime::mesh::{Mesh, MeshPort};
use tailwater_runtime::net::exclusive_port_probe;
use tailwater_runtime::{Backend, clock, limits, probe};
use thiserror::Error;

/// Requests waiting for the embedded file's thread. Each is a batch of at most a few MiB.
const FILE_QUEUE_LENGTH: usize = 64;
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
        tracing::warn!("{note}");
    }
    match boot(&loaded.config, (source, known), repair) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("tailwater does not start: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// What the cores are made of, checked.
pub struct Blueprint {
    /// Where shards run.
    pub placement: Placement,
    /// Bounds.
    pub memory: MemoryPlan,
    /// The log's bounds, where there is a log.
    pub wal: Option<WalPlan>,
    /// Compiled policies.
    pub rules: Arc<Rules>,
}

/// Checks all that can be checked without touching the machine: used by `run` and `check`.
pub fn blueprint(config: &Config) -> Result<Blueprint, String> {
    blueprint_after(config, None)
}

/// As `blueprint`, with rules that follow `former`.
pub fn blueprint_after(config: &Config, former: Option<&Rules>) -> Result<Blueprint, String> {
    let node = &config.node;
    let placement = affinity::plan(node.shards, node.cores.as_deref(), node.gossip_core)
        .map_err(|error| format!("--cores: {error}"))?;
    if u16::try_from(placement.cores.len()).is_err() {
        return Err("--shards: more than 65535 shards; one for each core is enough".into());
    }
    let memory = memory_plan(config, placement.cores.len()).map_err(|problem| problem.to_string())?;
    let rules = match former {
        Some(former) => Rules::compile_after(&config.sampling, former),
        None => Rules::compile(&config.sampling),
    };
    let rules = rules.map_err(|error| error.to_string())?;
    let wal = if config.needs_wal() {
        Some(wal_plan(config, placement.cores.len()).map_err(|problem| problem.to_string())?)
    } else {
        None
    };
    for exporter in &config.exporters.otlp {
        Endpoints::new(exporter).map_err(|error| error.to_string())?;
    }
    Ok(Blueprint { placement, memory, wal, rules: Arc::new(rules) })
}

fn boot(config: &Config, source: (ConfigurationSource, Option<Stamp>), repair: bool) -> Result<ExitCode, BootError> {
    let blueprint = blueprint(config).map_err(BootError::Configuration)?;
    let raised = limits::raise();
    tracing::debug!(?raised, "resource limits");
    let (backend, why) =
        probe::choose(runtime_choice(config)).map_err(|error| BootError::Machine(error.to_string()))?;
    tracing::info!(runtime = %backend, %why, "kernel interface");
    tracing::info!(shards = blueprint.placement.cores.len(), placement = %blueprint.placement.reason, "placement");
    let parts = blueprint.memory.rows.iter().map(|row| format!("{} {} MiB", row.name, row.bytes >> 20));
    let parts = parts.collect::<Vec<_>>().join(", ");
    tracing::info!(total_mib = blueprint.memory.total >> 20, parts, "memory plan");
    let lock = take_data_directory(config)?;
    probe_ports(config)?;
    if blueprint.wal.is_some() {
        check_disk(config)?;
    }
    let survey = take_over(config, &blueprint, repair)?;
    let file = config.exporters.file.as_ref().map(FileWriter::open).transpose();
    let file = file.map_err(|error| BootError::Machine(error.to_string()))?;
    let node = launch(config, &blueprint, backend, file, survey).map_err(BootError::Machine)?;
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

/// Looks at what a former run has left in the log.
fn take_over(config: &Config, blueprint: &Blueprint, repair: bool) -> Result<Survey, BootError> {
    let found = survey(&config.node.data_directory, repair).map_err(|error| match error {
        SurveyError::Newer { .. } => BootError::Configuration(error.to_string()),
        SurveyError::Directory { .. } => BootError::Machine(error.to_string()),
    })?;
    let Some(wal) = &blueprint.wal else {
        if !found.segments.is_empty() {
            tracing::warn!(
                segments = found.segments.len(),
                directory = %config.node.data_directory.join(LOG_DIRECTORY).display(),
                "a former run has left a log, which --ack received does not read; start with --ack synced to deliver it"
            );
        }
        return Ok(Survey::default());
    };
    tracing::info!(%wal, "log");
    if !found.segments.is_empty() {
        let mib = found.segments.iter().map(|segment| segment.bytes).sum::<u64>() >> 20;
        tracing::info!(
            segments = found.segments.len(),
            mib,
            verdicts = found.verdicts.len(),
            "reading the log of the \
            last run before anything is accepted"
        );
    }
    Ok(found)
}

/// The shards' listeners share their ports among themselves, so a plain bind first tells whether another process has
/// them.
fn probe_ports(config: &Config) -> Result<(), BootError> {
    let receivers =
        [("--otlp-grpc-endpoint", &config.receivers.grpc), ("--otlp-http-endpoint", &config.receivers.http)];
    let receivers = receivers.into_iter().filter_map(|(flag, receiver)| Some((flag, receiver.as_ref()?.endpoint)));
    let admin = config.admin.endpoint.map(|endpoint| ("--admin-endpoint", endpoint));
    for (flag, endpoint) in receivers.chain(admin) {
        let mut probed = exclusive_port_probe(endpoint);
        for _ in 0..PORT_PROBES_MAX {
            if probed.is_ok() {
                break;
            }
            std::thread::sleep(PORT_PROBE_PAUSE);
            probed = exclusive_port_probe(endpoint);
        }
        probed.map_err(|error| BootError::Machine(format!("{flag}: {error}")))?;
    }
    Ok(())
}

/// A process on io_uring gives its sockets back some milliseconds after its end; a restart at once finds them taken.
const PORT_PROBES_MAX: usize = 20;
const PORT_PROBE_PAUSE: Duration = Duration::from_millis(25);

/// Starts the cores and the file's thread.
fn launch(
    config: &Config,
    blueprint: &Blueprint,
    backend: Backend,
    file: Option<FileWriter>,
    survey: Survey,
) -> Result<Node, String> {
    let shards = blueprint.placement.cores.len();
    let count = u16::try_from(shards).map_err(|error| error.to_string())?;
    let seed = hash_seed();
    // The past of the engine's clock is where a former run's requests lie.
    let origin = clock::monotonic_nanos().wrapping_sub(HISTORY.0);
    let queue_length = usize::try_from(config.mesh.queue_length).unwrap_or(usize::MAX);
    let mesh = Mesh::<Message>::new(shards, queue_length);
    let (channels, mut controls): (Vec<_>, Vec<_>) = (0..shards).map(|_| bounded(CONTROL_QUEUE_LENGTH)).unzip();
    let file = file.map(|writer| start_file(writer, config.needs_wal(), &channels)).transpose()?;
    let shared = Arc::new(config.clone());
    let (addresses, ports) = Addresses::settle(config)?;
    let listeners = CoreListeners::for_cores(addresses, shards);
    let leaf_words = blueprint.rules.leaf_words();
    let shard = plan::shard_plan(config, &blueprint.memory, seed, (0, count), leaf_words);
    let verdicts_max = shard.kept_verdicts_max + shard.dropped_verdicts_max;
    let mut logs = log_seats(blueprint, survey, Route::new(seed, count), shards, verdicts_max);
    let mut handles = Vec::with_capacity(shards);
    let numbered = (0u16..).zip(mesh).zip(controls.drain(..)).zip(listeners).zip(&blueprint.placement.cores);
    for ((((number, port), control), listeners), core) in numbered {
        let seat = Seat {
            index: usize::from(number),
            plan: plan::shard_plan(config, &blueprint.memory, seed, (number, count), leaf_words),
            rules: blueprint.rules.clone(),
            config: shared.clone(),
            mesh: port,
            control,
            origin,
            file: file.clone(),
            listeners,
            log: logs.pop_front(),
        };
        let options = ExecutorOptions { name: format!("shard-{number}"), core: *core, backend };
        handles.push(start(options, move || seat.run()).map_err(|error| error.to_string())?);
    }
    Ok(Node {
        cores: Cores { channels },
        handles,
        rules: blueprint.rules.clone(),
        backend,
        gossip_core: blueprint.placement.gossip_core,
        addresses,
        ports,
    })
}

/// All that one core needs; sent to its thread.
struct Seat {
    index: usize,
    plan: ShardPlan,
    rules: Arc<Rules>,
    config: Arc<Config>,
    mesh: MeshPort<Message>,
    control: Receiver<Control>,
    origin: u64,
    file: Option<Sender<FileJob>>,
    listeners: CoreListeners,
    log: Option<LogSeat>,
}

/// What one core needs for its log.
struct LogSeat {
    plan: LanePlan,
    spares: Vec<Spare>,
    share: Share,
}

/// Files kept by a core to be recycled: the next segment of requests and the next of the journal.
const SPARES_MAX: usize = 2;

/// One seat a core where there is a log, none otherwise.
fn log_seats(
    blueprint: &Blueprint,
    mut survey: Survey,
    route: Route,
    cores: usize,
    verdicts_max: usize,
) -> VecDeque<LogSeat> {
    let Some(wal) = &blueprint.wal else { return VecDeque::new() };
    let common = Common::new(&mut survey, clock::unix_nanos());
    let shares: Vec<Vec<OldSegment>> = survey.spread(cores);
    let mut read = Barrier::for_cores(cores);
    let mut restated = Barrier::for_cores(cores);
    let nonce_seed = hash_seed()[0];
    let count = u16::try_from(cores).unwrap_or(u16::MAX);
    let mut journals = survey.journals;
    let mut spares = survey.spares;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let barriers = read.drain(..).zip(restated.drain(..));
    let seats = (0u16..).zip(shares).zip(barriers).map(|((core, segments), (read, restated))| LogSeat {
        plan: LanePlan {
            core,
            cores: count,
            first_number: survey.next_number,
            nonce_seed,
            segment_bytes: wal.segment_bytes,
            requests_bytes_max: wal.requests_bytes,
            journal_segment_bytes: wal.journal_segment_bytes,
            journal_segments_max: size(wal.journal_bytes / wal.journal_segment_bytes.max(1)),
            buffer_bytes_max: size(wal.buffer_bytes),
            verdicts_max,
        },
        spares: if core == 0 { std::mem::take(&mut spares) } else { Vec::new() },
        share: Share {
            common: common.clone(),
            segments,
            read,
            restated,
            route: route.clone(),
            journals: if core == 0 { std::mem::take(&mut journals) } else { Vec::new() },
        },
    });
    seats.collect()
}

impl Seat {
    async fn run(self) -> Result<(), String> {
        let shards = usize::from(self.plan.shards);
        let mut exporters = Vec::new();
        for settings in &self.config.exporters.otlp {
            let endpoints = Endpoints::new(settings).map_err(|error| error.to_string())?;
            exporters.push(Rc::new(Exporter::new(settings, endpoints, shards)));
        }
        let reasons_max = plan::reasons_max(&self.config, self.plan.shards);
        let mut shard = Shard::new(self.plan, self.rules);
        shard.keep_reasons(reasons_max);
        let file = self.file.map(|jobs| FileQueue::new(jobs, self.index));
        let outbox = Outbox::new(exporters, file, self.log.is_some());
        let settings = settings(&self.config);
        let (log, share) = match self.log {
            Some(LogSeat { plan, spares, share }) => {
                let path = self.config.node.data_directory.join(LOG_DIRECTORY);
                let directory = Directory::open(&path).await.map_err(|error| error.to_string())?;
                (Some(CoreLog::new(Lane::new(plan), directory, spares, SPARES_MAX)), Some(share))
            }
            None => (None, None),
        };
        let core = Core::new(self.index, shard, outbox, self.mesh, log, self.origin, settings);
        core.start_inside();
        let (ended, wait) = bounded(1);
        core.start(self.control, ended);
        if let Some(share) = share {
            core.replay(share).await;
        }
        core.set_receivers(self.listeners.open(&self.config, shards, |ack| CorePort { core: core.clone(), ack })?);
        // Closing is the signal; nothing is ever sent.
        _ = wait.recv().await;
        Ok(())
    }
}

fn settings(config: &Config) -> Settings {
    let receivers = [&config.receivers.grpc, &config.receivers.http];
    let largest = receivers.into_iter().flatten().map(|receiver| receiver.limits.request_bytes_max).max();
    Settings {
        blocks_on_overflow: config.sampling.block_on_overflow,
        decides_early: config.wal.on_full == WalFull::DecideEarly,
        journal_interval: config.wal.journal_interval,
        retention: config.wal.retention,
        request_bytes_max: usize::try_from(largest.unwrap_or(u64::MAX)).unwrap_or(usize::MAX),
    }
}

/// A core's thread.
pub type CoreHandle = ExecutorHandle<Result<(), String>>;

/// The embedded file's thread: it ends when the last core has. Where there is a log, what is written is synced before the
/// log may forget it, all that waits at once.
fn start_file(mut writer: FileWriter, syncs: bool, cores: &[Sender<Control>]) -> Result<Sender<FileJob>, String> {
    let (sender, jobs) = bounded::<FileJob>(FILE_QUEUE_LENGTH);
    let cores = cores.to_vec();
    let body = move || {
        while let Ok(first) = jobs.recv_blocking() {
            let mut written = vec![write_job(&mut writer, first)];
            while syncs
                && written.len() < FILE_QUEUE_LENGTH
                && let Ok(job) = jobs.try_recv()
            {
                written.push(write_job(&mut writer, job));
            }
            let failure = if syncs { writer.sync().err() } else { None };
            if let Some(error) = &failure {
                tracing::error!(%error, requests = written.len(), "kept items may not be on the disk");
            }
            for (core, ticket, fate) in written {
                let failed = failure.as_ref().filter(|_| fate == ExportFate::Delivered);
                let fate = failed.map_or(fate, |error| error.fate());
                // A core that has ended has closed its books.
                _ = cores[core].send_blocking(Control::Written(ticket, fate));
            }
        }
    };
    let thread = std::thread::Builder::new().name("kept-file".into()).spawn(body);
    thread.map(|_| sender).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Writes a job and says whom to tell what.
fn write_job(writer: &mut FileWriter, job: FileJob) -> (usize, u64, ExportFate) {
    let FileJob { core, ticket, request } = job;
    let fate = match writer.write(&request) {
        Ok(()) => ExportFate::Delivered,
        Err(error) => {
            tracing::error!(%error, items = request.items, "kept items are not written");
            error.fate()
        }
    };
    (core, ticket, fate)
}

/// Keys of this process's hashes, from the operating system's randomness.
fn hash_seed() -> [u64; 4] {
    std::array::from_fn(|position| RandomState::new().hash_one(position))
}
