//! Objects of JSON in columns of `ROW<…>`: field by field, as the columns of a record.

use super::super::fault::{Fault, Step};
use super::super::json::block::Isa;
use super::super::json::cursor::Cursor;
use super::super::json::keys::{Key, Keys};
use super::value::Converted;
use super::{Column, Values};

impl Column {
    /// Reads the object at the cursor. Fields that it does not have are null; of one that it has twice the last counts.
    pub(super) fn read_row(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let (at, len) = (cursor.pos, self.len);
        let Values::Row(keys, fields) = &mut self.values else { return Err(Fault::wrong_type(at, "")) };
        let mut place = 0;
        Keys::open(cursor)?;
        loop {
            match keys.next(cursor, &mut place)? {
                Key::Field(field) => {
                    let field = &mut fields[field];
                    field.truncate(len);
                    field.read(cursor)?;
                }
                Key::Other => cursor.skip_value()?,
                Key::End => break,
            }
        }
        for field in fields.iter_mut().filter(|field| field.len == len) {
            field.push_null(at, "absent")?;
        }
        self.len += 1;
        Ok(())
    }

    /// The same of a text that is JSON, as databases have it in columns of JSON.
    pub(super) fn read_row_text(&mut self, text: &str) -> Converted<()> {
        let len = self.len;
        let mut cursor = Cursor::new(text.as_bytes(), Isa::detect());
        let read = self.read_row(&mut cursor).and_then(|()| cursor.end());
        read.map_err(|_| {
            self.truncate(len);
            ""
        })
    }
}
