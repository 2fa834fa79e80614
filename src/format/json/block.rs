//! Skipping whole objects and arrays, 64 bytes at a time: where their brackets balance, outside of strings.
//!
//! One algorithm over bit masks (bit i = byte i of the block); only the making of the masks differs between the
//! portable and the AVX2 form.

use super::super::fault::{Fault, Step};

/// How deep skipped objects and arrays may nest. Deeper is refused, as `serde_json` does.
pub(crate) const DEPTH_MAX: usize = 128;

const BLOCK: usize = 64;

/// Which instructions the scanner may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa {
    /// Only ever true after a look at the processor.
    avx2: bool,
}

impl Isa {
    /// The best that this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        return Self {
            avx2: is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("bmi1"),
        };
        #[cfg(not(target_arch = "x86_64"))]
        return Self { avx2: false };
    }

    /// What every processor has.
    #[cfg(test)]
    pub(crate) fn portable() -> Self {
        Self { avx2: false }
    }

    /// The position after the object or array that starts at `start`.
    #[inline]
    pub(crate) fn skip_container(self, bytes: &[u8], start: usize) -> Step<usize> {
        self.skip(bytes, start, 0)
    }

    /// The position after the object or array that `start` is inside of, outside of strings and further brackets.
    #[inline]
    pub(crate) fn skip_rest(self, bytes: &[u8], start: usize) -> Step<usize> {
        self.skip(bytes, start, 1)
    }

    #[inline]
    fn skip(self, bytes: &[u8], start: usize, depth: usize) -> Step<usize> {
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: `avx2` is private to this file and set by `detect` only, after it found all four features.
            return unsafe { skip_avx2(bytes, start, depth) };
        }
        skip(bytes, start, depth, masks_portable, prefix_xor_portable)
    }
}

/// Where the bytes that matter are in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Masks {
    quote: u64,
    backslash: u64,
    open: u64,
    close: u64,
}

#[inline(always)]
fn skip(
    bytes: &[u8],
    start: usize,
    mut depth: usize,
    masks: impl Fn(&[u8; BLOCK]) -> Masks,
    prefix_xor: impl Fn(u64) -> u64,
) -> Step<usize> {
    let mut pos = start;
    // All ones while a block starts inside a string.
    let mut in_string = 0u64;
    // 1 when a block's first byte is escaped by the last one of the block before.
    let mut escaped_first = 0u64;
    while pos < bytes.len() {
        let mut found = match bytes[pos..].first_chunk::<BLOCK>() {
            Some(block) => masks(block),
            None => {
                let mut block = [0u8; BLOCK];
                block[..bytes.len() - pos].copy_from_slice(&bytes[pos..]);
                masks(&block)
            }
        };
        if found.backslash | escaped_first != 0 {
            found.quote &= !escaped(found.backslash, &mut escaped_first);
        }
        let strings = prefix_xor(found.quote) ^ in_string;
        in_string = ((strings as i64) >> 63) as u64;
        let open = found.open & !strings;
        let close = found.close & !strings;
        let (opened, closed) = (open.count_ones() as usize, close.count_ones() as usize);
        if closed < depth && depth + opened <= DEPTH_MAX {
            depth = depth + opened - closed;
        } else {
            // The end or a bound may be in this block: bracket by bracket.
            let mut brackets = open | close;
            while brackets != 0 {
                let bit = brackets.trailing_zeros() as usize;
                brackets &= brackets - 1;
                if open >> bit & 1 == 1 {
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(Fault::malformed(pos + bit, "nested too deeply"));
                    }
                } else {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(pos + bit + 1);
                    }
                }
            }
        }
        pos += BLOCK;
    }
    Err(Fault::malformed(bytes.len(), "cut off inside an object or array"))
}

