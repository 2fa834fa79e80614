//! Before rows are sent: does the job still belong to this process?

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::outside::Outside;
use crate::checkpoint::Fence;
use crate::error::Result;
use crate::sink;

/// For so long an answer counts. It goes on while the process sleeps, stopped by a signal or with its machine.
const COUNTS: Duration = Duration::from_millis(500);

/// Asks the checkpoint store, not more often than it must.
#[derive(Debug)]
pub struct Guard {
    fence: Fence,
    outside: Arc<dyn Outside>,
    /// Until when the last answer counts.
    until: Mutex<Duration>,
}

impl Guard {
    /// Of a writer that has just become it.
    pub fn new(fence: Fence, outside: &Arc<dyn Outside>) -> Self {
        Self { fence, outside: Arc::clone(outside), until: Mutex::default() }
    }

    /// Notes that the job was its writer's when it was this time.
    pub fn confirmed(&self, at: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = at + COUNTS;
    }
}

#[async_trait]
impl sink::Guard for Guard {
    async fn check(&self) -> Result<()> {
        let now = self.outside.elapsed();
        if now < *self.until.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        self.ask().await
    }

    async fn ask(&self) -> Result<()> {
        let now = self.outside.elapsed();
        self.fence.check().await?;
        self.confirmed(now);
        Ok(())
    }
}
