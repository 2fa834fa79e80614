//! Which blocks are in a file.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::Path;

/// A hidden file of lines `<end> <token>`: block `token` is in the data file, and ends at byte `end`. A line is written when the
/// block is durable, so what the data file has beyond the last line is half a block.
pub(super) struct Ledger {
    file: File,
    tokens: HashSet<String>,
    end: u64,
}

impl Ledger {
    /// The ledger of a data file; when a job resumes, the data file is cut to what the ledger knows.
    pub(super) fn open(path: &Path, data: &mut File, resume: bool) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = path.with_file_name(format!(".{name}.blocks"));
        let known = resume && path.exists();
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(!known).open(path)?;
        let mut ledger = Self { file: file.try_clone()?, tokens: HashSet::new(), end: 0 };
        if !known {
            // Rows of unknown origin stay; ours follow.
            ledger.end = data.seek(SeekFrom::End(0))?;
            return Ok(ledger);
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut whole = 0;
        for line in text.split_inclusive('\n') {
            let Some((end, token)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) else { break };
            let Ok(end) = end.parse() else { break };
            whole += line.len() as u64;
            ledger.end = end;
            ledger.tokens.insert(token.to_owned());
        }
        ledger.file.set_len(whole)?;
        ledger.file.seek(SeekFrom::End(0))?;
        data.set_len(ledger.end)?;
        Ok(ledger)
    }

    /// The byte after the last block.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn has(&self, token: &str) -> bool {
        self.tokens.contains(token)
    }

    /// Notes that a block of `bytes` follows the others, durably.
    pub(super) fn note(&mut self, token: &str, bytes: usize) -> Result<()> {
        let end = self.end + bytes as u64;
        self.file.write_all(format!("{end} {token}\n").as_bytes())?;
        self.file.sync_data()?;
        self.tokens.insert(token.to_owned());
        self.end = end;
        Ok(())
    }
}
