//! From a blueprint to running cores: on each executor one core a pipeline, all fed by the same receivers and with one log;
//! beside them the embedded file's thread.

use crate::blueprint::{Blueprint, Pipeline};
use crate::cluster::{GossipHandle, Prepared};
use crate::control::{CONTROL_QUEUE_LENGTH, Control, Cores};
use crate::core::log::{CoreLog, Directories};
use crate::core::peers::Peers;
use crate::core::replay::{Barrier, Common, Share, replay};
use crate::core::summaries::{Summaries, SummarySeat};
use crate::core::{Core, CorePort, HISTORY, Message, Settings};
use crate::identity::{Identity, draw};
use crate::numbers::{ChannelNumber, CoreNumber};
use crate::outbox::{FileJob, FileQueue, FileWay, Outbox};
use crate::plan;
use crate::sockets::{Addresses, CoreListeners};
use crate::survey::{LogSurvey, OldPast, OldSegment, REQUESTS_DIRECTORY, Spare, log_directory};
use async_channel::{Receiver, bounded};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tailwater_config::{Config, FileExporter, Receivers, WalFull};
use tailwater_connectors::file::FileWriter;
use tailwater_connectors::otlp::exporter::{Endpoints, Exporter, Reports};
use tailwater_engine::cluster::{ClusterPlan, pipeline_id};
use tailwater_engine::host::ExportFate;
use tailwater_engine::log::lane::{Lane, LanePlan, PipelinePlan};
use tailwater_engine::log::past::{PastPlan, PastSegment};
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_net::server::{LargeLane, MemoryBounds, ReceiveMemory};
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::view::View;
use tailwater_runtime::executor::{ExecutorHandle, ExecutorOptions, start};
use tailwater_runtime::files::Directory;
use tailwater_runtime::mesh::MeshPort;
use tailwater_runtime::net::PortHold;
use tailwater_runtime::{Backend, clock};

/// Requests waiting for the embedded file's thread, whatever their size: bounds the queue's own memory. Bytes are
/// bounded by configuration.
/// At the bound: as where `exporters.file.queue_bytes_max` is used up; counted in
/// `tailwater_items_dropped_total{reason="export_queue_full"}`.
const FILE_QUEUE_LENGTH: usize = 1024;

/// Starts the cores and the file's thread.
pub fn launch(
    config: &Config,
    blueprint: &Blueprint,
    backend: Backend,
    file: Option<FileWriter>,
    mut survey: LogSurvey,
    cluster: Option<Prepared>,
) -> Result<Node, String> {
    let shards = blueprint.placement.cores.len();
    let pipelines = &blueprint.pipelines;
    // The past of the engine's clock is where a former run's requests lie.
    let origin = clock::monotonic_nanos().wrapping_sub(HISTORY.0);
    let (channels, controls): (Vec<_>, Vec<_>) =
        (0..shards * pipelines.len()).map(|_| bounded(CONTROL_QUEUE_LENGTH)).unzip();
    let cores = Cores { channels, shards };
    let file = file.zip(config.exporters.file.as_ref());
    let file = file.map(|(writer, settings)| start_file(writer, settings, config.needs_wal(), &cores)).transpose()?;
    let seed = cluster.as_ref().map_or_else(hash_seed, Prepared::hash_seed);
    let mut guests = Vec::new();
    let ways = u64::try_from(pipelines.len()).unwrap_or(u64::MAX).max(1);
    let docket_traces_max = blueprint.memory.docket_traces_max / ways;
    let mut controls = controls.into_iter();
    let mut seats: Vec<Vec<Seat>> = (0..shards).map(|_| Vec::new()).collect();
    for (number, pipeline) in pipelines.iter().enumerate() {
        let controls: Vec<_> = controls.by_ref().take(shards).collect();
        let cluster = cluster.as_ref();
        let share = Outline { pipeline, number, origin, seed, file: file.clone(), cluster, docket_traces_max };
        let (taken, guest) = share.seats(controls)?;
        guests.extend(guest.map(|guest| (pipeline_id(&pipeline.name), guest)));
        for (seats, seat) in seats.iter_mut().zip(taken) {
            seats.push(seat);
        }
    }
    let plan = plan::summary_plan(config, shards);
    let node = if plan.is_empty() { None } else { node_id(config, cluster.as_ref()) };
    let summaries = SummarySeat {
        plan: plan::told_by(plan, node.map(|node| node.to_string())),
        window: config.summaries.window,
        seed: node.map_or(0, |node| node.0),
        run: hash_seed()[0],
        former: std::mem::take(&mut survey.tallies).finish(),
        executors: shards,
    };
    let gossip_core = blueprint.placement.gossip_core;
    let count = u16::try_from(shards).map_err(|error| error.to_string())?;
    let gossip = cluster.map(|cluster| cluster.start(gossip_core, guests, count)).transpose()?;
    let mut logs = log_seats(blueprint, config, survey, Route::new(seed, count), &seats);
    let shared = Arc::new(config.clone());
    let (addresses, ports) = Addresses::settle(config)?;
    let listeners = CoreListeners::for_cores(&addresses, shards);
    let lane = LargeLane::new();
    let mut handles = Vec::with_capacity(shards);
    for (((number, seats), listeners), core) in
        seats.into_iter().enumerate().zip(listeners).zip(&blueprint.placement.cores)
    {
        let options = ExecutorOptions { name: format!("shard-{number}"), core: *core, backend };
        let names = pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
        let (log, lane) = (logs.pop_front(), lane.clone());
        let summaries = summaries.clone();
        let place = Place { seats, log, names, config: shared.clone(), shards, listeners, lane, summaries };
        handles.push(start(options, move || place.run()).map_err(|error| error.to_string())?);
    }
    let rules = pipelines.iter().map(|pipeline| (pipeline.name.clone(), pipeline.rules.clone())).collect();
    // With a cluster the core is the gossip thread's, and telling metrics must not delay it.
    let side_core = gossip_core.filter(|_| gossip.is_none());
    Ok(Node { cores, handles, rules, backend, side_core, addresses, ports, gossip })
}

