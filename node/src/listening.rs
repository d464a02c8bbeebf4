//! Where the node is to listen, and what stands in its way.

use crate::port_holder::port_holder;
use tailwater_config::{Config, ListenAddress, further_section};
use tailwater_runtime::net::PortTaken;

/// Every endpoint to listen on, with its key.
pub fn listening(config: &Config) -> Vec<(String, &ListenAddress)> {
    let sections = std::iter::once("otlp".to_string()).chain((0..).map(further_section));
    let mut all = Vec::new();
    for (section, receivers) in sections.zip(config.all_receivers()) {
        for (protocol, receiver) in [("grpc", &receivers.grpc), ("http", &receivers.http)] {
            all.extend(
                receiver.as_ref().map(|receiver| (format!("{section}.{protocol}.endpoint"), &receiver.endpoint)),
            );
        }
    }
    all.extend(config.admin.endpoint.as_ref().map(|endpoint| ("admin.endpoint".to_string(), endpoint)));
    all
}

/// What stands in the way of listening, with the process that has the port where that can be seen.
pub fn why_taken(error: &PortTaken) -> String {
    let holder = error.is_in_use().then(|| port_holder(error.address)).flatten();
    match holder {
        Some(holder) => format!("{} is taken by {holder}", error.address),
        None => format!("cannot listen on {}: {}", error.address, error.source),
    }
}
