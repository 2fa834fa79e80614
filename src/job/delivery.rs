//! Checkpoint, then blocks, epoch after epoch, beside the reading of the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::fencing::Guard;
use super::outside::Outside;
use super::progress::Progress;
use super::report::{SavedCheckpoint, WaitsFor};
use super::settings::Settings;
use crate::checkpoint::{Checkpoint, Writer};
use crate::error::{Error, Result};
use crate::sink::{Block, Guard as _, OutputTable, Sink, TakeOut};

/// How many tables are written at once.
const AT_ONCE: usize = 4;

/// An epoch to be delivered.
pub struct Delivery {
    /// Its checkpoint: durable before any block is sent.
    pub checkpoint: Checkpoint,
    /// Its blocks, each with the number of its output.
    pub blocks: Vec<(usize, Block)>,
    /// Whether the blocks may have been written before a crash; then the checkpoint is there already.
    pub again: bool,
    /// What is taken out of the outputs before, each with its number.
    pub takes_out: Vec<(usize, TakeOut)>,
}

/// The task that delivers. It takes one epoch at a time and says when each is in place.
pub struct Deliverer {
    epochs: Option<Sender<Delivery>>,
    delivered: Receiver<Result<u64>>,
    task: JoinHandle<Result<()>>,
}

impl Deliverer {
    /// Starts delivering to these sinks, one per output.
    pub fn start(
        settings: &Settings,
        writer: Writer,
        mut sinks: Vec<Box<dyn Sink>>,
        tables: Vec<OutputTable>,
        progress: Arc<Progress>,
    ) -> Self {
        let (epochs, inbox) = channel(1);
        let (outbox, delivered) = channel(4);
        let outside = Arc::clone(&settings.outside);
        let guard = Arc::new(Guard::new(writer.fence(), &outside));
        sinks.iter_mut().for_each(|sink| sink.guard(Arc::clone(&guard) as _));
        let worker = Worker { writer, guard, sinks, tables, progress, outside };
        Self { epochs: Some(epochs), delivered, task: tokio::spawn(worker.run(inbox, outbox)) }
    }

    /// Hands over an epoch. Wait for [`Self::delivered`] before the next.
    pub async fn deliver(&self, delivery: Delivery) -> Result<()> {
        let Some(epochs) = &self.epochs else { return Err(Error::internal("delivery has ended")) };
        epochs.send(delivery).await.map_err(|_| Error::internal("delivery ended early"))
    }

    /// The next epoch that is in place, or what stopped it for good.
    pub async fn delivered(&mut self) -> Result<u64> {
        self.delivered.recv().await.unwrap_or_else(|| Err(Error::internal("delivery ended early")))
    }

    /// Ends when all that was handed over is in place; closes the sinks.
    pub async fn finish(mut self) -> Result<()> {
        self.epochs = None;
        self.task.await.map_err(Error::internal)?
    }
}

struct Worker {
    writer: Writer,
    guard: Arc<Guard>,
    sinks: Vec<Box<dyn Sink>>,
    tables: Vec<OutputTable>,
    progress: Arc<Progress>,
    outside: Arc<dyn Outside>,
}