/// What all seats of one pipeline have in common.
struct Outline<'a> {
    pipeline: &'a Pipeline,
    number: usize,
    origin: u64,
    /// Of the process's hashes: the same in every pipeline.
    seed: [u64; 4],
    file: Option<FileWay>,
    cluster: Option<&'a Prepared>,
    /// Traces that the node may have to judge for the cluster, in this pipeline.
    docket_traces_max: u64,
}

/// The seats of a pipeline, and the gossip thread's end of its mesh, if there is one.
type Seats = (Vec<Seat>, Option<MeshPort<Message>>);

impl Outline<'_> {
    /// One seat for each core.
    fn seats(&self, controls: Vec<Receiver<Control>>) -> Result<Seats, String> {
        let Pipeline { name, config, pending_bytes, rules } = self.pipeline;
        let cores = controls.len();
        let count = u16::try_from(cores).map_err(|error| error.to_string())?;
        let queue_length = usize::try_from(config.mesh.queue_length).unwrap_or(usize::MAX);
        // Besides the cores the gossip thread takes part, where there is one.
        let (peers, mut guests) = Peers::join(count, u16::from(self.cluster.is_some()), queue_length);
        let joins =
            self.cluster.map(|cluster| (cluster.plan(name, count, self.docket_traces_max), cluster.alone(count)));
        let plan = |shard| plan::shard_plan(config, *pending_bytes, self.seed, (shard, count), rules.leaf_words());
        let file = self.file.clone().filter(|_| config.exporters.file.is_some());
        let reports: Vec<Arc<Reports>> = config.exporters.otlp.iter().map(|_| Arc::default()).collect();
        let numbered = CoreNumber::all(count).zip(peers).zip(controls);
        let seats = numbered.map(|((number, peers), control)| Seat {
            pipeline: self.number,
            name: self.pipeline.name.clone(),
            channel: ChannelNumber::of(self.number, number, cores),
            plan: plan(number.shard().0),
            rules: rules.clone(),
            config: config.clone(),
            peers,
            control,
            origin: self.origin,
            file: file.clone(),
            reports: reports.clone(),
            joins: joins.clone(),
        });
        Ok((seats.collect(), guests.pop()))
    }
}

/// All that one executor needs; sent to its thread.
struct Place {
    /// One a pipeline.
    seats: Vec<Seat>,
    /// Their log, where there is one.
    log: Option<LogSeat>,
    /// The names of those pipelines.
    names: Vec<String>,
    config: Arc<Config>,
    shards: usize,
    listeners: CoreListeners,
    /// For requests that are too large for a core's memory.
    lane: LargeLane,
    /// What it counts.
    summaries: SummarySeat,
}

