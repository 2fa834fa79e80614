//! Sends the chunks of a block, so that each is there once: for the first time, or when nobody knows which are there.
//!
//! This is all of the protocol that a sink adds; simulations of the job run it against a server of their own.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::insert::query_id;
use super::split::{Chunk, Part, Parting, Piece};
use crate::error::Result;

/// How many running inserts are asked for at once.
const ASKED: usize = 100;

/// A table of a server, and a block for it.
#[async_trait]
pub(crate) trait Server: Sync {
    /// Returns when none of the inserts with these query ids runs any more. Those of `others` need not come to their end.
    async fn settled(&self, query_ids: &[String], others: bool) -> Result<()>;

    /// How many of the block's rows the table has in each partition, or `None` when it cannot tell.
    async fn found(&self) -> Result<Option<BTreeMap<Part, u64>>>;

    /// Inserts these pieces under this token, and returns when they are durable.
    async fn insert(&self, pieces: &[&Piece], token: &str) -> Result<()>;
}

/// What is known of a block whose last attempt failed.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    token: Option<String>,
    /// How many of its chunks the server has acknowledged.
    acknowledged: usize,
}

impl Attempts {
    /// Sends a block in chunks. `again` when somebody may have sent it before; so it is after an attempt of ours that failed.
    /// Where a repeat `folds`, nothing is looked for: what was not acknowledged is sent.
    pub(crate) async fn send(
        &mut self,
        server: &impl Server,
        chunks: &[Chunk],
        token: &str,
        (parting, again, folds): (Parting, bool, bool),
    ) -> Result<()> {
        let own = self.token.as_deref() == Some(token);
        let again = again || own;
        if !own {
            (self.token, self.acknowledged) = (Some(token.to_owned()), 0);
        }
        match again && !folds {
            true => send_missing(server, chunks, token, (parting, !own)).await?,
            false => {
                for chunk in chunks.iter().skip(self.acknowledged) {
                    let pieces: Vec<&Piece> = chunk.pieces.iter().collect();
                    server.insert(&pieces, &token_of(token, chunk)).await?;
                    self.acknowledged += 1;
                }
            }
        }
        self.token = None;
        Ok(())
    }
}

/// Sends what the table does not have.
async fn send_missing(
    server: &impl Server,
    chunks: &[Chunk],
    token: &str,
    (parting, others): (Parting, bool),
) -> Result<()> {
    let ids: Vec<String> = chunks.iter().map(|chunk| query_id(&token_of(token, chunk))).collect();
    for ids in ids.chunks(ASKED) {
        server.settled(ids, others).await?;
    }
    let found = server.found().await?;
    // A piece is there whole or not at all, and those of one partition went one after the other: so the number of its
    // rows says how many of them are there. One that is alone is there if any of its rows is, even if some were
    // deleted since; unless the table's own parting may have torn it apart.
    let is_missing = |piece: &&Piece| {
        let needed = if piece.alone && parting != Parting::Other { 1 } else { piece.rows_until };
        found.as_ref().is_none_or(|found| found.get(&piece.part).is_none_or(|count| *count < needed))
    };
    for chunk in chunks {
        let missing: Vec<&Piece> = chunk.pieces.iter().filter(is_missing).collect();
        if !missing.is_empty() {
            server.insert(&missing, &token_of(token, chunk)).await?;
        }
    }
    Ok(())
}

fn token_of(token: &str, chunk: &Chunk) -> String {
    format!("{token}{}", chunk.suffix)
}
