//! The slow path of strings: backslash escapes.

use super::super::fault::{Fault, Step};

/// Appends the meaning of `raw`, what is between a string's quotes, to `out`. `at` is where `raw` starts in the record.
pub(crate) fn unescape(raw: &[u8], at: usize, out: &mut Vec<u8>) -> Step<()> {
    let mut pos = 0;
    while let Some(plain) = memchr::memchr(b'\\', &raw[pos..]) {
        out.extend_from_slice(&raw[pos..pos + plain]);
        pos += plain;
        let wrong = || Fault::malformed(at + pos, "an escape that JSON does not have");
        let (byte, length) = match raw.get(pos + 1).ok_or_else(wrong)? {
            b'n' => (b'\n', 2),
            b't' => (b'\t', 2),
            b'r' => (b'\r', 2),
            b'b' => (0x08, 2),
            b'f' => (0x0c, 2),
            byte @ (b'"' | b'\\' | b'/') => (*byte, 2),
            b'u' => {
                let (character, length) = unicode(&raw[pos..]).ok_or_else(wrong)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                pos += length;
                continue;
            }
            _ => return Err(wrong()),
        };
        out.push(byte);
        pos += length;
    }
    out.extend_from_slice(&raw[pos..]);
    Ok(())
}

/// The character of the `\uXXXX` (or pair of them) at the start, and its length as written.
fn unicode(raw: &[u8]) -> Option<(char, usize)> {
    let first = hex(raw.get(..6)?)?;
    if !(0xd800..0xe000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = hex(raw.get(6..12)?)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 12))
}

fn hex(escape: &[u8]) -> Option<u32> {
    escape.strip_prefix(b"\\u")?.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}
