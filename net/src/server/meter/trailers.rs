//! Trailers of requests: a pseudo-header field among them is a mistake of the peer's (RFC 9113, 8.1), and the protocol
//! library does not show it. A header block can be walked without its state (RFC 7541): what a field is called shows where
//! its name is a literal or of the static table. References into the dynamic table are passed over.
//!
//! ```text
//! 1xxxxxxx  an indexed field              01xxxxxx  a literal that is added to the table
//! 001xxxxx  a new size of the table       000xxxxx  a literal that is not added
//! literal = index of the name, or 0 and the name as a string; then the value as a string
//! string  = Huffman: 1 bit | length: 7-bit prefix integer | bytes
//! ```

/// Entries of the static table that are pseudo-header fields.
const PSEUDO: std::ops::RangeInclusive<usize> = 1..=14;

/// The first seven bits of a name that begins with a colon, in the static Huffman code.
const HUFFMAN_COLON: u8 = 0b101_1100;

/// Whether a pseudo-header field is seen in the header block of trailers. A block that is cut short or malformed shows what
/// stands before that.
pub(super) fn has_pseudo_header(mut block: &[u8]) -> bool {
    while let Some(first) = block.first().copied() {
        let prefix_bits = match first {
            0x80.. => 7,
            0x40..0x80 => 6,
            0x20..0x40 => 5,
            _ => 4,
        };
        let Some(number) = integer(&mut block, prefix_bits) else { return false };
        if prefix_bits == 5 {
            continue;
        }
        if PSEUDO.contains(&number) {
            return true;
        }
        if prefix_bits == 7 {
            continue;
        }
        if number == 0 {
            let Some((name, is_huffman)) = string(&mut block) else { return false };
            let begins = name.first().copied().unwrap_or(0);
            if if is_huffman { begins >> 1 == HUFFMAN_COLON } else { begins == b':' } {
                return true;
            }
        }
        if string(&mut block).is_none() {
            return false;
        }
    }
    false
}

/// A prefix integer (RFC 7541, 5.1).
fn integer(block: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let most = (1_usize << prefix_bits) - 1;
    let (first, rest) = block.split_first()?;
    *block = rest;
    let mut number = usize::from(*first) & most;
    if number < most {
        return Some(number);
    }
    for shift in (0..28).step_by(7) {
        let (byte, rest) = block.split_first()?;
        *block = rest;
        number = number.checked_add(usize::from(byte & 0x7f) << shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A string as it is coded, and whether by Huffman's code.
fn string<'a>(block: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
    let is_huffman = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some((bytes, is_huffman))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(first: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
        let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[first, length(name)], name, &[length(value)], value].concat()
    }

    #[test]
    fn pseudo_headers_are_seen_however_they_are_coded() {
        let plain = literal(0, b"grpc-trailer", &[b'v'; 100]);
        assert!(!has_pseudo_header(&plain) && !has_pseudo_header(&[]));
        // An entry of the dynamic table, a new table size, a name of the static table that is none.
        assert!(!has_pseudo_header(&[0xbe, 0x3f, 0xe1, 0x1f, 0x0f, 0x10, 1, b'x']));
        for pseudo in [
            vec![0x83],
            vec![0x04, 1, b'/'],
            vec![0x44, 1, b'/'],
            literal(0, b":path", b"/"),
            literal(0x40, b":x", b""),
            vec![0x00, 0x81, 0b1011_1001, 0],
        ] {
            assert!(has_pseudo_header(&pseudo), "{pseudo:?}");
            assert!(has_pseudo_header(&[plain.clone(), pseudo.clone()].concat()), "{pseudo:?} behind another");
        }
    }

    #[test]
    fn no_block_makes_it_panic() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let block: Vec<u8> = (0..state % 24).map(|at| (state >> (at % 8 * 8)) as u8).collect();
            _ = has_pseudo_header(&block);
        }
    }
}