impl Worker {
    async fn run(mut self, mut inbox: Receiver<Delivery>, outbox: Sender<Result<u64>>) -> Result<()> {
        while let Some(delivery) = inbox.recv().await {
            let outcome = self.deliver(delivery).await;
            let failed = outcome.is_err();
            if outbox.send(outcome).await.is_err() || failed {
                break;
            }
        }
        for sink in &mut self.sinks {
            sink.finish().await?;
        }
        Ok(())
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<u64> {
        if !delivery.again {
            let around = Around { guard: &self.guard, progress: &self.progress, outside: &self.outside };
            let mut patience = Patience::new(WaitsFor::Checkpoints, "the checkpoint store", around);
            let mut begun = self.outside.elapsed();
            while let Err(error) = self.writer.save(&delivery.checkpoint).await {
                patience.wait(error).await?;
                begun = self.outside.elapsed();
            }
            patience.end();
            self.guard.confirmed(begun);
            let epoch = delivery.checkpoint.manifest.epoch;
            self.progress.saved(SavedCheckpoint { number: self.writer.number(), epoch, saved_at: self.outside.now() });
        }
        for (output, _) in &delivery.blocks {
            self.progress.count_intents(self.tables[*output].name(), 1);
        }
        for (output, what) in &delivery.takes_out {
            self.take_out(*output, what).await?;
        }
        let mut blocks: BTreeMap<usize, Vec<&Block>> = BTreeMap::new();
        delivery.blocks.iter().for_each(|(output, block)| blocks.entry(*output).or_default().push(block));
        let mut writes: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
        for (output, sink) in self.sinks.iter_mut().enumerate() {
            if let Some(blocks) = blocks.remove(&output) {
                let (table, again) = (&self.tables[output], delivery.again);
                let around = Around { guard: &self.guard, progress: &self.progress, outside: &self.outside };
                writes.push(Box::pin(write_all(sink.as_mut(), table, blocks, again, around)));
            }
        }
        // Tables know nothing of each other; with hundreds of them, one after the other takes too long.
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        for position in &delivery.checkpoint.manifest.positions {
            self.progress.delivered(&position.source(), position.offset);
        }
        Ok(delivery.checkpoint.manifest.epoch)
    }
}

impl Worker {
    /// Takes out of a table what is made again.
    async fn take_out(&mut self, output: usize, what: &TakeOut) -> Result<()> {
        let (sink, name) = (&mut self.sinks[output], self.tables[output].name());
        let around = Around { guard: &self.guard, progress: &self.progress, outside: &self.outside };
        let mut patience = Patience::new(WaitsFor::Target, name, around);
        loop {
            let taken = async {
                self.guard.check().await?;
                sink.take_out(what).await
            };
            match taken.await {
                Ok(()) => break,
                Err(error) => patience.wait(error).await?,
            }
        }
        patience.end();
        Ok(())
    }
}

/// What there is around the sinks.
#[derive(Clone, Copy)]
struct Around<'a> {
    guard: &'a Guard,
    progress: &'a Progress,
    outside: &'a Arc<dyn Outside>,
}

/// Writes the blocks of a table, in order.
async fn write_all(
    sink: &mut dyn Sink,
    table: &OutputTable,
    blocks: Vec<&Block>,
    again: bool,
    around: Around<'_>,
) -> Result<()> {
    for block in blocks {
        write(sink, table, block, again, around).await?;
    }
    Ok(())
}

/// Writes a block until it is durable. After a failure nobody knows whether it is, so it is written *again*: the
/// same block, looked for first. A process that slept may have been given up meanwhile: it asks before each attempt.
async fn write(
    sink: &mut dyn Sink,
    table: &OutputTable,
    block: &Block,
    mut again: bool,
    Around { guard, progress, outside }: Around<'_>,
) -> Result<()> {
    let name = table.name().to_owned();
    let mut patience = Patience::new(WaitsFor::Target, &name, Around { guard, progress, outside });
    loop {
        let written = async {
            guard.check().await?;
            if again { sink.write_again(block).await } else { sink.write(block).await }
        };
        match written.await {
            Ok(()) => break,
            Err(error) => patience.wait(error).await?,
        }
        progress.count_retry(&name);
        again = true;
    }
    patience.end();
    progress.count_repeats(&name, sink.take_repeats());
    progress.count_intents(&name, -1);
    progress.count_written(&name, block.row_count());
    Ok(())
}

/// Waits between tries, longer each time, for as long as it takes; gives up on what will not pass.
struct Patience<'a> {
    what: WaitsFor,
    name: String,
    pause: Duration,
    around: Around<'a>,
}

impl<'a> Patience<'a> {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);

    fn new(what: WaitsFor, name: &str, around: Around<'a>) -> Self {
        Self { what, name: name.to_owned(), pause: Self::FIRST, around }
    }

    async fn wait(&mut self, error: Error) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        let Around { progress, outside, .. } = self.around;
        if progress.waits(self.what, &self.name, &error, outside.now()) {
            tracing::warn!(target: "highwater::delivery", "{}: {error}; trying again in {:?}", self.name, self.pause);
        }
        outside.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::LONGEST);
        Ok(())
    }

    /// What was waited for has answered.
    fn end(&self) {
        let Around { progress, outside, .. } = self.around;
        if let Some(since) = progress.goes_on(self.what, &self.name) {
            let waited = Duration::from_millis((outside.now() - since).max(0) as u64);
            tracing::info!(target: "highwater::delivery", "{}: goes on after {waited:?}", self.name);
        }
    }
}
