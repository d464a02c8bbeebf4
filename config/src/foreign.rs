//! Files of other programs that people give to this one: told apart at a glance, and answered with what to do.

use crate::problem::Fault;
use crate::yaml::{Document, Node, Value};

/// What the file is, when it is no configuration of this program or the Collector's; with the line.
pub(crate) fn recognize(document: &Document) -> Option<(u32, Fault)> {
    let root = &document.root;
    if let (Some(kind), Some(_)) = (root.get("kind"), root.get("apiVersion")) {
        return Some((kind.line, kubernetes(kind.node.written().unwrap_or_default(), root)));
    }
    if let Some((line, fault)) = refinery(root) {
        return Some((line, fault));
    }
    if let Some(entry) = root
        .get("config")
        .filter(|entry| ["receivers", "processors", "service"].iter().any(|section| entry.node.get(section).is_some()))
    {
        let remedy = "give tailwater what stands under `config`, as a file of its own";
        return Some((entry.line, Fault::new("values of a Helm chart, not a configuration", remedy)));
    }
    if let (Some(services), None) = (root.get("services"), root.get("service")) {
        let remedy = "give tailwater the file that the Collector's service mounts as its configuration";
        return Some((services.line, Fault::new("a Compose file, not a configuration", remedy)));
    }
    document.next.map(|line| {
        let remedy = "remove the others: tailwater takes one document, native or the Collector's, and joins none";
        (line, Fault::new("the file holds more than one document, the second begins here", remedy))
    })
}

fn kubernetes(kind: &str, root: &Node) -> Fault {
    let cause = format!("a Kubernetes object of kind {kind}, not a configuration");
    let remedy = match kind {
        "ConfigMap" => {
            let data = root.get("data").and_then(|data| match &data.node.value {
                Value::Map(entries) => entries.first().map(|entry| entry.key.clone()),
                _ => None,
            });
            let name = data.unwrap_or_else(|| "relay".to_string());
            format!(
                "give tailwater the text under `data.{name}`: mount the ConfigMap as a volume and start with --config \
                 PATH/{name}"
            )
        }
        "OpenTelemetryCollector" => {
            "give tailwater what stands under `spec.config`, as a file of its own: the operator \
                                     starts Collectors only"
                .to_string()
        }
        _ => "give tailwater the Collector's file or its own: receivers, processors, exporters, service at the top"
            .to_string(),
    };
    Fault::new(cause, remedy)
}

/// Keys at the top that only Refinery's configuration has, and its rules.
const REFINERY_KEYS: &[&str] = &[
    "RulesVersion",
    "Samplers",
    "RefineryTelemetry",
    "ConfigurationVersion",
    "AccessKeys",
    "PeerManagement",
    "RedisPeerManagement",
    "LegacyMetrics",
    "StressRelief",
    "SampleCache",
    "GRPCServerParameters",
    "BufferSizes",
    "Traces",
];

fn refinery(root: &Node) -> Option<(u32, Fault)> {
    let key = REFINERY_KEYS.iter().find_map(|key| root.get(key))?;
    let fault = if root.get("Samplers").is_some() || root.get("RulesVersion").is_some() {
        Fault::new(
            "rules of Honeycomb's Refinery, not a configuration",
            "write them as sampling.rules: docs/rules.md has limits, shares and conditions like theirs",
        )
    } else {
        Fault::new(
            "a configuration of Honeycomb's Refinery",
            "write its listeners as otlp.grpc and otlp.http, its destination as exporters.otlp, its rules as \
             sampling.rules: docs/configuration.md has every key",
        )
    };
    Some((key.line, fault))
}
