//! Makes `corpus/TARGET/` of the captured records: `cargo run --bin seeds`, in this folder.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut values = Vec::new();
    for folder in ["debezium", "other"] {
        for entry in fs::read_dir(Path::new("../tests/data").join(folder))? {
            for line in fs::read_to_string(entry?.path())?.lines() {
                let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else { continue };
                match (record.get("value").and_then(|value| value.as_str()), record.get("key")) {
                    (Some(value), _) => values.push(value.to_owned()),
                    (None, Some(key)) => values.push(format!("\u{1}{}", key.as_str().unwrap_or_default())),
                    (None, None) => values.push(line.to_owned()),
                }
            }
        }
    }
    for target in ["json", "debezium_json", "unwrapped", "maxwell_json", "canal_json", "csv"] {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        for (number, value) in values.iter().enumerate() {
            fs::write(folder.join(format!("seed{number}")), value)?;
        }
    }
    println!("{} seeds for each target", values.len());
    Ok(())
}
