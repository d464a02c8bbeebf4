//! Content codings of request and response bodies: identity, gzip (RFC 1952) and zstd (RFC 8878).
//!
//! Every body that arrives is hostile until shown otherwise: the output of [`Inflater::inflate`] never exceeds the limit
//! given with the call, nor is more memory reserved than the input could honestly expand to.

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};
use std::io::Read as _;
use zstd::zstd_safe::{self, CCtx, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// Largest window a zstd frame may ask for, as a power of two: 128 MiB, the bound the zstd tool sets itself.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Most bytes one byte of a deflate stream can stand for: a match of 258 bytes coded in two bits.
const DEFLATE_EXPANSION_MAX: usize = 1032;

/// An output buffer up to this size is kept for the next body, if nobody holds it any more by then.
const RECYCLED_BYTES_MAX: usize = 4 << 20;

/// Growth of the output where its size is not known beforehand.
const STREAM_STEP_BYTES: usize = 64 << 10;

/// First bytes of a gzip member: magic number and the only compression method there is (RFC 1952, 2.3).
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Least length of a gzip member: header, an empty deflate block, checksum and size.
const GZIP_BYTES_MIN: usize = 18;

/// A content coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// as it is
    #[default]
    Identity,
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
}

impl Encoding {
    /// The coding that `Content-Encoding` or `grpc-encoding` names, in any case; an empty token is identity.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        let token = token.trim();
        [Self::Identity, Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|encoding| encoding.token().eq_ignore_ascii_case(token))
            .or_else(|| token.eq_ignore_ascii_case("x-gzip").then_some(Self::Gzip))
            .or_else(|| token.is_empty().then_some(Self::Identity))
    }

    /// The token for `Content-Encoding` and `grpc-encoding`.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Why a body could not be inflated. The inflater is as usable as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The output would be larger than allowed: refuse the request, it must not be sent again.
    #[error("the decompressed body is larger than {limit} bytes")]
    TooLarge {
        /// the limit given with the call, bytes
        limit: usize,
    },
    /// The input is not what its encoding says, or is cut short: refuse the request as invalid.
    #[error("the compressed body is malformed")]
    Malformed,
}

/// A body could not be compressed, for want of memory; send it uncompressed instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body could not be compressed")]
pub struct DeflateError;

/// Inflates bodies; one per core, reused, so that decoder tables and output buffers are not allocated anew.
pub struct Inflater {
    gzip: Decompressor,
    zstd: DCtx<'static>,
    recycled: Bytes,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inflater").field("recycled_bytes", &self.recycled.len()).finish_non_exhaustive()
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater that owns its decoders' tables (about 200 KiB) and at most 4 MiB of buffer.
    #[must_use]
    pub fn new() -> Self {
        let mut zstd = DCtx::create();
        // Cannot fail: 27 is within the library's range on every platform.
        let _ = zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
        Self { gzip: Decompressor::new(), zstd, recycled: Bytes::new() }
    }

    /// Undoes `encoding`. Identity costs nothing but a copy of the reference if `input` is within the limit.
    ///
    /// # Errors
    /// [`InflateError::TooLarge`] where the output exceeds `output_bytes_max`, [`InflateError::Malformed`] where the
    /// input is not a complete stream of that encoding.
    pub fn inflate(
        &mut self,
        encoding: Encoding,
        input: &Bytes,
        output_bytes_max: usize,
    ) -> Result<Bytes, InflateError> {
        match encoding {
            Encoding::Identity if input.len() > output_bytes_max => {
                Err(InflateError::TooLarge { limit: output_bytes_max })
            }
            Encoding::Identity => Ok(input.clone()),
            Encoding::Gzip => self.inflate_gzip(input, output_bytes_max),
            Encoding::Zstd => self.inflate_zstd(input, output_bytes_max),
        }
    }

    fn inflate_gzip(&mut self, input: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        if input.len() < GZIP_BYTES_MIN || !input.starts_with(&GZIP_MAGIC) {
            return Err(InflateError::Malformed);
        }
        // The fast decoder stops silently after the first member. Whatever might be a second one goes the slow way;
        // that three given bytes turn up in compressed data by chance is rare and costs only time.
        if memchr::memmem::find(&input[GZIP_MAGIC.len()..], &GZIP_MAGIC).is_some() {
            return stream_gzip(input, limit);
        }
        let size = gzip_trailer_size(input);
        if size > input.len().saturating_mul(DEFLATE_EXPANSION_MAX) {
            return Err(InflateError::Malformed);
        }
        if size > limit {
            return Err(InflateError::TooLarge { limit });
        }
        let mut output = self.buffer(size.max(1));
        match self.gzip.gzip_decompress(input, &mut output) {
            Ok(written) if written == size => Ok(self.finish(output, size)),
            // The trailer's size is not that of the stream: more than 4 GiB, or bytes after the member.
            Ok(_) | Err(DecompressionError::InsufficientSpace) => stream_gzip(input, limit),
            Err(DecompressionError::BadData) => Err(InflateError::Malformed),
        }
    }

