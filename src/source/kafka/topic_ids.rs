//! What tells a topic from an earlier one of its name: the brokers' topic ids (Kafka 2.8 and later).

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka_sys as sys;

use super::client::Client;

/// The ids of these topics, as far as the brokers have them; none when they do not answer in time.
pub(super) fn topic_ids(client: &Client, topics: &[String], patience: Duration) -> Option<BTreeMap<String, String>> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(topic.as_str()).ok()).collect();
    if names.is_empty() {
        return Some(BTreeMap::new());
    }
    let event = ask(client, &names, patience)?;
    let mut ids = BTreeMap::new();
    // SAFETY: the event lives until `event` is dropped, and everything read here belongs to it.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        if result.is_null() {
            return Some(ids);
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for index in 0..count {
            let topic = *topics.add(index);
            let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
            let (id, name) =
                (sys::rd_kafka_TopicDescription_topic_id(topic), sys::rd_kafka_TopicDescription_name(topic));
            if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || id.is_null() || name.is_null() {
                continue;
            }
            let bits = (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
            // Zero, or one: what brokers without ids, and librdkafka, have for none.
            if bits.0 != 0 {
                let id = format!("{:016x}{:016x}", bits.0, bits.1);
                ids.insert(CStr::from_ptr(name).to_string_lossy().into_owned(), id);
            }
        }
    }
    Some(ids)
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is ours, and destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// The brokers' answer, or none in time.
fn ask(client: &Client, names: &[CString], patience: Duration) -> Option<Event> {
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let handle = client.consumer.client().native_ptr();
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the names outlive the call that copies them; the collection, the options and the queue are destroyed once, after
    // the answer has come or is not waited for any more; the handle lives as long as the client.
    unsafe {
        let queue = sys::rd_kafka_queue_new(handle);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options =
            sys::rd_kafka_AdminOptions_new(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut why = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(options, patience, why.as_mut_ptr(), why.len());
        sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, patience);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_queue_destroy(queue);
        let event = Event(NonNull::new(event)?);
        let code = sys::rd_kafka_event_error(event.0.as_ptr());
        (code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then_some(event)
    }
}
