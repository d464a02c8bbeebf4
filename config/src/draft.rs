//! The configuration while it is put together: every part is there, switched on or off, so that each knob has a place.

use std::path::PathBuf;
use std::time::Duration;

use crate::sampling::Sampling;
use crate::settings::{
    Ack, Cluster, Config, FileExporter, Logs, Memory, OtlpExporter, Pipeline, Receiver, Receivers, Wal,
};

/// Which receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Grpc,
    Http,
}

/// A receiver and whether it listens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReceiverDraft {
    /// Whether it listens.
    pub(crate) enabled: bool,
    /// Its own level, in place of the node's.
    pub(crate) ack: Option<Ack>,
    /// What it would be.
    pub(crate) receiver: Receiver,
}

/// A receiver beside the first one: of a Collector's file, where each has listeners and pipelines of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FurtherDraft {
    pub(crate) grpc: ReceiverDraft,
    pub(crate) http: ReceiverDraft,
    /// What is not of a listener.
    pub(crate) head: Receivers,
}

impl FurtherDraft {
    fn closed() -> Self {
        let closed = |port| ReceiverDraft { enabled: false, ack: None, receiver: Receiver::at_port(port) };
        Self { grpc: closed(4317), http: closed(4318), head: Receivers::default() }
    }

    fn open(self, ack: Ack) -> Receivers {
        Receivers { grpc: self.grpc.open(ack), http: self.http.open(ack), ..self.head }
    }
}

impl ReceiverDraft {
    /// The receiver, when it listens.
    fn open(self, ack: Ack) -> Option<Receiver> {
        let receiver = Receiver { ack: self.ack.unwrap_or(ack), ..self.receiver };
        self.enabled.then_some(receiver)
    }
}

/// A configuration in the making. `config.receivers` and `config.exporters` are filled at the end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// All else.
    pub(crate) config: Config,
    /// OTLP/gRPC.
    pub(crate) grpc: ReceiverDraft,
    /// OTLP/HTTP.
    pub(crate) http: ReceiverDraft,
    /// Receivers beside the first.
    pub(crate) further: Vec<FurtherDraft>,
    /// OTLP exporters by name, in the order written.
    pub(crate) exporters: Vec<OtlpExporter>,
    /// The embedded exporter's file, when one was asked for.
    pub(crate) file_path: Option<PathBuf>,
    /// What else there is to say of it; its path is no part of this.
    pub(crate) file: FileExporter,
}

impl Draft {
    /// The native defaults: both receivers on the loopback address.
    pub(crate) fn native() -> Self {
        let config = Config {
            // Zero: worked out from the machine when nothing is written.
            memory: Memory { bytes_max: 0, receive_bytes_max: 0, span_bytes_max: 0 },
            wal: Wal { buffer_bytes_max: 0, ..Wal::default() },
            cluster: Cluster { docket_traces_max: 0, ..Cluster::default() },
            logs: Logs { wait: Duration::ZERO, ..Logs::default() },
            ..Config::default()
        };
        Self {
            config,
            grpc: ReceiverDraft { enabled: true, ack: None, receiver: Receiver::at_port(4317) },
            http: ReceiverDraft { enabled: true, ack: None, receiver: Receiver::at_port(4318) },
            further: Vec::new(),
            exporters: Vec::new(),
            file_path: None,
            // Zero: worked out from the memory when nothing is written.
            file: FileExporter { queue_bytes_max: 0, ..FileExporter::at(PathBuf::new()) },
        }
    }

    /// The Collector's defaults: nothing listens that is not written, and its own waits and sizes.
    pub(crate) fn collector() -> Self {
        let mut draft = Self::native();
        draft.grpc.enabled = false;
        draft.http.enabled = false;
        draft.config.sampling = Sampling::collector_default();
        draft
    }

    /// A finished configuration taken apart again, to read its knobs.
    pub(crate) fn of(config: &Config) -> Self {
        let mut draft = Self::native();
        draft.config = config.clone();
        for (slot, receiver) in
            [(&mut draft.grpc, config.receivers.grpc.as_ref()), (&mut draft.http, config.receivers.http.as_ref())]
        {
            slot.enabled = receiver.is_some();
            if let Some(receiver) = receiver {
                slot.ack = Some(receiver.ack);
                slot.receiver = receiver.clone();
            }
        }
        draft.exporters.clone_from(&config.exporters.otlp);
        if let Some(file) = &config.exporters.file {
            draft.file_path = Some(file.path.clone());
            draft.file = FileExporter { path: PathBuf::new(), ..file.clone() };
        }
        draft
    }

    /// The receiver of that kind.
    pub(crate) fn receiver_mut(&mut self, which: Which) -> &mut ReceiverDraft {
        match which {
            Which::Grpc => &mut self.grpc,
            Which::Http => &mut self.http,
        }
    }

    /// The receiver of that number among those beside the first, added when it is not there.
    pub(crate) fn further_mut(&mut self, number: usize) -> &mut FurtherDraft {
        if number >= self.further.len() {
            self.further.resize_with(number + 1, FurtherDraft::closed);
        }
        &mut self.further[number]
    }

    /// Every receiver's two listeners.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &ReceiverDraft> {
        [&self.grpc, &self.http].into_iter().chain(self.further.iter().flat_map(|draft| [&draft.grpc, &draft.http]))
    }

    /// The exporter of that name, added with the native defaults when it is not there.
    pub(crate) fn exporter_mut(&mut self, name: &str) -> &mut OtlpExporter {
        let position = self.exporters.iter().position(|exporter| exporter.name == name);
        let index = position.unwrap_or_else(|| {
            self.exporters.push(OtlpExporter::named(name));
            self.exporters.len() - 1
        });
        &mut self.exporters[index]
    }

    /// The pipeline of that name, added when it is not there: as `sampling` says, until it says otherwise.
    pub(crate) fn pipeline_mut(&mut self, name: &str) -> &mut Pipeline {
        let Config { pipelines, sampling, .. } = &mut self.config;
        let position = pipelines.iter().position(|pipeline| pipeline.name == name);
        let index = position.unwrap_or_else(|| {
            let (name, sampling) = (name.to_string(), sampling.clone());
            pipelines.push(Pipeline { name, exporters: Vec::new(), sampling });
            pipelines.len() - 1
        });
        &mut pipelines[index]
    }

    /// The configuration with its receivers and exporters in place.
    pub(crate) fn into_config(self) -> Config {
        let mut config = self.config;
        let ack = config.ack;
        config.receivers = Receivers { grpc: self.grpc.open(ack), http: self.http.open(ack), ..config.receivers };
        config.further_receivers = self.further.into_iter().map(|draft| draft.open(ack)).collect();
        let file = self.file;
        let file_default = self.exporters.is_empty().then(|| config.node.data_directory.join("kept.jsonl"));
        config.exporters.file = self.file_path.or(file_default).map(|path| FileExporter { path, ..file });
        config.exporters.otlp = self.exporters;
        config
    }
}
