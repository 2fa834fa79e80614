//! The schema tree: which keys of an object are needed, and in which order the stream brings them.

use std::collections::HashMap;

use super::super::fault::Step;
use super::cursor::Cursor;

/// What the walk over an object's keys came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A key that is needed, by its index; its value follows.
    Field(usize),
    /// A key that is not needed; its value follows.
    Other,
    /// The object's end, passed.
    End,
}

/// The needed keys of one object. Objects of a stream have their keys in the same order again and again, so the text
/// `,"key":` that came at a place last time is compared first, in one step; only a surprise is looked up.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    fields: HashMap<Box<[u8]>, usize>,
    order: Vec<Expected>,
    scratch: Vec<u8>,
}

/// The longest text of a key, with comma, quotes and colon, that is compared in one step.
const EXPECTED_BYTES: usize = 32;
/// How many places of an object are learned. Enough for every real table; a bound for made-up ones.
const ORDER_MAX: usize = 2048;

/// How many keys in a row may be left out of an object before it counts as one of another order.
const LEFT_OUT_MAX: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Expected {
    text: [u8; EXPECTED_BYTES],
    /// 0 when nothing is expected: the key is too long.
    length: usize,
    key: Key,
}

impl Expected {
    const NOTHING: Self = Self { text: [0; EXPECTED_BYTES], length: 0, key: Key::Other };

    #[inline(always)]
    fn is_at(&self, bytes: &[u8]) -> bool {
        self.length != 0
            && match bytes.first_chunk::<EXPECTED_BYTES>() {
                Some(chunk) => same_prefix(chunk, &self.text, self.length),
                None => bytes.starts_with(&self.text[..self.length]),
            }
    }
}

/// Whether the first `length` bytes are the same.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn same_prefix(a: &[u8; EXPECTED_BYTES], b: &[u8; EXPECTED_BYTES], length: usize) -> bool {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8};

    // SAFETY: SSE2 is part of x86-64; both arrays have 32 bytes, and the loads need no alignment.
    let equal = unsafe {
        let (a, b) = (a.as_ptr().cast(), b.as_ptr().cast());
        let low = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(a), _mm_loadu_si128(b))) as u32;
        let high = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(a.add(1)), _mm_loadu_si128(b.add(1)))) as u32;
        low | high << 16
    };
    (!equal).trailing_zeros() as usize >= length
}

/// Whether the first `length` bytes are the same.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn same_prefix(a: &[u8; EXPECTED_BYTES], b: &[u8; EXPECTED_BYTES], length: usize) -> bool {
    a[..length] == b[..length]
}

impl Keys {
    /// The keys that are needed; each is known by its index.
    pub(crate) fn new<'a>(needed: impl IntoIterator<Item = &'a str>) -> Self {
        Self::with_indexes(needed.into_iter().enumerate().map(|(index, key)| (key, index)))
    }

    /// The keys that are needed, each with its index.
    pub(crate) fn with_indexes<'a>(needed: impl IntoIterator<Item = (&'a str, usize)>) -> Self {
        let fields = needed.into_iter().map(|(key, index)| (key.as_bytes().into(), index)).collect();
        Self { fields, ..Self::default() }
    }

    /// Enters the object that starts at the cursor.
    #[inline]
    pub(crate) fn open(cursor: &mut Cursor<'_>) -> Step<()> {
        cursor.skip_space();
        cursor.expect(b'{', "expected an object")
    }

    /// The next key, with the cursor at its value afterwards (white space may be before it). `place` counts the keys
    /// of this object, from 0; every value has to be passed before the next call.
    #[inline(always)]
    pub(crate) fn next(&mut self, cursor: &mut Cursor<'_>, place: &mut usize) -> Step<Key> {
        if let Some(expected) = self.order.get(*place)
            && expected.is_at(&cursor.bytes[cursor.pos..])
        {
            cursor.pos += expected.length;
            *place += 1;
            return Ok(expected.key);
        }
        if cursor.peek() == b'}' {
            cursor.pos += 1;
            return Ok(Key::End);
        }
        self.look_up(cursor, place)
    }

    /// A key that was not expected here: one further on, when keys were left out, or one to be learned.
    #[cold]
    fn look_up(&mut self, cursor: &mut Cursor<'_>, place: &mut usize) -> Step<Key> {
        let further = self.order.iter().enumerate().skip(*place + 1).take(LEFT_OUT_MAX);
        for (found_at, expected) in further {
            if expected.is_at(&cursor.bytes[cursor.pos..]) {
                cursor.pos += expected.length;
                *place = found_at + 1;
                return Ok(expected.key);
            }
        }
        let start = cursor.pos;
        cursor.skip_space();
        if cursor.peek() == b'}' {
            cursor.pos += 1;
            return Ok(Key::End);
        }
        if *place > 0 {
            cursor.expect(b',', "expected ',' or '}'")?;
            cursor.skip_space();
        }
        if cursor.peek() != b'"' {
            return Err(cursor.unexpected("expected a key in quotes"));
        }
        let key = cursor.text(&mut self.scratch)?;
        let found = self.fields.get(key).map_or(Key::Other, |&index| Key::Field(index));
        cursor.skip_space();
        cursor.expect(b':', "expected ':' after a key")?;
        if *place < ORDER_MAX {
            // As it is written, escapes and spaces included: only the very same bytes will match.
            let text = &cursor.bytes[start..cursor.pos];
            let mut expected = Expected::NOTHING;
            if text.len() <= EXPECTED_BYTES {
                expected.text[..text.len()].copy_from_slice(text);
                expected.length = text.len();
                expected.key = found;
            }
            if self.order.len() <= *place {
                self.order.resize(*place + 1, Expected::NOTHING);
            }
            self.order[*place] = expected;
        }
        *place += 1;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::Isa;
    use super::*;

    /// The keys of an object as they are found, each with the place that it is found at.
    fn walk(keys: &mut Keys, text: &str) -> Vec<(Key, usize)> {
        let mut cursor = Cursor::new(text.as_bytes(), Isa::detect());
        let mut place = 0;
        let mut found = Vec::new();
        Keys::open(&mut cursor).unwrap();
        loop {
            let key = keys.next(&mut cursor, &mut place).unwrap();
            if key == Key::End {
                return found;
            }
            found.push((key, place - 1));
            cursor.skip_value().unwrap();
        }
    }

    #[test]
    fn keys_that_are_left_out_do_not_disturb_the_order() {
        let mut keys = Keys::new(["a", "c"]);
        let whole = [(Key::Field(0), 0), (Key::Other, 1), (Key::Field(1), 2)];
        assert_eq!(walk(&mut keys, r#"{"a":1,"c":3}"#), [(Key::Field(0), 0), (Key::Field(1), 1)]);
        for _ in 0..2 {
            assert_eq!(walk(&mut keys, r#"{"a":1,"b":2,"c":3}"#), whole);
            assert_eq!(walk(&mut keys, r#"{"a":1,"c":3}"#), [whole[0], whole[2]]);
        }
        assert_eq!(walk(&mut keys, "{}"), []);
    }
}
