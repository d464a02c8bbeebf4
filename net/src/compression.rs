//! Content codings of request and response bodies: identity, gzip (RFC 1952) and zstd (RFC 8878).
//!
//! Every body that arrives is hostile until shown otherwise: the output of [`Inflater::inflate`] never exceeds the limit
//! given with the call, nor is more memory reserved than the input could honestly expand to.

pub mod stream;

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};
use std::io::Read as _;
use tailwater_runtime::executor::yield_now;
use zstd::zstd_safe::{self, CCtx, DCtx};

/// Largest window of a zstd frame that is inflated in slices, as a power of two: 8 MiB, which every decoder is asked to have
/// (RFC 8878, 3.1.1.1.2). Frames with larger ones are inflated in one go.
const ZSTD_SLICED_WINDOW_LOG_MAX: u32 = 23;

/// Memory that slices take besides their output.
pub const SLICED_BYTES: usize = (1 << ZSTD_SLICED_WINDOW_LOG_MAX) + (512 << 10);

/// An output larger than this is worth slices: some milliseconds of a core.
pub const SLICED_FROM_BYTES: usize = 4 << 20;

/// What is inflated in one go then.
const SLICE_BYTES: usize = 1 << 20;

/// Beyond an output, for the read that finds nothing more.
const END_BYTES: usize = 64;

/// How the library says that the output is larger than the buffer.
const ZSTD_NO_SPACE: &str = "Destination buffer is too small";

/// Most bytes one byte of a deflate stream can stand for: a match of 258 bytes coded in two bits.
const DEFLATE_EXPANSION_MAX: usize = 1032;

/// An output buffer up to this size is kept for the next body, if nobody holds it any more by then.
const RECYCLED_BYTES_MAX: usize = 4 << 20;

/// An output of unknown size is copied into a buffer of its own size if it is much smaller than expected, and more than this.
const COPIED_FROM_BYTES: usize = 64 << 10;

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
        Self { gzip: Decompressor::new(), zstd: DCtx::create(), recycled: Bytes::new() }
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
        let bound = zstd_bound(input, limit)?;
        // Whole frames into one buffer: the decoder keeps no window of its own, which may be far larger than what it
        // decodes and would stay with it.
        let mut output = self.buffer(bound.min(limit).max(1));
        match self.zstd.decompress(&mut output[..], input) {
            Ok(written) => Ok(self.finish(output, written)),
            Err(code) if bound > limit && zstd_safe::get_error_name(code) == ZSTD_NO_SPACE => {
                Err(InflateError::TooLarge { limit })
            }
            Err(_) => Err(InflateError::Malformed),
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
        if output.len() / 2 > length && output.len() > COPIED_FROM_BYTES {
            // It was only known how long it could be.
            return Bytes::copy_from_slice(&output[..length]);
        }
        let keep = output.capacity() <= RECYCLED_BYTES_MAX;
        output.truncate(length);
        let output = output.freeze();
        if keep {
            self.recycled = output.clone();
        }
        output
    }
}

/// Most bytes that `input` can be once inflated, at most `limit`: what room to have before it is. Nothing for a body that
/// is not compressed. What a body says of itself need not be true; [`Inflater::inflate`] with this bound as its limit then
/// says that it is too large.
///
/// # Errors
/// [`InflateError::TooLarge`] where it says that it is larger than `limit`, [`InflateError::Malformed`] where it is nothing of
/// that encoding.
pub fn inflated_bytes_max(encoding: Encoding, input: &[u8], limit: usize) -> Result<usize, InflateError> {
    match encoding {
        Encoding::Identity if input.len() > limit => Err(InflateError::TooLarge { limit }),
        Encoding::Identity => Ok(0),
        Encoding::Gzip => {
            if input.len() < GZIP_BYTES_MIN || !input.starts_with(&GZIP_MAGIC) {
                return Err(InflateError::Malformed);
            }
            let most = input.len().saturating_mul(DEFLATE_EXPANSION_MAX);
            if memchr::memmem::find(&input[GZIP_MAGIC.len()..], &GZIP_MAGIC).is_some() {
                return Ok(most.min(limit));
            }
            match gzip_trailer_size(input) {
                size if size > most => Err(InflateError::Malformed),
                size if size > limit => Err(InflateError::TooLarge { limit }),
                size => Ok(size),
            }
        }
        Encoding::Zstd => Ok(zstd_bound(input, limit)?.min(limit)),
    }
}

/// What the frames of `input` can become at most: what they declare, or their blocks at their largest.
fn zstd_bound(input: &[u8], limit: usize) -> Result<usize, InflateError> {
    let declared = zstd_safe::get_frame_content_size(input).map_err(|_error| InflateError::Malformed)?;
    if declared.is_some_and(|size| usize::try_from(size).is_ok_and(|size| size > limit)) {
        return Err(InflateError::TooLarge { limit });
    }
    let bound = zstd_safe::decompress_bound(input).map_err(|_error| InflateError::Malformed)?;
    Ok(usize::try_from(bound).unwrap_or(usize::MAX))
}

/// Inflates a large body in slices, between which other tasks of the core run. Costs more than [`Inflater::inflate`] for
/// each byte.
///
/// # Errors
/// As [`Inflater::inflate`].
pub async fn inflate_in_slices(
    encoding: Encoding,
    input: &Bytes,
    output_bytes_max: usize,
) -> Result<Bytes, InflateError> {
    let source = input.clone().reader();
    let mut decoder: Box<dyn std::io::Read> = match encoding {
        Encoding::Identity => return Inflater::new().inflate(encoding, input, output_bytes_max),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(source)),
        Encoding::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(source).map_err(|_error| InflateError::Malformed)?;
            // Cannot fail: it is within the library's range on every platform.
            _ = decoder.window_log_max(ZSTD_SLICED_WINDOW_LOG_MAX);
            Box::new(decoder)
        }
    };
    // All of it at once: the room is there, and growing would need room for a copy. A little more, so that the reading of
    // the end finds a place.
    let mut output = Vec::with_capacity(output_bytes_max + END_BYTES);
    loop {
        // One byte more than allowed is asked for: getting it is what tells "just fits" from "too large".
        let step = SLICE_BYTES.min(output_bytes_max - output.len() + 1);
        let before = output.len();
        let read = decoder.by_ref().take(u64::try_from(step).unwrap_or(u64::MAX)).read_to_end(&mut output);
        if read.is_err() && encoding == Encoding::Zstd {
            // Malformed, or in need of a larger window: without slices it needs none.
            return Inflater::new().inflate(encoding, input, output_bytes_max);
        }
        read.map_err(|_error| InflateError::Malformed)?;
        if output.len() > output_bytes_max {
            return Err(InflateError::TooLarge { limit: output_bytes_max });
        }
        if output.len() == before {
            output.shrink_to_fit();
            return Ok(output.into());
        }
        yield_now().await;
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
