//! JSON, read by a scanner that knows which keys it needs and skips the rest without parsing it.
//!
//! [`block`] and [`lanes`] look at many bytes at once; [`cursor`] walks over values by their help; [`keys`] is the
//! schema tree, which learns the order that keys come in; [`tree`] reads what is wanted around the row. What the keys mean know
//! [`plain`], [`debezium`], [`unwrapped`], [`maxwell`] and [`canal`]; [`foreign`] knows the records between those of rows.
//!
//! What is kept is checked in full. What is skipped is only looked at as far as finding its end needs: strings end,
//! brackets balance (of either kind), nothing follows.

mod added;
pub(crate) mod block;
pub(crate) mod canal;
mod connect;
pub(crate) mod cursor;
pub(crate) mod debezium;
pub(crate) mod escape;
mod foreign;
pub(crate) mod keys;
pub(crate) mod lanes;
pub(crate) mod maxwell;
pub(crate) mod plain;
#[cfg(test)]
mod tests;
mod tree;
pub(crate) mod unwrapped;

use super::column::Rows;
use super::fault::Step;
use cursor::Cursor;
use keys::{Key, Keys};

/// Reads the object at the cursor as a row: each needed key into its column. The row is left under way.
#[inline]
fn read_row(keys: &mut Keys, rows: &mut Rows, cursor: &mut Cursor<'_>) -> Step<()> {
    let mut place = 0;
    Keys::open(cursor)?;
    loop {
        match keys.next(cursor, &mut place)? {
            Key::Field(column) => rows.read(column, cursor)?,
            Key::Other => cursor.skip_value()?,
            Key::End => return Ok(()),
        }
    }
}
