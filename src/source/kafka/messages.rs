//! librdkafka's records and queues, owned.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_message_t;

use super::client::Client;
use crate::change::{NO_TIME, TopicPartition};
use crate::error::{Error, Result};
use crate::source::{BrokerDetails, Header, RawRecord, RawRecords};

/// A record's memory in librdkafka. Whoever holds it destroys it, once.
#[repr(transparent)]
pub(super) struct Message(NonNull<rd_kafka_message_t>);

// SAFETY: a message that was taken from a queue belongs to us alone. librdkafka is thread-safe: what a message shares with others
// (the fetched buffer, the topic) is counted atomically, so that it may be read and destroyed by any thread.
unsafe impl Send for Message {}
// SAFETY: through a shared reference a message is only read, and nobody writes to it after the queue has handed it out, but for the
// first reading of its headers, which `Messages` lets one thread do at a time; nothing else reads what that writes.
unsafe impl Sync for Message {}

impl Message {
    /// librdkafka's view of it.
    pub(super) fn raw(&self) -> &rd_kafka_message_t {
        // SAFETY: the pointer came from the queue and lives until `destroy`, which consumes the only holder.
        unsafe { self.0.as_ref() }
    }

    /// What went wrong, in librdkafka's words.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive, and the text with it; it is copied here.
        unsafe {
            let text = sys::rd_kafka_message_errstr(self.0.as_ptr());
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    }

    /// The topic that it is of; `None` for an error that concerns no topic.
    pub(super) fn topic(&self) -> Option<String> {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return None;
        }
        // SAFETY: the topic is held by the message, and its name lives as long; it is copied here.
        Some(unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)) }.to_string_lossy().into_owned())
    }

    pub(super) fn destroy(self) {
        // SAFETY: every message is destroyed by its holder only, and not used after.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }

    fn record(&self) -> RawRecord<'_> {
        let raw = self.raw();
        // SAFETY: as in `raw`; the call only reads.
        let timestamp = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), std::ptr::null_mut()) };
        RawRecord {
            offset: raw.offset,
            timestamp: if timestamp < 0 { NO_TIME } else { timestamp },
            // SAFETY: key and payload are that many bytes in memory that the message holds.
            key: unsafe { bytes(raw.key, raw.key_len) },
            // SAFETY: as above.
            value: unsafe { bytes(raw.payload, raw.len) },
        }
    }

    /// Its headers. The first call has librdkafka parse them, which writes to the message: one call at a time.
    fn headers(&self) -> Vec<Header<'_>> {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive, and the pointer is ours to be set.
        let found = unsafe { sys::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return Vec::new();
        }
        // SAFETY: the headers belong to the message, which lives as long as what is returned.
        let count = unsafe { sys::rd_kafka_header_cnt(headers) };
        let header = |index: usize| {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: as above; name (which ends in a zero) and value stay where they are until the message is destroyed.
            unsafe {
                let found = sys::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size);
                let there = found == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !name.is_null();
                there.then(|| (CStr::from_ptr(name).to_string_lossy(), bytes(value, size)))
            }
        };
        (0..count).filter_map(header).collect()
    }

    fn details(&self) -> BrokerDetails {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as in `raw`; both calls only read, and `kind` is ours to be set.
        let epoch = unsafe {
            sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind);
            sys::rd_kafka_message_leader_epoch(self.0.as_ptr())
        };
        BrokerDetails {
            timestamp_type: match kind {
                sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Some("CreateTime"),
                sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Some("LogAppendTime"),
                sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => None,
            },
            leader_epoch: (epoch >= 0).then_some(epoch),
        }
    }
}

/// A key or a value; librdkafka gives null for null, and a pointer even for no bytes.
///
/// # Safety
///
/// A pointer that is not null must point to `len` bytes which live, unchanged, for the lifetime that the caller takes.
unsafe fn bytes<'a>(pointer: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}

/// Records of one partition. Destroyed together, and before the client is.
pub(super) struct Messages {
    messages: Vec<Message>,
    /// Held while headers are read.
    parsing: Mutex<()>,
    lane: Arc<Lane>,
}

impl Messages {
    pub(super) fn new(messages: Vec<Message>, lane: Arc<Lane>) -> Self {
        Self { messages, parsing: Mutex::default(), lane }
    }
}

impl RawRecords for Messages {
    fn get(&self, index: usize) -> RawRecord<'_> {
        self.messages[index].record()
    }

    fn headers(&self, index: usize) -> Vec<Header<'_>> {
        let _parsing = self.parsing.lock().unwrap_or_else(PoisonError::into_inner);
        self.messages[index].headers()
    }

    fn details(&self, index: usize) -> BrokerDetails {
        self.messages[index].details()
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        messages.drain(..).for_each(Message::destroy);
        self.lane.give_back(messages);
    }
}

