//! Work that blocks its thread, in the midst of a job.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what blocks for a while; what else the runtime has to do goes on beside it. On a runtime of one thread, as simulations
/// have it, there is no beside.
pub fn block_in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|it| it.runtime_flavor()) {
        Ok(RuntimeFlavor::CurrentThread) => work(),
        _ => tokio::task::block_in_place(work),
    }
}