/// All that one pipeline's core needs.
struct Seat {
    pipeline: usize,
    name: String,
    channel: ChannelNumber,
    plan: ShardPlan,
    rules: Arc<Rules>,
    config: Arc<Config>,
    peers: Peers,
    control: Receiver<Control>,
    origin: u64,
    file: Option<FileWay>,
    /// What is told of each exporter's failures, by all cores together.
    reports: Vec<Arc<Reports>>,
    /// The cluster to join.
    joins: Option<(ClusterPlan, Arc<View>)>,
}

/// What one executor needs for its log.
struct LogSeat {
    plan: LanePlan,
    paths: LogPaths,
    spares: Vec<(usize, Spare)>,
    /// What is past of a former run's log.
    past: Vec<OldPast>,
    share: Share,
}

/// Where the files of the log are.
#[derive(Clone)]
enum LogPaths {
    Single(PathBuf),
    Shared { requests: PathBuf, journals: Vec<PathBuf> },
}

impl LogPaths {
    fn of(data_directory: &Path, pipelines: &[Pipeline]) -> Self {
        let of = |pipeline: &Pipeline| data_directory.join(log_directory(&pipeline.name));
        match pipelines {
            [single] if single.name.is_empty() => Self::Single(of(single)),
            shared => Self::Shared {
                requests: data_directory.join(REQUESTS_DIRECTORY),
                journals: shared.iter().map(of).collect(),
            },
        }
    }

    async fn open(&self) -> Result<Directories, String> {
        let open = async |path: &PathBuf| Directory::open(path).await.map_err(|error| error.to_string());
        match self {
            Self::Single(path) => Ok(Directories::single(open(path).await?)),
            Self::Shared { requests, journals } => {
                let requests = open(requests).await?;
                let mut opened = Vec::with_capacity(journals.len());
                for journal in journals {
                    opened.push(open(journal).await?);
                }
                Ok(Directories::shared(requests, opened))
            }
        }
    }
}

/// One seat an executor where there is a log, none otherwise.
fn log_seats(
    blueprint: &Blueprint,
    config: &Config,
    mut survey: LogSurvey,
    route: Route,
    executors: &[Vec<Seat>],
) -> VecDeque<LogSeat> {
    let Some(wal) = &blueprint.wal else { return VecDeque::new() };
    let cores = u16::try_from(executors.len()).unwrap_or(u16::MAX);
    let pipelines = executors.first().into_iter().flatten().map(|seat| PipelinePlan {
        name: seat.name.clone(),
        verdicts_max: seat.plan.kept_verdicts_max + seat.plan.dropped_verdicts_max,
    });
    let pipelines: Vec<PipelinePlan> = pipelines.collect();
    let paths = LogPaths::of(&config.node.data_directory, &blueprint.pipelines);
    let keeps_past = u64::try_from(config.wal.reach_back.as_nanos()).unwrap_or(u64::MAX);
    let common = Common::new(&mut survey, clock::steady_unix_nanos());
    let shares: Vec<Vec<OldSegment>> = survey.spread(usize::from(cores));
    let past = survey.spread_past(usize::from(cores));
    let read = Barrier::for_cores(usize::from(cores));
    let restated = Barrier::for_cores(usize::from(cores));
    let nonce_seed = hash_seed()[0];
    let mut journals = survey.journals;
    let mut spares = survey.spares;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let barriers = read.into_iter().zip(restated);
    let shares = shares.into_iter().zip(past).zip(barriers);
    let seats = CoreNumber::all(cores).zip(shares).map(|(core, ((segments, past), (read, restated)))| LogSeat {
        plan: LanePlan {
            core: core.shard().0,
            cores,
            first_number: survey.next_number,
            nonce_seed,
            segment_bytes: wal.segment_bytes,
            begins_small: core != CoreNumber::FIRST || spares.is_empty(),
            requests_bytes_max: wal.requests_bytes,
            journal_segment_bytes: wal.journal_segment_bytes,
            journal_segments_max: size(wal.journal_bytes / wal.journal_segment_bytes.max(1)),
            buffer_bytes_max: size(wal.buffer_bytes),
            pipelines: pipelines.clone(),
            past: PastPlan { keep_nanos: keeps_past, bytes_max: wal.past_bytes },
        },
        past,
        paths: paths.clone(),
        spares: if core == CoreNumber::FIRST { std::mem::take(&mut spares) } else { Vec::new() },
        share: Share {
            common: common.clone(),
            segments,
            read,
            restated,
            route: route.clone(),
            journals: if core == CoreNumber::FIRST { std::mem::take(&mut journals) } else { Vec::new() },
        },
    });
    seats.collect()
}

