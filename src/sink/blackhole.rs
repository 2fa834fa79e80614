//! `'connector' = 'blackhole'`: counts rows and forgets them. For measuring.

use async_trait::async_trait;

use super::{Block, Sink};
use crate::error::Result;

/// The options of this connector, beside `connector`.
pub const OPTIONS: &[&str] = &[];

/// Forgets what it is given.
#[derive(Debug, Default)]
pub struct BlackholeSink {
    rows: usize,
}

impl BlackholeSink {
    /// How many rows it was given.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

#[async_trait]
impl Sink for BlackholeSink {
    async fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, block: &Block) -> Result<()> {
        self.rows += block.row_count();
        Ok(())
    }

    async fn write_again(&mut self, block: &Block) -> Result<()> {
        self.write(block).await
    }

    async fn finish(&mut self) -> Result<()> {
        tracing::info!(rows = self.rows, "blackhole closed");
        Ok(())
    }
}
