//! Base64, as Debezium writes bytes and exact decimals.

const NONE: u8 = 0xff;

const VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [NONE; 256];
    let mut index = 0;
    while index < 64 {
        values[alphabet[index] as usize] = index as u8;
        index += 1;
    }
    values
};

/// Appends the bytes that a padded base64 text stands for, or says that it is none; then `out` is as before.
pub(super) fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let before = out.len();
    let decoded = decode(text, out);
    if decoded.is_none() {
        out.truncate(before);
    }
    decoded
}

fn decode(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let digits = &text[..text.len() - padding];
    out.reserve(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            let value = VALUES[digit as usize];
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
}
