//! Looks at 8 or 16 bytes at once, without branches: the ends of strings, and digits.

/// How many bytes [`find_special`] looks at.
pub(crate) const LANES: usize = 16;

/// 10 to the power of the index.
pub(crate) const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The index of the first quote, backslash or control character ([`LANES`] if there is none), and whether all bytes
/// before it are ASCII.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn find_special(chunk: &[u8; LANES]) -> (usize, bool) {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    // SAFETY: SSE2 is part of x86-64, and the chunk has the 16 bytes that are read; the load needs no alignment.
    let (special, high) = unsafe {
        let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let special = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        (_mm_movemask_epi8(special) as u32, _mm_movemask_epi8(bytes) as u32)
    };
    // A sentinel bit makes 16 of "none".
    let special = special | 1 << LANES;
    let before = (special & special.wrapping_neg()) - 1;
    (special.trailing_zeros() as usize, high & before == 0)
}

/// The index of the first quote, backslash or control character ([`LANES`] if there is none), and whether all bytes
/// before it are ASCII.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn find_special(chunk: &[u8; LANES]) -> (usize, bool) {
    find_special_in_tail(chunk)
}

/// The same, byte by byte, for any number of them: the length if there is none.
/// A tail is shorter than [`LANES`], so that its length never looks like "none".
#[inline]
pub(crate) fn find_special_in_tail(tail: &[u8]) -> (usize, bool) {
    let stop = tail.iter().position(|&byte| matches!(byte, b'"' | b'\\' | ..0x20)).unwrap_or(tail.len());
    (stop, tail[..stop].is_ascii())
}

/// Each byte minus '0', and the high bit of each byte that is no digit (exact up to the first of them).
#[inline(always)]
fn split_digits(chunk: u64) -> (u64, u64) {
    let values = chunk ^ 0x3030_3030_3030_3030;
    (values, (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080)
}

/// How many of 8 bytes (the first is the lowest) are digits before the first that is none.
#[inline(always)]
pub(crate) fn leading_digits(chunk: u64) -> usize {
    (split_digits(chunk).1.trailing_zeros() / 8) as usize
}

/// The number that the leading digits of 8 bytes make, and how many they are.
#[inline(always)]
pub(crate) fn parse_digits(chunk: u64) -> (u64, usize) {
    let (values, others) = split_digits(chunk);
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // The digits move to the top; what comes in below are leading zeros.
    let digits = values << (64 - 8 * count);
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff, count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::properties;

    proptest! {
        #![proptest_config(properties(256))]

        #[test]
        fn special_bytes_are_found_alike(chunk: [u8; LANES]) {
            prop_assert_eq!(find_special(&chunk), find_special_in_tail(&chunk));
        }

        #[test]
        fn special_bytes_among_letters(mut chunk in proptest::array::uniform16(b'a'..=b'z'), at in 0usize..LANES, byte: u8) {
            chunk[at] = byte;
            prop_assert_eq!(find_special(&chunk), find_special_in_tail(&chunk));
        }

        #[test]
        fn digits_make_their_number(number in 0u64..100_000_000, width in 1usize..=8, then: [u8; 8]) {
            let digits = format!("{:0width$}", number % 10u64.pow(width as u32));
            let mut chunk = then;
            chunk[..width].copy_from_slice(digits.as_bytes());
            if width < 8 && chunk[width].is_ascii_digit() {
                chunk[width] = b',';
            }
            let chunk = u64::from_le_bytes(chunk);
            prop_assert_eq!(parse_digits(chunk), (digits.parse::<u64>().unwrap(), width));
            prop_assert_eq!(leading_digits(chunk), width);
        }
    }
}
