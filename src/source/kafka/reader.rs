//! A lane's reader: batches from one queue, grouped by partition.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys::rd_kafka_resp_err_t as Code;

use super::client::is_permanent;
use super::messages::{Lane, Message, Messages, known_end};
use crate::change::{OffsetRange, TopicPartition};
use crate::error::{Error, Result};
use crate::source::{RawBatch, SourceReader};

/// Records taken in one poll at most; more gains nothing.
const BATCH_RECORDS: usize = 10_000;
/// Bytes taken in one poll at most, about: the number of records asked for follows from their mean size so far.
const BATCH_BYTES: usize = 8 << 20;

/// How many paused partitions of a lane keep what was fetched of them, each at most as much as the lane itself may have
/// fetched. Those beyond are fetched again when they go on, and take no memory meanwhile.
const HOLDS: usize = 4;

pub(super) struct KafkaReader {
    lane: Arc<Lane>,
    slots: Vec<Slot>,
    by_name: HashMap<TopicPartition, usize>,
    /// By librdkafka's topic (its address) and partition: the lookup that is done for every stretch.
    by_address: HashMap<(usize, i32), usize>,
    /// What a poll has taken, before it is grouped. Empty between polls.
    taken: Vec<Message>,
    /// The slots that a poll has touched. Empty between polls.
    touched: Vec<usize>,
    mean_bytes: usize,
    /// Whether the last poll has left records in the queue.
    full: bool,
    /// Trouble that was found after good records: those go first.
    failed: Option<Error>,
    /// Paused partitions that keep what was fetched.
    on_hold: HashSet<TopicPartition>,
}

/// A partition of this lane.
struct Slot {
    partition: TopicPartition,
    /// What has been handed out: the next range begins here.
    given: i64,
    /// The next offset to read, counting what is in `messages`.
    next: i64,
    at_end: bool,
    touched: bool,
    /// A record could not be read: nothing after it is handed out, so that no range ever covers it.
    failed: bool,
    messages: Vec<Message>,
}

