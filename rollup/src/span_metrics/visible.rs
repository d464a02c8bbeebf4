//! What series still tell apart: services, operations, routes, and operations that failed.

use super::series::{attributes, parts, put_text, status};
use std::collections::BTreeSet;

/// Different ones among the series that are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Visible {
    /// Values of `service.name`.
    pub services: u64,
    /// Of services, names of spans.
    pub operations: u64,
    /// Of services, values of `http.route`, where that is a dimension.
    pub routes: u64,
    /// Operations with errors.
    pub failing_operations: u64,
}

/// The attribute's key, if it is this one, as it begins in a `KeyValue`.
fn is_of(attribute: &[u8], key: &str) -> bool {
    let length = key.len();
    attribute.len() > length + 2 && usize::from(attribute[1]) == length && &attribute[2..length + 2] == key.as_bytes()
}

impl Visible {
    /// Of the series of these names.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut failed = Vec::new();
        put_text(&mut failed, "status.code", status(2).as_bytes());
        let failed = attributes(&failed).next().unwrap_or_default();
        let (mut services, mut operations) = (BTreeSet::new(), BTreeSet::new());
        let (mut routes, mut failing) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            let find = |key| attributes(parts(name).1).find(|attribute| is_of(attribute, key));
            let (service, operation) = (find("service.name"), find("span.name"));
            services.extend(service);
            operations.extend(operation.map(|operation| (service, operation)));
            routes.extend(find("http.route").map(|route| (service, route)));
            if find("status.code") == Some(failed) {
                failing.insert((service, operation));
            }
        }
        let count = |set: usize| set as u64;
        Self {
            services: count(services.len()),
            operations: count(operations.len()),
            routes: count(routes.len()),
            failing_operations: count(failing.len()),
        }
    }
}
