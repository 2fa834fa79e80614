//! Where the images before changes come from: `'before-images' = 'kept' | 'trusted' | 'auto'`.

use memchr::memmem;

use crate::error::Result;
use crate::options::Options;

/// The option's name.
pub const OPTION: &str = "before-images";

/// Where the images before changes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeImages {
    /// The last image of each row is kept, in memory or on disk, and in checkpoints.
    Kept,
    /// The events carry them: MySQL and MariaDB with full row images, PostgreSQL with REPLICA IDENTITY FULL.
    Trusted,
    /// As the first record tells: [`needs_keeping`].
    Auto,
}

impl BeforeImages {
    /// What a table's options say.
    pub fn of(options: &Options) -> Result<Self> {
        match options.get(OPTION) {
            None | Some("auto") => Ok(Self::Auto),
            Some("kept") => Ok(Self::Kept),
            Some("trusted") => Ok(Self::Trusted),
            Some(other) => Err(options.invalid(OPTION, other, "'kept', 'trusted' or 'auto'")),
        }
    }
}

/// What connectors write into every event (JSON; Avro, where the length precedes the text) whose events may lack
/// images: PostgreSQL's default replica identity sends only the key of a deleted row, and leaves out unchanged large values.
const POSTGRES: [&[u8]; 3] = [b"\"connector\":\"postgresql\"", b"\"connector\": \"postgresql\"", b"\x14postgresql"];

/// Whether changes are rows, without those before them and without saying whether there was one.
pub fn is_unwrapped(options: &Options, format: &str) -> bool {
    options.get(&format!("{format}.unwrapped")).is_some_and(|it| it != "false")
}

/// Whether the rows of a table of changes must be kept whose records are like this one. All records of a topic are of one
/// connector, so every partition decides alike, now and after a restart.
pub fn needs_keeping(options: &Options, format: &str, value: &[u8]) -> bool {
    is_unwrapped(options, format) || POSTGRES.iter().any(|mark| memmem::find(value, mark).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_tells() {
        let file = |connector: &str| format!("tests/data/debezium/{connector}_json.sakila.customer.jsonl");
        for (connector, expected) in [("postgres", true), ("mariadb", false), ("mysql", false)] {
            let text = std::fs::read_to_string(file(connector)).unwrap().replace("\\\"", "\"");
            assert_eq!(needs_keeping(&Options::default(), "debezium-json", text.as_bytes()), expected, "{connector}");
        }
        assert!(needs_keeping(&Options::default(), "debezium-avro-confluent", b"\x00\x06abc\x14postgresql\x00"));
        let unwrapped = [("debezium-json.unwrapped".to_owned(), "true".to_owned())].into();
        assert!(needs_keeping(&Options::new("t", unwrapped), "debezium-json", b"{}"));
    }
}
