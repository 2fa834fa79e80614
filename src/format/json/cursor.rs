//! The scanner's core: a position in a record's bytes, and the steps over strings, numbers, literals and whole values.

use super::super::fault::{Fault, Step};
use super::block::Isa;
use super::lanes::{self, LANES};

/// A position in one JSON text.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) pos: usize,
    isa: Isa,
}

/// What is between the quotes of a string: valid UTF-8 unless it has escapes, then valid up to their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// The bytes as written.
    pub(crate) raw: &'a [u8],
    /// Whether there is a backslash in it.
    pub(crate) escaped: bool,
}

/// A whole number; its range is that of i64 and u64 together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Integer {
    pub(crate) negative: bool,
    pub(crate) magnitude: u64,
}

impl Integer {
    /// As i64, if it fits.
    #[inline]
    pub(crate) fn signed(self) -> Option<i64> {
        if self.negative { 0i64.checked_sub_unsigned(self.magnitude) } else { i64::try_from(self.magnitude).ok() }
    }
}

impl<'a> Cursor<'a> {
    /// The start of a text.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], isa: Isa) -> Self {
        Self { bytes, pos: 0, isa }
    }

    /// Another place of the same text.
    #[inline]
    pub(crate) fn at(&self, pos: usize) -> Self {
        Self { pos, ..self.clone() }
    }

    /// The byte here, or 0 at the end (no JSON has a zero byte outside of a mistake).
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// Over white space.
    #[inline(always)]
    pub(crate) fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.pos += 1;
        }
    }

    /// The fault of not finding `words` here.
    #[cold]
    pub(crate) fn unexpected(&self, words: &'static str) -> Fault {
        Fault::malformed(self.pos, if self.pos >= self.bytes.len() { "the record is cut off" } else { words })
    }

    /// Over one byte that has to be here.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, words: &'static str) -> Step<()> {
        if self.peek() != byte {
            return Err(self.unexpected(words));
        }
        self.pos += 1;
        Ok(())
    }

    /// Over the rest, which may only be white space.
    #[inline]
    pub(crate) fn end(&mut self) -> Step<()> {
        self.skip_space();
        if self.pos == self.bytes.len() { Ok(()) } else { Err(self.unexpected("something follows the JSON value")) }
    }

    /// Over `true`, `false` or `null`.
    #[inline]
    pub(crate) fn literal(&mut self, literal: &'static str) -> Step<()> {
        if !self.bytes[self.pos..].starts_with(literal.as_bytes()) {
            return Err(self.unexpected("expected a JSON value"));
        }
        self.pos += literal.len();
        Ok(())
    }

    /// The string that starts here, checked.
    #[inline]
    pub(crate) fn string(&mut self) -> Step<Text<'a>> {
        self.expect(b'"', "expected a string")?;
        let start = self.pos;
        let (mut ascii, mut escaped) = (true, false);
        loop {
            let (stop, chunk_ascii) = match self.bytes[self.pos..].first_chunk::<LANES>() {
                Some(chunk) => lanes::find_special(chunk),
                None => lanes::find_special_in_tail(&self.bytes[self.pos..]),
            };
            ascii &= chunk_ascii;
            self.pos += stop;
            if stop == LANES {
                continue;
            }
            match self.peek() {
                b'"' => break,
                b'\\' if self.pos + 1 < self.bytes.len() => {
                    escaped = true;
                    ascii &= self.bytes[self.pos + 1] < 0x80;
                    self.pos += 2;
                }
                _ if self.pos >= self.bytes.len() => return Err(Fault::malformed(self.pos, "cut off inside a string")),
                _ => return Err(self.unexpected("a control character or a lone backslash in a string")),
            }
        }
        let raw = &self.bytes[start..self.pos];
        self.pos += 1;
        if !ascii && let Err(error) = simdutf8::compat::from_utf8(raw) {
            return Err(Fault::malformed(start + error.valid_up_to(), "not UTF-8"));
        }
        Ok(Text { raw, escaped })
    }

    /// Over a string that nobody needs: only its end is looked for.
    #[inline]
    fn skip_string(&mut self) -> Step<()> {
        self.pos += 1;
        loop {
            let (stop, _) = match self.bytes.get(self.pos..).and_then(|rest| rest.first_chunk::<LANES>()) {
                Some(chunk) => lanes::find_special(chunk),
                None => lanes::find_special_in_tail(self.bytes.get(self.pos..).unwrap_or_default()),
            };
            self.pos += stop;
            if stop == LANES {
                continue;
            }
            match self.bytes.get(self.pos) {
                Some(b'"') => break,
                Some(b'\\') => self.pos += 2,
                Some(_) => self.pos += 1,
                None => return Err(Fault::malformed(self.bytes.len(), "cut off inside a string")),
            }
        }
        self.pos += 1;
        Ok(())
    }

    /// Over decimal digits; how many.
    #[inline]
    fn digits(&mut self) -> usize {
        let start = self.pos;
        while let Some(chunk) = self.bytes[self.pos..].first_chunk::<8>() {
            let count = lanes::leading_digits(u64::from_le_bytes(*chunk));
            self.pos += count;
            if count < 8 {
                return self.pos - start;
            }
        }
        while self.peek().is_ascii_digit() {
            self.pos += 1;
        }
        self.pos - start
    }

    /// The text of the number that starts here, by JSON's grammar.
    #[inline]
    pub(crate) fn number(&mut self) -> Step<&'a str> {
        let start = self.pos;
        self.skip_number()?;
        // Only ASCII was passed, so this cannot fail.
        Ok(std::str::from_utf8(&self.bytes[start..self.pos]).unwrap_or_default())
    }

    #[inline]
    fn skip_number(&mut self) -> Step<()> {
        let start = self.pos;
        if self.peek() == b'-' {
            self.pos += 1;
        }
        let leading_zero = self.peek() == b'0';
        match self.digits() {
            0 => return Err(self.unexpected("expected a digit")),
            count if count > 1 && leading_zero => return Err(Fault::malformed(start, "a number with a leading zero")),
            _ => {}
        }
        if self.peek() == b'.' {
            self.pos += 1;
            if self.digits() == 0 {
                return Err(self.unexpected("expected a digit"));
            }
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.pos += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.pos += 1;
            }
            if self.digits() == 0 {
                return Err(self.unexpected("expected a digit"));
            }
        }
        Ok(())
    }

    /// The whole number that starts here. A fraction, an exponent or a value beyond 64 bits is a wrong type.
    #[inline]
    pub(crate) fn integer(&mut self) -> Step<Integer> {
        let start = self.pos;
        let negative = self.peek() == b'-';
        self.pos += usize::from(negative);
        let first = self.pos;
        let mut magnitude = 0u64;
        let mut overflow = false;
        loop {
            let chunk = match self.bytes[self.pos..].first_chunk::<8>() {
                Some(chunk) => *chunk,
                None => {
                    let rest = &self.bytes[self.pos..];
                    let mut chunk = [0u8; 8];
                    chunk[..rest.len()].copy_from_slice(rest);
                    chunk
                }
            };
            let (value, count) = lanes::parse_digits(u64::from_le_bytes(chunk));
            if self.pos == first {
                magnitude = value;
            } else {
                let (shifted, too_big) = magnitude.overflowing_mul(lanes::POWERS_OF_TEN[count]);
                let (sum, carry) = shifted.overflowing_add(value);
                magnitude = sum;
                overflow |= too_big | carry;
            }
            self.pos += count;
            if count < 8 {
                break;
            }
        }
        match self.pos - first {
            0 => return Err(self.unexpected("expected a digit")),
            1 => {}
            _ if self.bytes[first] == b'0' => return Err(Fault::malformed(start, "a number with a leading zero")),
            _ => {}
        }
        if overflow || matches!(self.peek(), b'.' | b'e' | b'E') {
            return Err(Fault::wrong_type(start, ""));
        }
        Ok(Integer { negative, magnitude })
    }

    /// Over the object or array that starts here.
    #[inline]
    pub(crate) fn skip_container(&mut self) -> Step<&'a [u8]> {
        let start = self.pos;
        self.pos = self.isa.skip_container(self.bytes, start)?;
        Ok(&self.bytes[start..self.pos])
    }

    /// Over the rest of the object that this is inside of, its closing brace included.
    #[inline]
    pub(crate) fn skip_rest(&mut self) -> Step<()> {
        self.pos = self.isa.skip_rest(self.bytes, self.pos)?;
        Ok(())
    }

    /// Over any value, white space before it included.
    #[inline]
    pub(crate) fn skip_value(&mut self) -> Step<()> {
        self.skip_space();
        match self.peek() {
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_container().map(|_| ()),
            b'n' => self.literal("null"),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'-' | b'0'..=b'9' => self.skip_number(),
            _ => Err(self.unexpected("expected a JSON value")),
        }
    }

    /// The string that starts here with its escapes resolved: borrowed where there are none, else in `scratch`.
    #[inline]
    pub(crate) fn text<'b>(&mut self, scratch: &'b mut Vec<u8>) -> Step<&'b [u8]>
    where
        'a: 'b,
    {
        let start = self.pos + 1;
        let text = self.string()?;
        if !text.escaped {
            return Ok(text.raw);
        }
        scratch.clear();
        super::escape::unescape(text.raw, start, scratch)?;
        Ok(scratch)
    }
}
