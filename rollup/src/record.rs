//! What summaries say in log records: attributes, and what stands around the records of a service.

use crate::fields::begin_message;
use std::hash::Hasher as _;
use std::io::Write as _;
use tailwater_proto::otlp::wire::{end_message, put_header, put_varint};
use twox_hash::XxHash3_64;

/// Appends a `KeyValue` in field `number`; `put_value` writes what is in its `AnyValue`.
pub fn put_attribute(out: &mut Vec<u8>, number: u8, key: &str, put_value: impl FnOnce(&mut Vec<u8>)) {
    let pair = begin_message(out, number);
    put_header(out, 1, key.len());
    out.extend_from_slice(key.as_bytes());
    let value = begin_message(out, 2);
    put_value(out);
    end_message(out, value);
    end_message(out, pair);
}

/// Appends a text as it is in an `AnyValue`.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_header(out, 1, text.len());
    out.extend_from_slice(text);
}

/// Appends an integer likewise.
pub fn put_integer(out: &mut Vec<u8>, value: u64) {
    put_varint(out, 3 << 3);
    put_varint(out, value);
}

/// Appends a list of texts likewise.
pub fn put_texts<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a [u8]>) {
    let list = begin_message(out, 5);
    for text in texts {
        let value = begin_message(out, 1);
        put_text(out, text);
        end_message(out, value);
    }
    end_message(out, list);
}

/// Appends a name of 16 hexadecimal digits likewise: the same for the same parts, on every node and after every start.
pub fn put_id(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut hash = XxHash3_64::with_seed(0);
    parts.iter().for_each(|part| hash.write(part));
    let mut text = Vec::with_capacity(16);
    // Writing into a vector can't fail.
    _ = write!(text, "{:016x}", hash.finish());
    put_text(out, &text);
}

/// Rows and the services that they are of, if of any, as requests of logs of about `request_bytes_max` bytes, in that scope.
/// Each row is as `put_record` writes it; those of a service stand together.
pub fn requests<R>(
    rows: &[(Option<&[u8]>, R)],
    scope_name: &str,
    request_bytes_max: usize,
    put_record: impl Fn(&mut Vec<u8>, &R),
) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut request = Vec::new();
    for of_service in rows.chunk_by(|(a, _), (b, _)| a == b) {
        let mut left = of_service;
        while let Some((service, _)) = left.first() {
            let taken = put_resource_logs(&mut request, (*service, scope_name), left, request_bytes_max, &put_record);
            left = &left[taken..];
            if request.len() >= request_bytes_max {
                requests.push(std::mem::take(&mut request));
            }
        }
    }
    if !request.is_empty() {
        requests.push(request);
    }
    requests
}

/// Appends one `ResourceLogs`: as many rows as there is room for, at least one. Returns how many.
fn put_resource_logs<R>(
    out: &mut Vec<u8>,
    (service, scope_name): (Option<&[u8]>, &str),
    rows: &[(Option<&[u8]>, R)],
    request_bytes_max: usize,
    put_record: impl Fn(&mut Vec<u8>, &R),
) -> usize {
    let resource_logs = begin_message(out, 1);
    let resource = begin_message(out, 1);
    if let Some(service) = service {
        put_attribute(out, 1, "service.name", |out| put_text(out, service));
    }
    end_message(out, resource);
    let scope_logs = begin_message(out, 2);
    let scope = begin_message(out, 1);
    put_text(out, scope_name.as_bytes());
    end_message(out, scope);
    let mut taken = 0;
    for (_, row) in rows {
        put_record(out, row);
        taken += 1;
        if out.len() >= request_bytes_max {
            break;
        }
    }
    end_message(out, scope_logs);
    end_message(out, resource_logs);
    taken
}
