//! Skeletons as OTLP log requests. The names are in the documentation of `skeletons`.

use super::partial::{Counted, Shape};
use crate::fields::{begin_message, put_double, put_fixed64};
use crate::record::{put_attribute, put_id, put_integer, put_text, put_texts};
use std::fmt::Write as _;
use tailwater_proto::otlp::wire::{end_message, put_header, put_varint};

/// The scope that skeletons are emitted in.
pub const SCOPE_NAME: &str = "tailwater.skeletons";

/// What the shape of all that is past the bounds is called.
const OVERFLOW: &str = "<*>";

/// Of the durations of a shape.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// A row, and its shape unless it is of what is past the bounds.
type Told<'a> = (Option<&'a Shape>, &'a Counted);

/// The rows as requests of about that many bytes.
pub(super) fn requests(rows: &[Told<'_>], emitted_unix_nano: u64, request_bytes_max: usize) -> Vec<Vec<u8>> {
    let rows: Vec<_> = rows.iter().map(|told| (service(told.0), *told)).collect();
    crate::record::requests(&rows, SCOPE_NAME, request_bytes_max, |out, (shape, row)| {
        put_record(out, *shape, row, emitted_unix_nano);
    })
}

/// Where traces of a shape begin, if that has a name.
fn service(shape: Option<&Shape>) -> Option<&[u8]> {
    let root = shape?.root.as_ref()?;
    (!root.service.is_empty()).then_some(root.service.as_bytes())
}

/// A row as a `LogRecord`.
fn put_record(out: &mut Vec<u8>, shape: Option<&Shape>, row: &Counted, emitted_unix_nano: u64) {
    let record = begin_message(out, 2);
    put_fixed64(out, 1, row.last_unix_nano);
    let has_errors = shape.is_some_and(|shape| !shape.error_services.is_empty());
    let (number, name) = if has_errors { (13, "WARN") } else { (9, "INFO") };
    put_varint(out, 2 << 3);
    put_varint(out, number);
    put_header(out, 3, name.len());
    out.extend_from_slice(name.as_bytes());
    let body = shape.map_or_else(|| OVERFLOW.to_string(), words);
    let value = begin_message(out, 5);
    put_text(out, body.as_bytes());
    end_message(out, value);
    let mut put = |key: &str, put_value: &dyn Fn(&mut Vec<u8>)| {
        put_attribute(out, 6, &format!("tailwater.skeleton.{key}"), put_value);
    };
    put("count", &|out| put_integer(out, row.traces));
    put("spans", &|out| put_integer(out, row.spans));
    if let Some(shape) = shape {
        let key = postcard::to_allocvec(shape).unwrap_or_default();
        put("id", &|out| put_id(out, &[&key]));
        if let Some(root) = &shape.root {
            put("root", &|out| put_text(out, root.name.as_bytes()));
            if !root.route.is_empty() {
                put("route", &|out| put_text(out, root.route.as_bytes()));
            }
        }
        put("services", &|out| put_texts(out, shape.services.iter().map(String::as_bytes)));
        if has_errors {
            put("error_services", &|out| put_texts(out, shape.error_services.iter().map(String::as_bytes)));
        }
    }
    for (name, part) in QUANTILES {
        put(&format!("duration_ms.{name}"), &|out| put_double(out, 4, row.durations.quantile(part)));
    }
    put("duration_ms.max", &|out| put_double(out, 4, row.durations.moments().max));
    put("first_unix_nano", &|out| put_integer(out, row.first_unix_nano));
    put("last_unix_nano", &|out| put_integer(out, row.last_unix_nano));
    put("example_trace_id", &|out| {
        let mut text = String::with_capacity(32);
        // Writing into a text can't fail.
        row.example.1.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
        put_text(out, text.as_bytes());
    });
    put_fixed64(out, 11, emitted_unix_nano);
    end_message(out, record);
}

/// A shape in words: `GET /cart of shop, through cart, db, shop; errors in db`.
fn words(shape: &Shape) -> String {
    let mut text = match &shape.root {
        Some(root) if root.service.is_empty() => root.name.clone(),
        Some(root) => format!("{} of {}", root.name, root.service),
        None => "no root span".to_string(),
    };
    // Writing into a text can't fail.
    _ = write!(text, ", through {}", shape.services.join(", "));
    if !shape.error_services.is_empty() {
        _ = write!(text, "; errors in {}", shape.error_services.join(", "));
    }
    text
}