impl LogSeat {
    async fn log(self) -> Result<(Rc<CoreLog>, Share), String> {
        let mut lane = Lane::new(self.plan);
        for OldPast { number, bytes, directory, times } in self.past {
            lane.past.add(PastSegment::former(number, directory, bytes, times));
        }
        Ok((CoreLog::new(lane, self.paths.open().await?, self.spares), self.share))
    }
}

impl Place {
    async fn run(self) -> Result<(), String> {
        let (ended, wait) = bounded(1);
        let receive_bytes = usize::try_from(self.config.memory.receive_bytes_max).unwrap_or(usize::MAX) / self.shards;
        let memory = ReceiveMemory::new(MemoryBounds::divide(receive_bytes), self.lane);
        let mut cores = Vec::with_capacity(self.seats.len());
        let mut built = Vec::with_capacity(self.seats.len());
        let (log, share) = match self.log {
            Some(seat) => seat.log().await.map(|(log, share)| (Some(log), Some(share)))?,
            None => (None, None),
        };
        let number = self.seats.first().map_or(CoreNumber::FIRST, |seat| seat.peers.own());
        let summaries = Summaries::new(number, self.summaries).map_err(|error| error.to_string())?;
        if let Some(log) = log.as_ref().filter(|_| summaries.is_some()) {
            log.lane.borrow_mut().count_all();
        }
        for seat in self.seats {
            built.push(seat.core(&memory, (log.clone(), summaries.clone()))?);
        }
        // From here to the first replay nothing is awaited: another executor may replay already, and a core that takes its
        // spans without the verdicts of the last run, or judges them before all have come, judges a part of a trace.
        for (core, control) in built {
            if let Some(share) = &share {
                core.begin_replay(share);
            }
            core.start_inside();
            core.start(control, ended.clone());
            cores.push(core);
        }
        drop(ended);
        if let Some((log, share)) = log.zip(share) {
            log.start(&cores);
            replay(&cores, &log, share).await;
        }
        for core in &cores {
            core.wait_for_log().await;
        }
        let cores: Rc<[Rc<Core>]> = cores.into();
        let port = |receivers: &Receivers, ack| {
            let named = self.names.iter().zip(&*cores).filter(|(name, _)| receivers.feeds(name));
            let fed: Vec<Rc<Core>> = named.map(|(_, core)| core.clone()).collect();
            CorePort { cores: fed.into(), first: cores.first().cloned(), ack }
        };
        let mut receivers = self.listeners.open(&self.config, self.shards, &memory, port)?;
        for core in &*cores {
            // The first has them; the others are open as soon as it is.
            core.set_receivers(std::mem::take(&mut receivers));
        }
        // Closing is the signal; nothing is ever sent.
        _ = wait.recv().await;
        Ok(())
    }
}

impl Seat {
    /// The core, not at work yet, and what it is to obey.
    fn core(
        self,
        memory: &Rc<ReceiveMemory>,
        (log, summaries): (Option<Rc<CoreLog>>, Option<Rc<Summaries>>),
    ) -> Result<(Rc<Core>, Receiver<Control>), String> {
        let shards = usize::from(self.plan.shards);
        let mut exporters = Vec::new();
        for (settings, reports) in self.config.exporters.otlp.iter().zip(self.reports) {
            let endpoints = Endpoints::new(settings).map_err(|error| error.to_string())?;
            exporters.push(Rc::new(Exporter::new(settings, endpoints, shards).reporting_to(reports)));
        }
        let reasons_max = plan::reasons_max(&self.config, self.plan.shards);
        let mut shard = Shard::new(self.plan, self.rules);
        shard.keep_reasons(reasons_max);
        if let (0, Some(plan)) = (self.pipeline, plan::summary_plan(&self.config, shards).skeletons) {
            shard.sketch(plan);
        }
        let signals = self.config.exporters.file.as_ref().map(|file| file.signals);
        let file = self.file.zip(signals).map(|(way, signals)| FileQueue::new(way, self.channel, signals));
        let outbox = Outbox::new(exporters, file, log.is_some(), self.config.exporters.debug);
        let settings = settings(&self.config, self.pipeline, shards);
        if let Some(log) = &log {
            let names = shard.rules().policy_names().map(String::from);
            let mut lane = log.lane.borrow_mut();
            lane.journal(self.pipeline).set_told(names, shard.rules().all_annotations());
            lane.segments.set_exporters(self.pipeline, outbox.exporter_names());
        }
        let core = Core::new(
            shard,
            outbox,
            self.peers,
            (log, summaries),
            (self.origin, Rc::clone(memory)),
            self.joins,
            settings,
        );
        Ok((core, self.control))
    }
}