/// The bytes that a backslash escapes, and whether the next block's first one is.
fn escaped(mut backslashes: u64, escaped_first: &mut u64) -> u64 {
    let mut escaped = *escaped_first;
    backslashes &= !escaped;
    *escaped_first = 0;
    while backslashes != 0 {
        let bit = backslashes.trailing_zeros();
        if bit == 63 {
            *escaped_first = 1;
            break;
        }
        escaped |= 1 << (bit + 1);
        backslashes &= backslashes - 1;
        backslashes &= !(1 << (bit + 1));
    }
    escaped
}

/// For each bit, the parity of the bits up to and with it: 1 inside a string, its opening quote included.
fn prefix_xor_portable(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

fn masks_portable(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks::default();
    for (index, &byte) in block.iter().enumerate() {
        let bit = 1u64 << index;
        match byte {
            b'"' => masks.quote |= bit,
            b'\\' => masks.backslash |= bit,
            b'{' | b'[' => masks.open |= bit,
            b'}' | b']' => masks.close |= bit,
            _ => {}
        }
    }
    masks
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn skip_avx2(bytes: &[u8], start: usize, depth: usize) -> Step<usize> {
    use std::arch::x86_64::{_mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x, _mm_set1_epi8};

    skip(
        bytes,
        start,
        depth,
        |block| masks_avx2(block),
        |bits| _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), _mm_set1_epi8(-1))) as u64,
    )
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn masks_avx2(block: &[u8; BLOCK]) -> Masks {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };

    let start = block.as_ptr().cast::<__m256i>();
    // SAFETY: the block has 64 bytes, so both halves are readable; the loads need no alignment.
    let (low, high) = unsafe { (_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))) };
    let equal = |low: __m256i, high: __m256i, byte: u8| {
        let wanted = _mm256_set1_epi8(byte as i8);
        let low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted)) as u32;
        let high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted)) as u32;
        u64::from(low) | u64::from(high) << 32
    };
    // `[` and `{`, and `]` and `}`, differ in one bit, which no other byte shares.
    let case = _mm256_set1_epi8(0x20);
    let (folded_low, folded_high) = (_mm256_or_si256(low, case), _mm256_or_si256(high, case));
    Masks {
        quote: equal(low, high, b'"'),
        backslash: equal(low, high, b'\\'),
        open: equal(folded_low, folded_high, b'{'),
        close: equal(folded_low, folded_high, b'}'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::properties::properties;

    /// The same, byte by byte.
    fn naive(bytes: &[u8], start: usize) -> Option<usize> {
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        for (index, &byte) in bytes.iter().enumerate().skip(start) {
            let was_escaped = escaped;
            escaped = byte == b'\\' && !was_escaped;
            match byte {
                b'"' if !was_escaped => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth -= 1,
                _ => {}
            }
            if depth > DEPTH_MAX {
                return None;
            }
            if depth == 0 {
                return Some(index + 1);
            }
        }
        None
    }

    proptest! {
        #![proptest_config(properties(256))]

        #[test]
        fn every_form_finds_the_same_end(
            filler in proptest::collection::vec(proptest::sample::select(b"{}[]\"\\\\ax:,\xc3\xa4 ".to_vec()), 0..300),
            start in 0usize..70,
        ) {
            let mut bytes = vec![b' '; start];
            bytes.push(b'{');
            bytes.extend(filler);
            let expected = naive(&bytes, start);
            prop_assert_eq!(Isa::detect().skip_container(&bytes, start).ok(), expected);
            prop_assert_eq!(Isa::portable().skip_container(&bytes, start), Isa::detect().skip_container(&bytes, start));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for depth in [1, 63, 64, 65, DEPTH_MAX, DEPTH_MAX + 1, 100_000] {
            let text = ["[".repeat(depth), "]".repeat(depth)].concat();
            for isa in [Isa::detect(), Isa::portable()] {
                let end = isa.skip_container(text.as_bytes(), 0).ok();
                assert_eq!(end, (depth <= DEPTH_MAX).then_some(text.len()), "{depth}");
            }
        }
    }
}
