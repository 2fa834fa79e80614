//! The lanes that read what comes over one connection, and the tables that they read.

use std::sync::Arc;

use crossbeam_channel::{Sender as OrderSender, unbounded};
use tokio::sync::mpsc::Sender;

use super::input::InputPlan;
use super::lane::Lane;
use super::message::{Assignment, FromLane, ToLane};
use super::outside::Outside;
use super::progress::Progress;
use crate::error::{Error, Result};
use crate::source::SourceReader;

/// Lanes of one connection.
pub struct Lanes {
    handles: Vec<LaneHandle>,
}

/// A lane's thread.
struct LaneHandle {
    number: usize,
    orders: OrderSender<ToLane>,
    thread: Option<std::thread::JoinHandle<()>>,
    partitions: usize,
}

impl Lanes {
    /// Starts a lane per reader for these tables. They are numbered from `first` and wait for orders.
    pub fn start(
        plans: &[Arc<InputPlan>],
        readers: Vec<Box<dyn SourceReader>>,
        first: usize,
        reports: &Sender<FromLane>,
        progress: &Arc<Progress>,
        outside: &Arc<dyn Outside>,
    ) -> Result<Self> {
        let mut handles = Vec::new();
        for (number, reader) in (first..).zip(readers) {
            let (orders, inbox) = unbounded();
            let lane =
                Lane::new(number, plans, reader, inbox, reports.clone(), Arc::clone(progress), Arc::clone(outside))?;
            let thread = outside.start_lane(number, lane)?;
            handles.push(LaneHandle { number, orders, thread, partitions: 0 });
        }
        Ok(Self { handles })
    }

    /// Their numbers.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.handles.iter().map(|lane| lane.number)
    }

    /// Gives an order to all of them.
    pub fn order(&self, order: impl Fn() -> ToLane) {
        // A lane that has ended has reported why.
        self.handles.iter().for_each(|lane| drop(lane.orders.send(order())));
    }

    /// Gives an order to the first.
    pub fn order_first(&self, order: ToLane) {
        if let Some(lane) = self.handles.first() {
            let _ = lane.orders.send(order);
        }
    }

    /// Gives a partition to the lane with the fewest, and says which that is.
    pub fn assign(&mut self, assignment: Assignment) -> Result<usize> {
        let fewest = self.handles.iter_mut().enumerate().min_by_key(|(_, lane)| lane.partitions);
        let Some((index, lane)) = fewest else { return Err(Error::internal("a table without lanes")) };
        lane.partitions += 1;
        let _ = lane.orders.send(ToLane::Assign(vec![assignment]));
        Ok(index)
    }

    /// Ends their threads.
    pub fn stop(&mut self) {
        self.order(|| ToLane::Stop);
        for thread in self.handles.iter_mut().filter_map(|lane| lane.thread.take()) {
            // A lane that panicked has closed its side of the channel, which the job notices by itself.
            let _ = thread.join();
        }
    }
}
