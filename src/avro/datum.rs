//! A cursor over Avro's binary encoding. Any bytes may come: nothing here panics, allocates, or walks further than the bytes reach.

use super::schema::{NodeId, Schema, Shape};

/// How deep a value may be nested: records may hold themselves.
const DEPTH: usize = 64;
/// What a datum may cost beyond its bytes, in records and items: those of null take no bytes at all.
const SPARE_WORK: usize = 4_096;

/// The bytes are not what the schema says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Where.
    pub(crate) at: usize,
    /// In what way.
    pub(crate) words: &'static str,
}

/// A step of a walk.
pub(crate) type Read<T> = Result<T, Broken>;

/// A place in a datum.
#[derive(Debug, Clone)]
pub(crate) struct Datum<'a> {
    bytes: &'a [u8],
    /// The next byte.
    pub(crate) pos: usize,
    work: usize,
    depth: usize,
}

impl<'a> Datum<'a> {
    /// At the start of the datum that begins at `pos`.
    pub(crate) fn new(bytes: &'a [u8], pos: usize) -> Self {
        Self { bytes, pos, work: bytes.len() + SPARE_WORK, depth: 0 }
    }

    #[cold]
    fn broken<T>(&self, words: &'static str) -> Read<T> {
        Err(Broken { at: self.pos, words })
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        match self.bytes.get(self.pos..).and_then(|rest| rest.get(..count)) {
            Some(bytes) => {
                self.pos += count;
                Ok(bytes)
            }
            None => self.broken("the value is longer than the record"),
        }
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let at = self.pos;
        self.take(N)?.try_into().map_err(|_| Broken { at, words: "the record ends within a value" })
    }

    /// A `long`.
    #[inline]
    pub(crate) fn long(&mut self) -> Read<i64> {
        match self.bytes.get(self.pos) {
            Some(&byte) if byte < 0x80 => {
                self.pos += 1;
                Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1))
            }
            _ => self.long_of_bytes(),
        }
    }

    fn long_of_bytes(&mut self) -> Read<i64> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes.get(self.pos..).unwrap_or_default().iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return self.broken("a number of more than 64 bits");
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.pos += index + 1;
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        self.broken(if self.bytes.len() - self.pos.min(self.bytes.len()) < 10 {
            "the record ends within a value"
        } else {
            "a number of more than 64 bits"
        })
    }

    /// An `int`.
    #[inline]
    pub(crate) fn int(&mut self) -> Read<i32> {
        let at = self.pos;
        i32::try_from(self.long()?).map_err(|_| Broken { at, words: "an int of more than 32 bits" })
    }

    /// A `boolean`.
    #[inline]
    pub(crate) fn boolean(&mut self) -> Read<bool> {
        match self.bytes.get(self.pos) {
            Some(&byte @ (0 | 1)) => {
                self.pos += 1;
                Ok(byte == 1)
            }
            Some(_) => self.broken("a boolean that is neither 0 nor 1"),
            None => self.broken("the record ends within a value"),
        }
    }

    /// A `float`.
    pub(crate) fn float(&mut self) -> Read<f32> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    /// A `double`.
    pub(crate) fn double(&mut self) -> Read<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// What `bytes` and `string` hold.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let at = self.pos;
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Err(Broken { at, words: "a negative length" }),
        }
    }

    /// A `string`.
    #[inline]
    pub(crate) fn string(&mut self) -> Read<&'a str> {
        let at = self.pos;
        let bytes = self.bytes()?;
        simdutf8::basic::from_utf8(bytes).map_err(|_| Broken { at, words: "not UTF-8" })
    }

    /// The place of an enum's symbol, or of a union's branch, among `count` of them.
    #[inline]
    pub(crate) fn index(&mut self, count: usize) -> Read<usize> {
        let at = self.pos;
        let index = self.long()?;
        match usize::try_from(index) {
            Ok(index) if index < count => Ok(index),
            _ => Err(Broken { at, words: "a branch or symbol that the schema does not have" }),
        }
    }

    /// The type of the value that comes: a union's branch, once its index is read.
    #[inline]
    pub(crate) fn resolve(&mut self, schema: &Schema, mut node: NodeId) -> Read<NodeId> {
        while let Shape::Union(branches) = &schema.node(node).shape {
            node = branches[self.index(branches.len())?];
        }
        Ok(node)
    }

    /// The number of items in the next block of an array or a map; 0 after the last.
    pub(crate) fn block(&mut self) -> Read<usize> {
        let at = self.pos;
        let mut count = self.long()?;
        if count < 0 {
            // Its size in bytes, for those who skip by it; the items are walked here, so that both ways come to the same.
            self.long()?;
            count = count.checked_neg().ok_or(Broken { at, words: "a negative length" })?;
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.spend(count, at)?;
        Ok(count)
    }

    fn spend(&mut self, count: usize, at: usize) -> Read<()> {
        self.work = self.work.checked_sub(count).ok_or(Broken { at, words: "more items than the record can hold" })?;
        Ok(())
    }

    /// Accounts for the zeros that a decimal's text has by a scale that comes with the value.
    pub(crate) fn spend_zeros(&mut self, scale: i32, at: usize) -> Read<()> {
        self.spend((scale.unsigned_abs() as usize).saturating_sub(100), at)
    }

    /// Goes a level deeper; [`Self::leave`] comes back.
    pub(crate) fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        self.spend(1, self.pos)?;
        if self.depth > DEPTH { self.broken("nested too deeply") } else { Ok(()) }
    }

    /// Comes back from a level.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self, schema: &Schema, node: NodeId) -> Read<()> {
        match &schema.node(node).shape {
            Shape::Null => Ok(()),
            Shape::Boolean => self.boolean().map(drop),
            Shape::Int => self.int().map(drop),
            Shape::Long => self.long().map(drop),
            Shape::Float => self.take(4).map(drop),
            Shape::Double => self.take(8).map(drop),
            Shape::Bytes | Shape::String => self.bytes().map(drop),
            Shape::Fixed(size) => self.take(*size).map(drop),
            Shape::Enum(symbols) => self.index(symbols.len()).map(drop),
            _ => {
                self.enter()?;
                self.skip_nested(schema, node)?;
                self.leave();
                Ok(())
            }
        }
    }

    fn skip_nested(&mut self, schema: &Schema, node: NodeId) -> Read<()> {
        match &schema.node(node).shape {
            Shape::Union(branches) => {
                let branch = branches[self.index(branches.len())?];
                self.skip(schema, branch)
            }
            Shape::Record(fields) => fields.iter().try_for_each(|(_, field)| self.skip(schema, *field)),
            Shape::Array(items) => loop {
                match self.block()? {
                    0 => return Ok(()),
                    count => (0..count).try_for_each(|_| self.skip(schema, *items))?,
                }
            },
            Shape::Map(values) => loop {
                match self.block()? {
                    0 => return Ok(()),
                    count => (0..count).try_for_each(|_| {
                        self.bytes()?;
                        self.skip(schema, *values)
                    })?,
                }
            },
            _ => self.skip(schema, node),
        }
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Read<()> {
        if self.pos == self.bytes.len() { Ok(()) } else { self.broken("bytes after the value's end") }
    }
}
