//! The C functions that rust-rdkafka doesn't give a safe form to. All `unsafe` of the crate.
#![expect(unsafe_code, reason = "librdkafka is a C library")]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::context::Context;
use super::millis;
use crate::group::Generation;

/// An error of librdkafka's transactional calls.
#[derive(Debug)]
pub(super) struct RdError {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) fatal: bool,
    pub(super) requires_abort: bool,
}

/// Waits until nothing is in flight; `true` if that is so within `timeout`.
///
/// rust-rdkafka's own `flush` sleeps in steps of 100 ms; this one returns at once. While it waits,
/// librdkafka does not linger.
pub(super) fn flush(client: &Client<Context>, timeout: Duration) -> bool {
    // SAFETY: the pointer is the live client's, which outlives the call by the borrow;
    // `rd_kafka_flush` may be called from any thread.
    let code = unsafe { sys::rd_kafka_flush(client.native_ptr(), millis(timeout)) };
    code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Waits for a connection that lasts.
///
/// Once librdkafka has learnt the brokers by a bootstrap connection, it drops that one and opens
/// others. What is asked in between finds no broker, and is asked again only after a fixed time: an
/// `init_transactions` after 500 ms, in one start of three.
pub(super) fn await_broker(client: &Client<Context>, deadline: Instant) -> Result<(), RdError> {
    while answering_broker(client, deadline.saturating_duration_since(Instant::now()))? < 0 {
        // Bootstrap brokers answer until they are known by their ids.
    }
    Ok(())
}

/// The id of the broker that answers next; negative for an address of the bootstrap list that
/// isn't known as a broker yet. It asks for no topic's metadata.
pub(super) fn answering_broker(
    client: &Client<Context>,
    timeout: Duration,
) -> Result<i32, RdError> {
    let mut metadata = ptr::null();
    // SAFETY: the pointer is the live client's, borrowed for the call; without a topic
    // librdkafka reads none. It sets `metadata` if it succeeds, and then it is ours to read and to
    // destroy, which happens once.
    let code = unsafe {
        let code = sys::rd_kafka_metadata(
            client.native_ptr(),
            0,
            ptr::null_mut(),
            &raw mut metadata,
            millis(timeout),
        );
        if !metadata.is_null() {
            let id = (*metadata).orig_broker_id;
            sys::rd_kafka_metadata_destroy(metadata);
            return Ok(id);
        }
        code
    };
    let code = RDKafkaErrorCode::from(code);
    let message = code.to_string();
    Err(RdError { code: code as i32, message, fatal: false, requires_abort: false })
}

/// One past the partition's last record, as the last fetch told; `None` if there was none yet. Asks
/// nobody, unlike rust-rdkafka's `fetch_watermarks`.
pub(super) fn high_watermark(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the consumer is alive for as long as it is borrowed, the name is zero-terminated, and
    // both numbers are written to before the call returns.
    let code = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// `send_offsets_to_transaction` with a member id and a generation of our own: an assigned-only
/// consumer's group metadata has generation -1, which the broker accepts without any fencing.
pub(super) fn send_offsets(
    producer: &BaseProducer<Context>,
    offsets: &TopicPartitionList,
    generation: &Generation,
    timeout: Duration,
) -> Result<(), RdError> {
    let text = |s: &str| {
        CString::new(s).map_err(|_| RdError {
            code: -1,
            message: format!("`{}` has a zero byte", s.escape_debug()),
            fatal: false,
            requires_abort: true,
        })
    };
    let group = text(&generation.group_id)?;
    let member = text(&generation.member_id)?;
    let instance = generation.instance_id.as_deref().map(text).transpose()?;
    let instance = instance.as_deref().map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all strings are zero-terminated and live until the end of the block; librdkafka
    // copies them. `offsets` is borrowed, and librdkafka copies it too. The metadata is made,
    // used and destroyed here; the error is ours to destroy, and is read before that.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata_new_with_genid(
            group.as_ptr(),
            generation.generation_id,
            member.as_ptr(),
            instance,
        );
        let error = sys::rd_kafka_send_offsets_to_transaction(
            producer.client().native_ptr(),
            offsets.ptr(),
            metadata,
            millis(timeout),
        );
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        if error.is_null() {
            return Ok(());
        }
        let name = CStr::from_ptr(sys::rd_kafka_error_name(error)).to_string_lossy();
        let text = CStr::from_ptr(sys::rd_kafka_error_string(error)).to_string_lossy();
        let failure = RdError {
            code: sys::rd_kafka_error_code(error) as i32,
            message: format!("{name}: {text}"),
            fatal: sys::rd_kafka_error_is_fatal(error) != 0,
            requires_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(failure)
    }
}
