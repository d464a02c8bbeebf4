//! Patterns as OTLP log requests. The names are in the documentation of `patterns`.

use super::row::Row;
use super::table::Table;
use super::token::put_readable;
use crate::fields::{begin_message, put_fixed64};
use crate::record::{put_attribute, put_id, put_integer, put_text, put_texts};
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
    let rows: Vec<_> = rows.into_iter().map(|row| (Some(&*group(row).service), row)).collect();
    crate::record::requests(&rows, SCOPE_NAME, request_bytes_max, |out, row| {
        put_record(out, table, row, emitted_unix_nano);
    })
}

/// A row as a `LogRecord`.
fn put_record(out: &mut Vec<u8>, table: &Table, row: &Row, emitted_unix_nano: u64) {
    let group = &table.groups()[row.group as usize];
    let mut body = Vec::with_capacity(row.shape.len() * 2);
    put_readable(&mut body, &row.shape);
    let record = begin_message(out, 2);
    put_fixed64(out, 1, row.last_unix_nano);
    if group.severity.number() > 0 {
        put_varint(out, 2 << 3);
        put_varint(out, u64::from(group.severity.number()));
        put_header(out, 3, group.severity.name().len());
        out.extend_from_slice(group.severity.name().as_bytes());
    }
    let value = begin_message(out, 5);
    put_text(out, &body);
    end_message(out, value);
    put_attribute(out, 6, "tailwater.pattern.id", |out| {
        put_id(out, &[&group.service, &[0, group.severity.number(), 0], &body]);
    });
    put_attribute(out, 6, "tailwater.pattern.count", |out| put_integer(out, row.count));
    put_attribute(out, 6, "tailwater.pattern.first_unix_nano", |out| put_integer(out, row.first_unix_nano));
    put_attribute(out, 6, "tailwater.pattern.last_unix_nano", |out| put_integer(out, row.last_unix_nano));
    if !row.samples.is_empty() {
        let samples = row.samples.iter().map(|sample| &**sample);
        put_attribute(out, 6, "tailwater.pattern.samples", |out| put_texts(out, samples));
    }
    for (index, values) in row.values.iter().enumerate().filter(|(_, values)| !values.slots().is_empty()) {
        let name = format!("tailwater.pattern.values.{}", index + 1);
        put_attribute(out, 6, &name, |out| {
            let list = begin_message(out, 6);
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

#[cfg(test)]
mod tests;