impl KafkaReader {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            slots: Vec::new(),
            by_name: HashMap::new(),
            by_address: HashMap::new(),
            taken: Vec::new(),
            touched: Vec::new(),
            mean_bytes: 1024,
            full: false,
            failed: None,
            on_hold: HashSet::new(),
        }
    }

    fn adopt(&mut self) {
        for (partition, from) in self.lane.take_added() {
            self.by_name.insert(partition.clone(), self.slots.len());
            self.slots.push(Slot {
                partition,
                given: from,
                next: from,
                at_end: false,
                touched: false,
                failed: false,
                messages: Vec::new(),
            });
        }
    }

    /// The slot of a message, by address if it was seen before.
    fn find(&mut self, message: &Message) -> Option<usize> {
        let raw = message.raw();
        let address = (raw.rkt.addr(), raw.partition);
        if let Some(&slot) = self.by_address.get(&address) {
            return Some(slot);
        }
        let partition = TopicPartition { topic: message.topic()?.into(), partition: raw.partition };
        if !self.by_name.contains_key(&partition) {
            self.adopt();
        }
        let slot = *self.by_name.get(&partition)?;
        // The topic lives as long as the partition is assigned, so that its address is nobody else's.
        self.by_address.insert(address, slot);
        Some(slot)
    }

    /// Sorts what was taken into the slots. Order within a partition is kept.
    fn group(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        let (mut records, mut bytes) = (0, 0);
        let mut last: Option<((usize, i32), usize)> = None;
        for message in taken.drain(..) {
            let raw = message.raw();
            let address = (raw.rkt.addr(), raw.partition);
            let slot = match last {
                Some((same, slot)) if same == address => Some(slot),
                _ => self.find(&message),
            };
            let Some(index) = slot else {
                self.outside(message);
                continue;
            };
            last = Some((address, index));
            let slot = &mut self.slots[index];
            if !slot.touched {
                slot.touched = true;
                self.touched.push(index);
            }
            match raw.err {
                _ if slot.failed => message.destroy(),
                Code::RD_KAFKA_RESP_ERR_NO_ERROR if raw.offset < slot.next => {
                    // Seen before: a partition whose leader had lost its end.
                    if let Some(kept_back) = self.lane.client.seldom().allow("again") {
                        tracing::warn!(
                            kept_back,
                            "{} gave offset {} again, which was skipped",
                            slot.partition,
                            raw.offset
                        );
                    }
                    message.destroy();
                }
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    records += 1;
                    bytes += raw.len + raw.key_len;
                    slot.next = raw.offset + 1;
                    slot.at_end = false;
                    if slot.messages.capacity() == 0 {
                        slot.messages = self.lane.buffer();
                    }
                    slot.messages.push(message);
                }
                Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                    // Carries the offset at the end, past the control records and compacted ones that are never seen.
                    slot.next = slot.next.max(raw.offset);
                    slot.at_end = true;
                    message.destroy();
                }
                code => {
                    let (partition, at) = (slot.partition.clone(), slot.next);
                    self.slots[index].failed = self.trouble(code.into(), Some((&partition, at)), message);
                }
            }
        }
        self.taken = taken;
        if let Some(mean) = usize::checked_div(bytes, records) {
            // Up at once, down slowly.
            self.mean_bytes = mean.max((self.mean_bytes * 3 + mean) / 4).max(1);
        }
    }

    /// A message of no partition of this lane: an error that concerns the client.
    fn outside(&mut self, message: Message) {
        let code = message.raw().err;
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            let topic = message.topic().unwrap_or_default();
            let what = format!("a record of {topic}[{}] came to a lane that does not own it", message.raw().partition);
            self.failed.get_or_insert_with(|| Error::internal(what));
            message.destroy();
        } else {
            self.trouble(code.into(), None, message);
        }
    }

    /// Takes an error message: into the log when it may pass, into `failed` when not. Returns whether it will stay.
    fn trouble(&mut self, code: RDKafkaErrorCode, of: Option<(&TopicPartition, i64)>, message: Message) -> bool {
        let text = message.error_text();
        message.destroy();
        let client = &self.lane.client;
        let place = match of {
            Some((partition, at)) => {
                format!(
                    "topic \"{}\" partition {} at offset {at} from {}",
                    partition.topic, partition.partition, client.brokers
                )
            }
            None => format!("Kafka at {}", client.brokers),
        };
        let error = match (code, of) {
            (
                RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::LogTruncation,
                Some((partition, at)),
            ) => {
                const GO_ON: &str = "run once with --from and a time, which makes the rows of what was written since then again from the \
                                     records that are left, and leaves older ones as they are, or with --from earliest";
                let why = match client.available(partition) {
                    Ok((first, end)) if at < first => format!(
                        "it has offsets from {first} up to, not including, {end}. The records before were deleted, by retention or by \
                         somebody, before they were read. To go on without them, {GO_ON}"
                    ),
                    Ok((first, end)) => format!(
                        "it has offsets from {first} up to, not including, {end}. It has lost its end, or the topic was created anew: then \
                         run once with --new-generation to go on at its beginning; else {GO_ON}"
                    ),
                    Err(_) => "what it has now cannot be told".to_owned(),
                };
                Error::permanent(format!("cannot read {place}: {why}"), text)
            }
            _ if is_permanent(code) => Error::permanent(format!("cannot read {place}"), text),
            _ => {
                if let Some(kept_back) = client.seldom().allow(&format!("read {code:?}")) {
                    tracing::warn!(kept_back, "cannot read {place}, trying again: {text}");
                }
                return false;
            }
        };
        self.failed.get_or_insert(error);
        true
    }

    /// Hands out what was grouped, a batch per partition.
    fn give(&mut self, out: &mut Vec<RawBatch>) {
        for index in self.touched.drain(..) {
            let slot = &mut self.slots[index];
            slot.touched = false;
            if slot.next == slot.given {
                continue;
            }
            let range = OffsetRange { from: slot.given, to: slot.next };
            slot.given = slot.next;
            let messages = std::mem::take(&mut slot.messages);
            let len = messages.len();
            let records = Arc::new(Messages::new(messages, Arc::clone(&self.lane)));
            out.push(RawBatch::new(slot.partition.clone(), range, records, len));
        }
    }
}

impl SourceReader for KafkaReader {
    fn poll(&mut self, timeout: Duration, out: &mut Vec<RawBatch>) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.adopt();
        let limit = (BATCH_BYTES / self.mean_bytes).clamp(1, BATCH_RECORDS);
        self.lane.take(timeout, limit, &mut self.taken);
        self.full = self.taken.len() == limit;
        self.group();
        self.give(out);
        Ok(())
    }

    fn at_end(&self, partition: &TopicPartition) -> bool {
        let Some(slot) = self.by_name.get(partition).map(|&slot| &self.slots[slot]) else { return false };
        slot.at_end && !self.full && self.lane.is_end(partition, slot.next)
    }

    fn has_rest(&self, partition: &TopicPartition) -> bool {
        let Some(slot) = self.by_name.get(partition).map(|&slot| &self.slots[slot]) else { return false };
        !slot.at_end && known_end(&self.lane.client, partition).is_none_or(|end| slot.next < end)
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<()> {
        if self.on_hold.len() < HOLDS {
            self.lane.hold(partition)?;
            self.on_hold.insert(partition.clone());
            return Ok(());
        }
        self.lane.client.pause(partition)
    }

    fn resume(&mut self, partition: &TopicPartition) -> Result<()> {
        match self.on_hold.remove(partition) {
            true => self.lane.forward(partition),
            false => self.lane.client.resume(partition),
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        // Both are empty between polls; after a panic in the middle of one they may not be.
        let left = self.slots.iter_mut().flat_map(|slot| slot.messages.drain(..));
        self.taken.drain(..).chain(left).for_each(Message::destroy);
    }
}
