//! Something that is due again and again, by the clock of the job's outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::outside::Outside;

/// Due at once, and then each time a period after it was taken.
pub struct Ticker {
    outside: Arc<dyn Outside>,
    period: Duration,
    next: BoxFuture<'static, ()>,
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every {:?}", self.period)
    }
}

impl Ticker {
    /// A ticker with this period.
    pub fn new(outside: &Arc<dyn Outside>, period: Duration) -> Self {
        Self { outside: Arc::clone(outside), period, next: Box::pin(std::future::ready(())) }
    }

    /// Returns when it is due. Nothing is lost when this is dropped before.
    pub async fn tick(&mut self) {
        (&mut self.next).await;
        self.next = self.outside.sleep(self.period);
    }
}