/// What the source and the reader of a lane share.
pub(super) struct Lane {
    queue: NonNull<sys::rd_kafka_queue_t>,
    added: Mutex<Vec<(TopicPartition, i64)>>,
    spare: Mutex<Vec<Vec<Message>>>,
    /// The ends that were found when a lost broker was back: what is at its end must have come that far.
    ends: Mutex<HashMap<TopicPartition, i64>>,
    /// After `queue`'s destruction in `drop`, this goes.
    pub(super) client: Arc<Client>,
}

/// The end of a partition as the last answer to a fetch told it; asks nobody.
pub(super) fn known_end(client: &Client, partition: &TopicPartition) -> Option<i64> {
    let topic = CString::new(&*partition.topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the name ends in a zero, and both numbers are ours.
    let code = unsafe {
        let client = client.consumer.client().native_ptr();
        sys::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition.partition, &raw mut low, &raw mut high)
    };
    (code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

// SAFETY: librdkafka's queues may be used by any thread, also by several at once.
unsafe impl Send for Lane {}
// SAFETY: as above.
unsafe impl Sync for Lane {}

impl Lane {
    /// Buffers kept for reuse.
    const SPARE: usize = 64;

    pub(super) fn new(client: Arc<Client>) -> Result<Self> {
        // SAFETY: the client is alive, and `self.client` keeps it so for as long as the queue lives.
        let queue = unsafe { sys::rd_kafka_queue_new(client.consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::internal("librdkafka gave no queue"))?;
        Ok(Self { queue, added: Mutex::default(), spare: Mutex::default(), ends: Mutex::default(), client })
    }

    /// Makes the records of a partition come into this lane's queue. To be done before the partition is assigned: librdkafka
    /// keeps a forwarding that an application has set, and nothing has been fetched yet that could go elsewhere.
    pub(super) fn forward(&self, partition: &TopicPartition) -> Result<()> {
        self.forward_to(partition, self.queue.as_ptr())
    }

    /// Makes the records of a partition stay in its own queue, which is filled until it is full. What has come already stays
    /// in the lane's.
    pub(super) fn hold(&self, partition: &TopicPartition) -> Result<()> {
        self.forward_to(partition, std::ptr::null_mut())
    }

    fn forward_to(&self, partition: &TopicPartition, queue: *mut sys::rd_kafka_queue_t) -> Result<()> {
        let topic = CString::new(&*partition.topic).map_err(Error::internal)?;
        // SAFETY: client and queue are alive, and null is no forwarding. The handle of the partition's queue is ours to destroy; the forwarding stays.
        unsafe {
            let client = self.client.consumer.client().native_ptr();
            let from = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.partition);
            if from.is_null() {
                return Err(Error::internal(format!("librdkafka gave no queue for {partition}")));
            }
            sys::rd_kafka_queue_forward(from, queue);
            sys::rd_kafka_queue_destroy(from);
        }
        Ok(())
    }

    /// Announces a partition to the reader.
    pub(super) fn add(&self, partition: TopicPartition, from: i64) {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push((partition, from));
    }

    /// The partitions announced since the last call.
    pub(super) fn take_added(&self) -> Vec<(TopicPartition, i64)> {
        std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes where a partition ends.
    pub(super) fn set_end(&self, partition: &TopicPartition, end: i64) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).insert(partition.clone(), end);
    }

    /// Whether a partition that was read up to `next` has nothing more, as far as is known.
    pub(super) fn is_end(&self, partition: &TopicPartition, next: i64) -> bool {
        let ends = || self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        !self.client.is_away() && ends().get(partition).is_none_or(|&end| next >= end)
    }

    /// Takes up to `limit` messages and appends them to `out`, waiting at most `timeout` for the first one only.
    pub(super) fn take(&self, timeout: Duration, limit: usize, out: &mut Vec<Message>) {
        if self.take_now(0, limit, out) == 0 && !timeout.is_zero() {
            // librdkafka waits until all that was asked for is there or the time is up: so ask for one.
            let milliseconds = i32::try_from(timeout.as_millis().max(1)).unwrap_or(i32::MAX);
            if self.take_now(milliseconds, 1, out) == 1 && limit > 1 {
                self.take_now(0, limit - 1, out);
            }
        }
    }

    fn take_now(&self, milliseconds: i32, limit: usize, out: &mut Vec<Message>) -> usize {
        out.reserve(limit);
        let room = out.spare_capacity_mut();
        // SAFETY: a `Message` is a non-null pointer and has a pointer's layout; librdkafka writes at most `limit` pointers, none
        // of them null, into the reserved room, and returns how many. Only those are counted in.
        unsafe {
            let taken = sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                milliseconds,
                room.as_mut_ptr().cast::<*mut rd_kafka_message_t>(),
                limit,
            );
            let taken = usize::try_from(taken).unwrap_or(0);
            out.set_len(out.len() + taken);
            taken
        }
    }

    /// An empty buffer.
    pub(super) fn buffer(&self) -> Vec<Message> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<Message>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < Self::SPARE {
            spare.push(buffer);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // SAFETY: nobody else has the queue, and the client, a field, is still alive. What is left in the queue is destroyed with it.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}
