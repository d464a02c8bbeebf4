//! What comes of services that somebody watches: spans, their bytes, and those with an error, by the service's name. Where none
//! is watched nothing is looked at.

use super::Shard;
use super::take::ERROR;
use crate::explain::origin::service_name;
use crate::vocabulary::SpanBatch;
use std::ops::Range;
use std::sync::Arc;

/// What has come of a service since it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceCounts {
    /// Spans.
    pub spans: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Of the spans those whose status is an error.
    pub errors: u64,
}

/// The services that are watched, in the order in which they were named.
#[derive(Debug)]
pub(super) struct Watch {
    services: Vec<(Arc<str>, ServiceCounts)>,
}

impl Watch {
    fn place(&self, resource: &[u8]) -> Option<usize> {
        let name = service_name(resource)?;
        self.services.iter().position(|(known, _)| known.as_bytes() == name)
    }

    /// Counts the spans of a batch. A resource is looked at once where its spans follow one another.
    pub(super) fn count(&mut self, batch: &SpanBatch) {
        let mut known: Option<(Range<u32>, Option<usize>)> = None;
        for record in &batch.spans {
            let Some(scope) = batch.envelopes.scopes.get(record.scope as usize) else { continue };
            let place = match &known {
                Some((resource, place)) if *resource == scope.resource => *place,
                _ => {
                    let place = self.place(batch.envelopes.slice(&scope.resource));
                    known = Some((scope.resource.clone(), place));
                    place
                }
            };
            if let Some((_, counts)) = place.and_then(|place| self.services.get_mut(place)) {
                counts.spans += 1;
                counts.bytes += u64::from(record.length);
                counts.errors += u64::from(record.status == ERROR);
            }
        }
    }
}

impl Shard {
    /// Watches these services from now on, and no others. What is known of one that was watched before stays.
    pub fn watch(&mut self, services: &[Arc<str>]) {
        let known = |name: &Arc<str>| {
            let mut before = self.watched();
            before.find(|(known, _)| known == name).map(|(_, counts)| *counts).unwrap_or_default()
        };
        let services: Vec<_> = services.iter().map(|name| (name.clone(), known(name))).collect();
        self.watch = (!services.is_empty()).then(|| Box::new(Watch { services }));
    }

    /// What has come of each service that is watched; of those that are read from the log again once more.
    pub fn watched(&self) -> impl Iterator<Item = &(Arc<str>, ServiceCounts)> {
        self.watch.iter().flat_map(|watch| &watch.services)
    }
}
