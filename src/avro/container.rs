//! Object container files: a header with the schema, then blocks of values.

use std::io::{ErrorKind, Read};

use apache_avro::Codec;

use super::datum::Datum;
use super::schema::Schema;

const MAGIC: &[u8] = b"Obj\x01";
/// A header that is longer than this is none.
const HEADER_BYTES: u64 = 16 << 20;
/// A block that is longer than this is none: writers make them of some 64 kilobytes.
const BLOCK_BYTES: i64 = 1 << 30;

/// What a file says of itself.
#[derive(Debug)]
pub(crate) struct Header {
    /// The schema of its values.
    pub(crate) schema: Schema,
    codec: Codec,
    marker: [u8; 16],
}

/// Values, one after another.
#[derive(Debug)]
pub(crate) struct Block {
    /// How many.
    pub(crate) count: i64,
    /// Their bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Header {
    /// Reads the header at the start of a file.
    pub(crate) fn read(input: &mut impl Read) -> Result<Self, String> {
        let mut input = input.take(HEADER_BYTES);
        let mut magic = [0; 4];
        input.read_exact(&mut magic).map_err(cut)?;
        if magic != MAGIC {
            return Err("it is no Avro container file: it does not start with \"Obj\" and 1".into());
        }
        let (mut schema, mut codec) = (None, Codec::Null);
        loop {
            let count = long(&mut input)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut input)?;
            }
            for _ in 0..count.unsigned_abs() {
                let key = bytes(&mut input)?;
                let value = bytes(&mut input)?;
                match key.as_slice() {
                    b"avro.schema" => schema = Some(String::from_utf8(value).map_err(|_| "its schema is not UTF-8")?),
                    b"avro.codec" => {
                        let name = String::from_utf8_lossy(&value).into_owned();
                        codec = match name.as_str() {
                            "null" => Codec::Null,
                            "deflate" => Codec::Deflate(apache_avro::DeflateSettings::default()),
                            "snappy" => Codec::Snappy,
                            "zstandard" => Codec::Zstandard(apache_avro::ZstandardSettings::default()),
                            other => {
                                return Err(format!("its codec is {other}, not null, deflate, snappy or zstandard"));
                            }
                        };
                    }
                    _ => {}
                }
            }
        }
        let mut marker = [0; 16];
        input.read_exact(&mut marker).map_err(cut)?;
        let schema = Schema::parse(&schema.ok_or("its header has no schema")?, &[])?;
        Ok(Self { schema, codec, marker })
    }

    /// Reads the next block; `None` at the end of the file. With `skip`, its bytes are only passed over.
    pub(crate) fn block(&self, input: &mut impl Read, skip: bool) -> Result<Option<Block>, String> {
        let Some(count) = long_or_end(input)? else { return Ok(None) };
        let size = long(input)?;
        if count < 0 || !(0..=BLOCK_BYTES).contains(&size) {
            return Err(format!("a block of {count} values in {size} bytes"));
        }
        let mut bytes = Vec::new();
        let taken = if skip {
            std::io::copy(&mut input.take(size as u64), &mut std::io::sink())
        } else {
            input.take(size as u64).read_to_end(&mut bytes).map(|read| read as u64)
        };
        if taken.map_err(cut)? != size as u64 {
            return Err(ENDS.into());
        }
        let mut marker = [0; 16];
        input.read_exact(&mut marker).map_err(cut)?;
        if marker != self.marker {
            return Err("a block does not end with the file's marker".into());
        }
        if !skip {
            self.codec.decompress(&mut bytes).map_err(|error| format!("a block cannot be decompressed: {error}"))?;
        }
        Ok(Some(Block { count, bytes }))
    }

    /// Where each value of a block ends.
    pub(crate) fn ends(&self, block: &Block) -> Result<Vec<usize>, String> {
        // Values of null take no bytes; so many of them are no data.
        if usize::try_from(block.count).map_or(true, |count| count > block.bytes.len() + 65_536) {
            return Err(format!("a block of {} values in {} bytes", block.count, block.bytes.len()));
        }
        let mut datum = Datum::new(&block.bytes, 0);
        let mut ends = Vec::new();
        for _ in 0..block.count {
            datum = Datum::new(&block.bytes, datum.pos);
            datum
                .skip(&self.schema, self.schema.root)
                .map_err(|broken| format!("{} at byte {} of a block", broken.words, broken.at))?;
            ends.push(datum.pos);
        }
        datum.end().map_err(|_| "a block is longer than its values")?;
        Ok(ends)
    }
}

const ENDS: &str = "it ends within a block or its header: was it cut, or is it still being written?";

#[allow(clippy::needless_pass_by_value)] // for map_err
fn cut(error: std::io::Error) -> String {
    if error.kind() == ErrorKind::UnexpectedEof { ENDS.into() } else { error.to_string() }
}

fn bytes(input: &mut impl Read) -> Result<Vec<u8>, String> {
    let length = u64::try_from(long(input)?).map_err(|_| "a negative length")?;
    let mut bytes = Vec::new();
    let read = input.take(length).read_to_end(&mut bytes).map_err(cut)?;
    if read as u64 == length { Ok(bytes) } else { Err(ENDS.into()) }
}

fn long(input: &mut impl Read) -> Result<i64, String> {
    long_or_end(input)?.ok_or_else(|| ENDS.into())
}

fn long_or_end(input: &mut impl Read) -> Result<Option<i64>, String> {
    let mut digits = [0; 10];
    let mut count = 0;
    while count < digits.len() {
        match input.read(&mut digits[count..=count]) {
            Ok(0) => break,
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        }
        if digits[count - 1] < 0x80 {
            break;
        }
    }
    if count == 0 {
        return Ok(None);
    }
    Datum::new(&digits[..count], 0).long().map(Some).map_err(|broken| broken.words.into())
}
