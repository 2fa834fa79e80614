//! Base64 and hex, as Debezium writes bytes and exact decimals.

const NONE: u8 = 0xff;

/// The value of each digit of base64.
type Digits = [u8; 256];

const PLAIN: Digits = values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const URL_SAFE: Digits = values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

const fn values(alphabet: &[u8; 64]) -> Digits {
    let mut values = [NONE; 256];
    let mut index = 0;
    while index < 64 {
        values[alphabet[index] as usize] = index as u8;
        index += 1;
    }
    values
}

/// How bytes are written. Debezium's `binary.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Binaries {
    /// In base64.
    #[default]
    Base64,
    /// In base64 with `-` and `_`.
    UrlSafe,
    /// In hexadecimal digits.
    Hex,
}

/// Appends the bytes that a text stands for, or says why it is none; then `out` is as before.
pub(super) fn decode_bytes(text: &[u8], binaries: Binaries, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let before = out.len();
    let (decoded, words) = match binaries {
        Binaries::Base64 => (decode(text, &PLAIN, out), "not base64"),
        Binaries::UrlSafe => (decode(text, &URL_SAFE, out), "not URL-safe base64"),
        Binaries::Hex => (decode_hex(text, out), "not hexadecimal"),
    };
    decoded.ok_or_else(|| {
        out.truncate(before);
        words
    })
}

/// Appends the bytes that a padded base64 text stands for, or says that it is none; then `out` is as before.
pub(super) fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    decode_bytes(text, Binaries::Base64, out).ok()
}

fn decode_hex(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    out.reserve(pairs.len());
    for [high, low] in pairs {
        out.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    Some(())
}

fn decode(text: &[u8], values: &Digits, out: &mut Vec<u8>) -> Option<()> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let digits = &text[..text.len() - padding];
    out.reserve(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            let value = values[digit as usize];
            if value == NONE {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        let missing = 4 - group.len();
        let three = (bits << (6 * missing)).to_be_bytes();
        // Bits that stand for no byte have to be zero, so that each value has one text.
        if three[4 - missing..].iter().any(|&byte| byte != 0) {
            return None;
        }
        out.extend_from_slice(&three[1..4 - missing]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_by_the_examples_of_rfc_4648_and_debezium() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYmFy", b"foobar"),
            ("3q2+7w==", &[0xde, 0xad, 0xbe, 0xef]),
            ("//8=", &[0xff, 0xff]),
        ] {
            let mut out = b"x".to_vec();
            assert_eq!(decode_base64(text.as_bytes(), &mut out), Some(()), "{text}");
            assert_eq!(&out[1..], bytes, "{text}");
        }
        for text in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "=", "====", "Zg==Zg==", "Zm-_", "Zm9 ", "Z===", "Zm9v\n"] {
            let mut out = b"x".to_vec();
            assert_eq!(decode_base64(text.as_bytes(), &mut out), None, "{text}");
            assert_eq!(out, b"x", "{text}");
        }
    }

    #[test]
    fn other_ways_to_write_bytes() {
        let bytes = |text: &str, binaries| {
            let mut out = Vec::new();
            decode_bytes(text.as_bytes(), binaries, &mut out).map(|()| out)
        };
        assert_eq!(bytes("-_8=", Binaries::UrlSafe), Ok(vec![0xfb, 0xff]));
        assert_eq!(bytes("+/8=", Binaries::UrlSafe), Err("not URL-safe base64"));
        assert_eq!(bytes("deadBEEF", Binaries::Hex), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(bytes("", Binaries::Hex), Ok(vec![]));
        assert_eq!(bytes("abc", Binaries::Hex), Err("not hexadecimal"));
        assert_eq!(bytes("zz", Binaries::Hex), Err("not hexadecimal"));
    }
}
