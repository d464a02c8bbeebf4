//! Patterns as OTLP log requests. The names are in the documentation of `patterns`.

use super::row::Row;
use super::table::Table;
use super::token::put_readable;
use std::io::Write as _;
use tailwater_proto::otlp::wire::{end_message, put_header, put_varint};

/// The scope that patterns are emitted in.
pub const SCOPE_NAME: &str = "tailwater.log_patterns";

/// The rows that were counted, as requests of about that many bytes, by service, severity and shape.
pub(super) fn requests(table: &Table, emitted_unix_nano: u64, request_bytes_max: usize) -> Vec<Vec<u8>> {
    let mut rows: Vec<&Row> = table.rows().filter(|row| row.count > 0).collect();
    let group = |row: &Row| &table.groups()[row.group as usize];
    rows.sort_unstable_by(|a, b| {
        let (a_group, b_group) = (group(a), group(b));
        (&a_group.service, a_group.severity, &a.shape).cmp(&(&b_group.service, b_group.severity, &b.shape))
    });
    let mut requests = Vec::new();
    let mut request = Vec::new();
    for of_service in rows.chunk_by(|a, b| group(a).service == group(b).service) {
        let mut left = of_service;
        while !left.is_empty() {
            let taken = put_resource_logs(&mut request, table, left, emitted_unix_nano, request_bytes_max);
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

/// Opens a message in field `number`; where its payload starts.
fn begin(out: &mut Vec<u8>, number: u32) -> usize {
    put_varint(out, u64::from(number) << 3 | 2);
    out.push(0);
    out.len()
}

/// The first of these rows as a `ResourceLogs`, at least one, and as many as there is room for.
fn put_resource_logs(out: &mut Vec<u8>, table: &Table, rows: &[&Row], emitted: u64, request_bytes_max: usize) -> usize {
    let group = &table.groups()[rows[0].group as usize];
    let resource_logs = begin(out, 1);
    let resource = begin(out, 1);
    put_attribute(out, 1, "service.name", |out| put_text(out, &group.service));
    end_message(out, resource);
    let scope_logs = begin(out, 2);
    let scope = begin(out, 1);
    put_header(out, 1, SCOPE_NAME.len());
    out.extend_from_slice(SCOPE_NAME.as_bytes());
    end_message(out, scope);
    let mut taken = 0;
    for row in rows {
        put_record(out, table, row, emitted);
        taken += 1;
        if out.len() >= request_bytes_max {
            break;
        }
    }
    end_message(out, scope_logs);
    end_message(out, resource_logs);
    taken
}

/// A row as a `LogRecord`.
fn put_record(out: &mut Vec<u8>, table: &Table, row: &Row, emitted_unix_nano: u64) {
    let group = &table.groups()[row.group as usize];
    let mut body = Vec::with_capacity(row.shape.len() * 2);
    put_readable(&mut body, &row.shape);
    let record = begin(out, 2);
    put_fixed64(out, 1, row.last_unix_nano);
    if group.severity.number() > 0 {
        put_varint(out, 2 << 3);
        put_varint(out, u64::from(group.severity.number()));
        put_header(out, 3, group.severity.name().len());
        out.extend_from_slice(group.severity.name().as_bytes());
    }
    let value = begin(out, 5);
    put_text(out, &body);
    end_message(out, value);
    put_attribute(out, 6, "tailwater.pattern.id", |out| put_id(out, &group.service, group.severity.number(), &body));
    put_attribute(out, 6, "tailwater.pattern.count", |out| put_integer(out, row.count));
    put_attribute(out, 6, "tailwater.pattern.first_unix_nano", |out| put_integer(out, row.first_unix_nano));
    put_attribute(out, 6, "tailwater.pattern.last_unix_nano", |out| put_integer(out, row.last_unix_nano));
    if !row.samples.is_empty() {
        put_attribute(out, 6, "tailwater.pattern.samples", |out| put_samples(out, row));
    }
    for (index, values) in row.values.iter().enumerate().filter(|(_, values)| !values.slots().is_empty()) {
        let name = format!("tailwater.pattern.values.{}", index + 1);
        put_attribute(out, 6, &name, |out| {
            let list = begin(out, 6);
            for slot in values.sorted() {
                let text = String::from_utf8_lossy(slot.value.bytes());
                put_attribute(out, 1, &text, |out| put_integer(out, slot.count));
            }
            end_message(out, list);
        });
    }
    put_fixed64(out, 11, emitted_unix_nano);
    end_message(out, record);
}

/// A `KeyValue` in field `number`; `put_value` writes what is in its `AnyValue`.
fn put_attribute(out: &mut Vec<u8>, number: u32, key: &str, put_value: impl FnOnce(&mut Vec<u8>)) {
    let pair = begin(out, number);
    put_header(out, 1, key.len());
    out.extend_from_slice(key.as_bytes());
    let value = begin(out, 2);
    put_value(out);
    end_message(out, value);
    end_message(out, pair);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_header(out, 1, text.len());
    out.extend_from_slice(text);
}

fn put_integer(out: &mut Vec<u8>, value: u64) {
    put_varint(out, 3 << 3);
    put_varint(out, value);
}

fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_samples(out: &mut Vec<u8>, row: &Row) {
    let list = begin(out, 5);
    for sample in &row.samples {
        let value = begin(out, 1);
        put_text(out, sample);
        end_message(out, value);
    }
    end_message(out, list);
}

/// The same on every node and after every start, for the same pattern.
fn put_id(out: &mut Vec<u8>, service: &[u8], severity: u8, body: &[u8]) {
    let mut hash = twox_hash::XxHash3_64::with_seed(0);
    std::hash::Hasher::write(&mut hash, service);
    std::hash::Hasher::write(&mut hash, &[0, severity, 0]);
    std::hash::Hasher::write(&mut hash, body);
    let mut text = Vec::with_capacity(16);
    // Writing into a vector cannot fail.
    let _ = write!(text, "{:016x}", std::hash::Hasher::finish(&hash));
    put_text(out, &text);
}

#[cfg(test)]
mod tests;
