//! Compressed files and pipes: read as a stream, known by their first bytes. Their senders are trusted with how much they
//! become; a reader stops where it has enough.

use super::Encoding;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};

/// How gzip begins (RFC 1952, 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];
/// How a frame of zstd begins (RFC 8878, 3.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The coding that these first bytes are of.
#[must_use]
pub fn encoding_of(first: &[u8]) -> Encoding {
    match first {
        first if first.starts_with(GZIP) => Encoding::Gzip,
        first if first.starts_with(ZSTD) => Encoding::Zstd,
        _ => Encoding::Identity,
    }
}

/// What `input` holds, without its coding; all members or frames of it, one after another.
///
/// # Errors
/// When the decoder can't be made. What is wrong with the content comes as an error of a read.
pub fn decoded<'a>(encoding: Encoding, input: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let decoder: Box<dyn Read + 'a> = match encoding {
        Encoding::Identity => return Ok(Box::new(input)),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(input)),
        Encoding::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
    };
    Ok(Box::new(BufReader::new(decoder)))
}

#[cfg(test)]
mod tests {
    use super::super::deflate;
    use super::*;

    #[test]
    fn several_members_are_read_as_one_stream() {
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let once = deflate(encoding, b"some text, ", 3).unwrap();
            let twice = [&*once, &*once].concat();
            assert_eq!(encoding_of(&twice), encoding);
            let mut text = String::new();
            decoded(encoding, &*twice).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "some text, some text, ");
            let cut = &twice[..twice.len() - 3];
            let outcome = decoded(encoding, cut).unwrap().read_to_string(&mut text);
            assert_eq!(outcome.is_err(), encoding != Encoding::Identity);
        }
    }
}
