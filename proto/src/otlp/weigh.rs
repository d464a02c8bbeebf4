//! What a trace request weighs in memory once it is scanned, before it is: how many spans it has and how long its resources
//! and scopes are. A walk over the outer structure alone, which skips whatever is in a span.

use super::wire::{Reader, WireError};

/// What a trace request consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    /// Its spans, bad ones included.
    pub spans: usize,
    /// Its scopes.
    pub scopes: usize,
    /// Bytes of what stands around spans: resources, scopes, schema URLs.
    pub envelope_bytes: usize,
}

/// Weighs a trace request. What stands behind a broken part of it is not counted, as it is not scanned.
#[must_use]
pub fn traces(request: &[u8]) -> Weight {
    let mut weight = Weight::default();
    // A broken request is refused by the scan, which says why.
    _ = weight.request(request);
    weight
}

impl Weight {
    fn request(&mut self, message: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 1 {
                self.resource_spans(field.bytes()?)?;
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: &[u8]) -> Result<(), WireError> {
        self.envelope_bytes += message.len();
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 2 {
                self.scope_spans(field.bytes()?)?;
            }
        }
        Ok(())
    }

    /// The bytes of spans were counted with their resource: they are none of the envelope's.
    fn scope_spans(&mut self, message: &[u8]) -> Result<(), WireError> {
        self.scopes += 1;
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 2 {
                self.spans += 1;
                self.envelope_bytes -= field.bytes()?.len();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    #[test]
    fn spans_scopes_and_what_is_around_them_are_counted() {
        let span = Span { name: "x".repeat(1000), ..Span::default() };
        let scope_spans = ScopeSpans { spans: vec![span; 3], ..ScopeSpans::default() };
        let resource = Resource { dropped_attributes_count: 300, ..Resource::default() };
        let resource_spans =
            ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans; 2], ..ResourceSpans::default() };
        let request = ExportTraceServiceRequest { resource_spans: vec![resource_spans; 4] }.encode_to_vec();
        let weight = traces(&request);
        assert_eq!((weight.spans, weight.scopes), (24, 8));
        assert!((4 * 3..300).contains(&weight.envelope_bytes), "{weight:?}");
        // Cut anywhere it is no more, and nothing panics.
        for length in 0..request.len() {
            assert!(traces(&request[..length]).spans <= 24);
        }
    }
}