fn settings(config: &Config, pipeline: usize, shards: usize) -> Settings {
    let largest = config.open_receivers().map(|receiver| receiver.limits.request_bytes_max).max();
    Settings {
        pipeline,
        blocks_on_overflow: config.sampling.block_on_overflow,
        decides_early: config.wal.on_full == WalFull::DecideEarly,
        journal_interval: config.wal.journal_interval,
        retention: config.wal.retention,
        request_bytes_max: usize::try_from(largest.unwrap_or(u64::MAX)).unwrap_or(usize::MAX),
        logs: plan::logs_plan(config, shards),
    }
}

/// Everything that runs.
pub struct Node {
    /// Ways to ask the cores.
    pub cores: Cores,
    /// Their threads.
    pub handles: Vec<CoreHandle>,
    /// The rules of each pipeline at the start, by its name.
    pub rules: Vec<(String, Arc<Rules>)>,
    /// What the cores run on.
    pub backend: Backend,
    /// Where the side thread runs.
    pub side_core: Option<usize>,
    /// Where the node listens.
    pub addresses: Addresses,
    /// Those ports, held as long as the node runs.
    pub ports: Vec<PortHold>,
    /// The thread that speaks with other nodes, where there are to be any.
    pub gossip: Option<GossipHandle>,
}

/// A core's thread.
pub type CoreHandle = ExecutorHandle<Result<(), String>>;

/// The embedded file's thread: it ends when the last core has. Where there is a log, what is written is synced before the
/// log may forget it, all that waits at once.
fn start_file(mut writer: FileWriter, settings: &FileExporter, syncs: bool, cores: &Cores) -> Result<FileWay, String> {
    let (sender, jobs) = bounded::<FileJob>(FILE_QUEUE_LENGTH);
    let cores = cores.clone();
    let bytes_max = usize::try_from(settings.queue_bytes_max).unwrap_or(usize::MAX);
    let way = FileWay { jobs: sender, bytes: Arc::default(), bytes_max, counters: writer.counters() };
    let bytes = way.bytes.clone();
    let write = move |writer: &mut FileWriter, job: FileJob| {
        let length = job.request.body.len();
        let written = write_job(writer, job);
        bytes.fetch_sub(length, Ordering::Relaxed);
        written
    };
    let body = move || {
        while let Ok(first) = jobs.recv_blocking() {
            let mut written = vec![write(&mut writer, first)];
            while syncs
                && written.len() < FILE_QUEUE_LENGTH
                && let Ok(job) = jobs.try_recv()
            {
                written.push(write(&mut writer, job));
            }
            let failure = if syncs { writer.sync().err() } else { None };
            if let Some(error) = &failure {
                tracing::error!(%error, requests = written.len(), "kept items may not be on the disk");
            }
            for (channel, ticket, fate) in written {
                let failed = failure.as_ref().filter(|_| fate == ExportFate::Delivered);
                let fate = failed.map_or(fate, |error| error.fate());
                let Some(core) = cores.channel(channel) else { continue };
                // A core that has ended has closed its books.
                _ = core.send_blocking(Control::Written(ticket, fate));
            }
        }
    };
    let thread = std::thread::Builder::new().name("kept-file".into()).spawn(body);
    thread.map(|_| way).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Writes a job and says whom to tell what.
fn write_job(writer: &mut FileWriter, job: FileJob) -> (ChannelNumber, u64, ExportFate) {
    let FileJob { channel, ticket, request } = job;
    let fate = match writer.write(&request) {
        Ok(()) => ExportFate::Delivered,
        Err(error) => {
            tracing::error!(%error, items = request.items, "kept items are not written");
            error.fate()
        }
    };
    (channel, ticket, fate)
}

/// Which node it is that tells what it has counted: as in a cluster, and the same after a restart where it can be.
fn node_id(config: &Config, cluster: Option<&Prepared>) -> Option<NodeId> {
    match cluster {
        Some(cluster) => Some(cluster.node()),
        None => Identity::of_directory(&config.node.data_directory, clock::unix_nanos(), draw())
            .inspect_err(|error| tracing::warn!(%error, "summaries do not tell which node has counted them"))
            .ok()
            .map(|identity| identity.node()),
    }
}

/// A seed of this process's hashes, from the operating system's randomness.
fn hash_seed() -> [u64; 4] {
    std::array::from_fn(|position| RandomState::new().hash_one(position))
}