    fn inflate_zstd(&mut self, input: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        let declared = zstd_safe::get_frame_content_size(input).map_err(|_error| InflateError::Malformed)?;
        let Some(size) = declared.map(|size| usize::try_from(size).unwrap_or(usize::MAX)) else {
            return self.stream_zstd(input, limit);
        };
        if size > limit {
            return Err(InflateError::TooLarge { limit });
        }
        let mut output = self.buffer(size.max(1));
        match self.zstd.decompress(&mut output[..], input) {
            Ok(written) if written == size => Ok(self.finish(output, size)),
            // A second frame does not fit, or the content is not as declared: the streaming decoder tells them apart.
            Ok(_) | Err(_) => self.stream_zstd(input, limit),
        }
    }

    fn stream_zstd(&mut self, input: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        let _ = self.zstd.reset(ResetDirective::SessionOnly);
        let mut source = InBuffer { src: input, pos: 0 };
        let mut output = Vec::new();
        let mut step = vec![0; STREAM_STEP_BYTES];
        loop {
            let consumed = source.pos;
            let mut target = OutBuffer::around(&mut step[..]);
            let hint =
                self.zstd.decompress_stream(&mut target, &mut source).map_err(|_error| InflateError::Malformed)?;
            let written = target.pos();
            if output.len() + written > limit {
                return Err(InflateError::TooLarge { limit });
            }
            output.extend_from_slice(&step[..written]);
            // A hint of zero means a frame is complete and flushed; otherwise no progress means the input is cut short.
            if hint == 0 && source.pos == input.len() {
                return Ok(Bytes::from(output));
            }
            if written == 0 && source.pos == consumed {
                return Err(InflateError::Malformed);
            }
        }
    }

    /// A buffer of this length, its content unspecified: the previous output's memory if nobody holds that any more.
    fn buffer(&mut self, length: usize) -> BytesMut {
        match std::mem::take(&mut self.recycled).try_into_mut() {
            Ok(mut buffer) if buffer.capacity() >= length => {
                buffer.resize(length, 0);
                buffer
            }
            _ => BytesMut::zeroed(length),
        }
    }

    fn finish(&mut self, mut output: BytesMut, length: usize) -> Bytes {
        let keep = output.capacity() <= RECYCLED_BYTES_MAX;
        output.truncate(length);
        let output = output.freeze();
        if keep {
            self.recycled = output.clone();
        }
        output
    }
}

/// Size of the output as the last four bytes of a gzip member declare it, modulo 2^32 (RFC 1952, 2.3.1, ISIZE).
fn gzip_trailer_size(input: &[u8]) -> usize {
    input.last_chunk().map_or(0, |size| usize::try_from(u32::from_le_bytes(*size)).unwrap_or(usize::MAX))
}

fn stream_gzip(input: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    // One byte more than allowed is asked for: getting it is what tells "just fits" from "too large".
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut output = Vec::new();
    MultiGzDecoder::new(input).take(bound).read_to_end(&mut output).map_err(|_error| InflateError::Malformed)?;
    if output.len() > limit { Err(InflateError::TooLarge { limit }) } else { Ok(Bytes::from(output)) }
}

/// Compresses bodies; reused, because a compressor's tables are large.
pub struct Deflater {
    gzip: Compressor,
    zstd: CCtx<'static>,
    zstd_level: i32,
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Deflater").field("zstd_level", &self.zstd_level).finish_non_exhaustive()
    }
}

impl Deflater {
    /// A compressor of this level: 0 to 12 for gzip, 1 to 19 for zstd; a level outside is moved to the nearest.
    #[must_use]
    pub fn new(level: i32) -> Self {
        let gzip = CompressionLvl::new(level.clamp(0, 12)).unwrap_or_default();
        Self { gzip: Compressor::new(gzip), zstd: CCtx::create(), zstd_level: level.clamp(1, 19) }
    }

    /// Compresses `input` into one gzip member or one zstd frame that declares its size; identity copies.
    ///
    /// # Errors
    /// [`DeflateError`] if the library is out of memory; the input is untouched.
    pub fn deflate(&mut self, encoding: Encoding, input: &[u8]) -> Result<Bytes, DeflateError> {
        let mut output = Vec::new();
        let written = match encoding {
            Encoding::Identity => return Ok(Bytes::copy_from_slice(input)),
            Encoding::Gzip => {
                output.resize(self.gzip.gzip_compress_bound(input.len()), 0);
                self.gzip.gzip_compress(input, &mut output).map_err(|_error| DeflateError)?
            }
            Encoding::Zstd => {
                output.resize(zstd_safe::compress_bound(input.len()), 0);
                self.zstd.compress(&mut output[..], input, self.zstd_level).map_err(|_error| DeflateError)?
            }
        };
        output.truncate(written);
        // The bound is larger than the input; a body that waits in a queue must not hold memory it does not use.
        output.shrink_to_fit();
        Ok(Bytes::from(output))
    }
}

/// Compresses one body with a compressor made for it; where many follow, keep a [`Deflater`].
///
/// # Errors
/// As [`Deflater::deflate`].
pub fn deflate(encoding: Encoding, input: &[u8], level: i32) -> Result<Bytes, DeflateError> {
    match encoding {
        Encoding::Identity => Ok(Bytes::copy_from_slice(input)),
        Encoding::Gzip | Encoding::Zstd => Deflater::new(level).deflate(encoding, input),
    }
}

#[cfg(test)]
mod tests;
