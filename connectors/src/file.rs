//! The embedded next hop: kept data as OTLP JSON lines in a file, so that the program is useful with nothing else
//! installed. Writing blocks, so it runs on a thread of its own, behind a bounded queue.
//!
//! One line is one `Export*ServiceRequest`, in the form of the OpenTelemetry "OTLP JSON file" specification. When the
//! file would outgrow its bound it is renamed with the suffix `.1`, replacing an earlier one, and begun anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tailwater_config::FileExporter;
use tailwater_engine::host::ExportRequest;
use tailwater_proto::otlp::json;
use thiserror::Error;

/// Why a request could not be written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file can't be opened, written or renamed. The line may be there in part; the next one begins on a new line.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The request is no OTLP; nothing was written.
    #[error("a request can't be written as JSON: {0}")]
    Json(String),
}

/// The open file.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    bytes_max: u64,
    file: File,
    bytes: u64,
    line: Vec<u8>,
}

impl FileWriter {
    /// Opens the file, to be continued where it ends.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(settings: &FileExporter) -> Result<Self, FileError> {
        let (file, bytes) =
            open(&settings.path).map_err(|source| FileError::Io { path: settings.path.clone(), source })?;
        Ok(Self { path: settings.path.clone(), bytes_max: settings.bytes_max, file, bytes, line: Vec::new() })
    }

    /// Writes one request as a line.
    ///
    /// # Errors
    /// `FileError`; the writer stays usable.
    pub fn write(&mut self, request: &ExportRequest) -> Result<(), FileError> {
        self.line.clear();
        json::from_protobuf(request.signal, &request.body, &mut self.line)
            .map_err(|error| FileError::Json(error.to_string()))?;
        self.line.push(b'\n');
        self.write_line().map_err(|source| FileError::Io { path: self.path.clone(), source })
    }

    fn write_line(&mut self) -> io::Result<()> {
        let length = self.line.len() as u64;
        if self.bytes_max > 0 && self.bytes > 0 && self.bytes + length > self.bytes_max {
            let mut previous = self.path.clone().into_os_string();
            previous.push(".1");
            std::fs::rename(&self.path, previous)?;
            (self.file, self.bytes) = open(&self.path)?;
        }
        self.file.write_all(&self.line)?;
        self.bytes += length;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}
