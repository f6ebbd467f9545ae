//! The C functions that rust-rdkafka doesn't give a safe form to. All `unsafe` of the crate.
#![expect(unsafe_code, reason = "librdkafka is a C library")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedHeaders;
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
pub(super) fn flush<C: ClientContext>(client: &Client<C>, timeout: Duration) -> bool {
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
pub(super) fn await_broker<C: ClientContext>(
    client: &Client<C>,
    deadline: Instant,
) -> Result<(), RdError> {
    while answering_broker(client, deadline.saturating_duration_since(Instant::now()))? < 0 {
        // Bootstrap brokers answer until they are known by their ids.
    }
    Ok(())
}

/// The id of the broker that answers next; negative for an address of the bootstrap list that
/// isn't known as a broker yet. It asks for no topic's metadata.
pub(super) fn answering_broker<C: ClientContext>(
    client: &Client<C>,
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

/// The offset behind the last record of the partition that was taken off the queue; `None` if
/// there was none yet.
pub(super) fn position(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    // SAFETY: consumer and list are alive for as long as they are borrowed; librdkafka writes to
    // the list before the call returns.
    let code = unsafe { sys::rd_kafka_position(consumer.client().native_ptr(), list.ptr()) };
    let is_known = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    let found = list.find_partition(topic, partition).filter(|_| is_known)?;
    found.offset().to_raw().filter(|offset| *offset >= 0)
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

/// The events of a consumer: records, errors with their places, lines of the log.
///
/// rust-rdkafka's own `poll` drops the place of an error, and panics on a header name that is not
/// UTF-8.
pub(super) struct Events {
    queue: NonNull<sys::rd_kafka_queue_t>,
    consumer: Arc<BaseConsumer<Context>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and the consumer is `Send` itself.
unsafe impl Send for Events {}

/// An error of a consumer.
#[derive(Debug)]
pub(super) struct ConsumerError {
    pub(super) code: RDKafkaErrorCode,
    pub(super) message: String,
    /// Topic, partition and offset, if the error is about a partition.
    pub(super) place: Option<(String, i32, i64)>,
}

/// An event that is destroyed with this.
struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event came from `rd_kafka_queue_poll`, which gives it to its caller.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

impl Events {
    /// The events of `consumer`; `None` if it has no queue.
    pub(super) fn of(consumer: &Arc<BaseConsumer<Context>>) -> Option<Self> {
        // SAFETY: the client is alive. The queue is a counted reference of our own, which
        // `drop` gives back before the consumer goes.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Some(Self { queue: NonNull::new(queue)?, consumer: Arc::clone(consumer) })
    }

    /// Takes the next record or error, without waiting; hands lines of the log to the context.
    pub(super) fn poll<T>(
        &self,
        read: impl FnOnce(&Message<'_>) -> T,
    ) -> Option<Result<T, ConsumerError>> {
        loop {
            // SAFETY: the queue is alive for as long as `self` is.
            let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), 0) };
            let event = Event(NonNull::new(event)?);
            // SAFETY: the event is alive until the end of the block.
            match unsafe { sys::rd_kafka_event_type(event.0.as_ptr()) } {
                sys::RD_KAFKA_EVENT_FETCH => {
                    if let Some(message) = Message::of(&event) {
                        return Some(match message.error() {
                            None => Ok(read(&message)),
                            Some(error) => Err(error),
                        });
                    }
                }
                sys::RD_KAFKA_EVENT_ERROR => return Some(Err(consumer_error(&event))),
                sys::RD_KAFKA_EVENT_LOG => self.log(&event),
                sys::RD_KAFKA_EVENT_STATS => {
                    // SAFETY: the text is zero-terminated and lives as long as the event.
                    let json = unsafe { text(sys::rd_kafka_event_stats(event.0.as_ptr())) };
                    self.consumer.context().stats_raw(json.to_bytes());
                }
                // Rebalances and commits, which a consumer without a subscription has not.
                _ => {}
            }
        }
    }

    fn log(&self, event: &Event) {
        let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the event is alive, and the texts that it sets live as long as it.
        let (code, facility, line) = unsafe {
            let code = sys::rd_kafka_event_log(
                event.0.as_ptr(),
                &raw mut facility,
                &raw mut line,
                &raw mut level,
            );
            (code, text(facility), text(line))
        };
        if code == 0 {
            let level = match level {
                0..=3 => RDKafkaLogLevel::Error,
                4 => RDKafkaLogLevel::Warning,
                5 => RDKafkaLogLevel::Notice,
                6 => RDKafkaLogLevel::Info,
                _ => RDKafkaLogLevel::Debug,
            };
            let (facility, line) = (facility.to_string_lossy(), line.to_string_lossy());
            self.consumer.context().log(level, facility.trim(), line.trim());
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and nothing of the queue is used after this.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A text of librdkafka's; an empty one for null.
///
/// # Safety
/// The pointer is null, or the text is zero-terminated and lives for `'a`.
unsafe fn text<'a>(pointer: *const c_char) -> &'a CStr {
    if pointer.is_null() {
        return c"";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }
}

fn consumer_error(event: &Event) -> ConsumerError {
    let event = event.0.as_ptr();
    // SAFETY: the event is alive. The place is ours to destroy, and is copied before that.
    unsafe {
        let code = RDKafkaErrorCode::from(sys::rd_kafka_event_error(event));
        let reason = text(sys::rd_kafka_event_error_string(event)).to_string_lossy();
        let at = sys::rd_kafka_event_topic_partition(event);
        let place = at.as_ref().map(|at| {
            let topic = text(at.topic).to_string_lossy().into_owned();
            (topic, at.partition, at.offset)
        });
        if !at.is_null() {
            sys::rd_kafka_topic_partition_destroy(at);
        }
        ConsumerError { code, message: format!("{code}: {}", reason.trim()), place }
    }
}

/// A record in librdkafka's memory.
pub(super) struct Message<'a> {
    raw: NonNull<sys::rd_kafka_message_t>,
    event: PhantomData<&'a Event>,
}

impl<'a> Message<'a> {
    fn of(event: &'a Event) -> Option<Self> {
        // SAFETY: the event is alive for `'a`, and owns the message.
        let raw = unsafe { sys::rd_kafka_event_message_next(event.0.as_ptr()) };
        Some(Self { raw: NonNull::new(raw.cast_mut())?, event: PhantomData })
    }

    const fn raw(&self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: the message lives as long as its event, and nobody writes to it.
        unsafe { self.raw.as_ref() }
    }

    fn error(&self) -> Option<ConsumerError> {
        let code = RDKafkaErrorCode::from(self.raw().err);
        let place = (self.topic().to_owned(), self.partition(), self.offset());
        (code != RDKafkaErrorCode::NoError).then(|| ConsumerError {
            code,
            message: code.to_string(),
            place: Some(place),
        })
    }

    pub(super) fn topic(&self) -> &'a str {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message keeps its topic alive, and the name is zero-terminated.
        let name = unsafe { text(sys::rd_kafka_topic_name(topic)) };
        // Kafka's topic names are ASCII.
        name.to_str().unwrap_or_default()
    }

    pub(super) const fn partition(&self) -> i32 {
        self.raw().partition
    }

    pub(super) const fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message holds that many bytes, or null.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    pub(super) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: the message holds that many bytes, or null.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and the kind is written to before the call returns.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.raw.as_ptr(), &raw mut kind) };
        let known = kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (known && ms != -1).then_some(ms)
    }

    /// The leader epoch under which the batch was appended; `None` if the broker did not tell.
    pub(super) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: the message is alive.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.raw.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    /// Gives each header to `each`, in order, and returns how many there are. A name is bytes, up
    /// to its first zero byte: librdkafka tells no more of it.
    ///
    /// # Errors
    /// If the headers' bytes make no sense.
    pub(super) fn headers(
        &self,
        mut each: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Result<usize, RDKafkaErrorCode> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; it owns the headers, which live as long as it.
        let code = unsafe { sys::rd_kafka_message_headers(self.raw.as_ptr(), &raw mut headers) };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::NoEnt => return Ok(0),
            code => return Err(code),
        }
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive; what is set is theirs. An index past the last header
            // is an error, and sets nothing.
            let found = unsafe {
                let code = sys::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                );
                let found = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                found.then(|| (text(name), bytes(value.cast_mut(), size)))
            };
            match found {
                Some((name, value)) => each(name.to_bytes(), value),
                None => return Ok(index),
            }
        }
        Ok(0)
    }
}

/// Bytes of librdkafka's.
///
/// # Safety
/// The pointer is null, or `len` bytes are there for `'a`.
unsafe fn bytes<'a>(pointer: *mut c_void, len: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { slice::from_raw_parts(pointer.cast::<u8>(), len) })
}

/// Appends a header whose name may be any bytes; rust-rdkafka's own `insert` takes UTF-8 alone.
pub(super) fn add_header(headers: OwnedHeaders, name: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
    let (pointer, len) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
    let native = ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<sys::rd_kafka_headers_t>();
    // SAFETY: a `BorrowedHeaders` lies at the address of librdkafka's own headers, which
    // `headers` owns and nobody else uses now. Name and value are copied before the call returns.
    let code = unsafe {
        sys::rd_kafka_header_add(
            native,
            name.as_ptr().cast::<c_char>(),
            name.len().cast_signed(),
            pointer.cast::<c_void>(),
            len.cast_signed(),
        )
    };
    debug_assert_eq!(code, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    headers
}
