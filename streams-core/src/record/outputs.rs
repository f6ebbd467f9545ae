//! Records on their way out, one after the other in one buffer.
//!
//! A handler forwards into it, tables log their changes into it, and the producer reads it; no
//! record owns an allocation of its own. [`Outputs::mark`] and [`Outputs::truncate`] take back
//! what a failed event wrote.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::headers::{HeadersIter, encode_header};

/// A topic's name, shared or static: a copy costs no allocation.
#[derive(Clone, Debug)]
enum TopicName {
    Static(&'static str),
    Shared(Arc<str>),
}

impl TopicName {
    fn as_str(&self) -> &str {
        match self {
            Self::Static(name) => name,
            Self::Shared(name) => name,
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    topic: TopicName,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    headers: Range<usize>,
    header_count: usize,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// Records to send, in order, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    data: Vec<u8>,
    entries: Vec<Entry>,
}

/// A place in [`Outputs`] to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputMark {
    data: usize,
    entries: usize,
}

/// One record in [`Outputs`], borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct OutputRef<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// The partition, if the sender chose it; otherwise the key's murmur2 hash decides.
    pub partition: Option<i32>,
    /// Milliseconds since the Unix epoch; `None` lets the producer say now.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: usize,
}

impl<'a> OutputRef<'a> {
    /// The headers, in their order.
    pub const fn headers(&self) -> HeadersIter<'a> {
        HeadersIter::over(self.headers)
    }

    /// How many headers there are.
    pub const fn header_count(&self) -> usize {
        self.header_count
    }
}

impl Outputs {
    /// Starts a record for `topic`. It counts once [`OutputWriter::finish`] is called; a writer
    /// that is dropped before leaves no trace.
    pub fn record(&mut self, topic: impl Into<Cow<'static, str>>) -> OutputWriter<'_> {
        let topic = match topic.into() {
            Cow::Borrowed(name) => TopicName::Static(name),
            Cow::Owned(name) => TopicName::Shared(name.into()),
        };
        self.writer(topic)
    }

    /// As [`Outputs::record`], with a name that is shared already.
    pub fn record_to(&mut self, topic: &Arc<str>) -> OutputWriter<'_> {
        self.writer(TopicName::Shared(Arc::clone(topic)))
    }

    fn writer(&mut self, topic: TopicName) -> OutputWriter<'_> {
        let start = self.data.len();
        let entry = Entry {
            topic,
            partition: None,
            timestamp_ms: None,
            headers: start..start,
            header_count: 0,
            key: None,
            value: None,
        };
        OutputWriter { outputs: self, start, entry: Some(entry) }
    }

    /// Appends a copy of a record.
    pub(crate) fn push(&mut self, output: &OutputRef<'_>) {
        let copy = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            move |buffer: &mut Vec<u8>| {
                buffer.extend_from_slice(&bytes);
                Ok::<_, std::convert::Infallible>(())
            }
        };
        let mut record = self.record(output.topic.to_owned());
        record.headers(output.headers().raw());
        if let Some(partition) = output.partition {
            record.partition(partition);
        }
        if let Some(timestamp_ms) = output.timestamp_ms {
            record.timestamp_ms(timestamp_ms);
        }
        if let Some(key) = output.key {
            let Ok(_) = record.key_with(copy(key));
        }
        if let Some(value) = output.value {
            let Ok(_) = record.value_with(copy(value));
        }
        record.finish();
    }

    /// The records from the `from`th on, in order.
    pub fn iter_from(&self, from: usize) -> impl Iterator<Item = OutputRef<'_>> {
        self.entries.get(from..).unwrap_or_default().iter().map(|entry| OutputRef {
            topic: entry.topic.as_str(),
            partition: entry.partition,
            timestamp_ms: entry.timestamp_ms,
            key: entry.key.clone().map(|range| &self.data[range]),
            value: entry.value.clone().map(|range| &self.data[range]),
            headers: &self.data[entry.headers.clone()],
            header_count: entry.header_count,
        })
    }

    /// The last record.
    pub(crate) fn last(&self) -> Option<OutputRef<'_>> {
        self.iter_from(self.entries.len().saturating_sub(1)).next()
    }

    /// Sends the last record to this partition.
    pub(crate) fn set_last_partition(&mut self, partition: i32) {
        if let Some(last) = self.entries.last_mut() {
            last.partition = Some(partition);
        }
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = OutputRef<'_>> {
        self.iter_from(0)
    }

    /// How many records there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What they take in bytes.
    pub const fn size_bytes(&self) -> usize {
        self.data.len()
    }

    /// Where the next record will begin.
    pub const fn mark(&self) -> OutputMark {
        OutputMark { data: self.data.len(), entries: self.entries.len() }
    }

    /// Takes back all that came after `mark`.
    pub fn truncate(&mut self, mark: OutputMark) {
        self.data.truncate(mark.data);
        self.entries.truncate(mark.entries);
    }

    /// Takes back everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.entries.clear();
    }

    /// Moves all of `other` behind what is here.
    pub fn append(&mut self, other: &mut Self) {
        let shift = self.data.len();
        let moved = |range: Range<usize>| range.start + shift..range.end + shift;
        self.data.append(&mut other.data);
        self.entries.extend(other.entries.drain(..).map(|entry| Entry {
            headers: moved(entry.headers),
            key: entry.key.map(moved),
            value: entry.value.map(moved),
            ..entry
        }));
    }
}

/// Writes one record into [`Outputs`]: headers, key and value, in any order.
#[derive(Debug)]
pub struct OutputWriter<'a> {
    outputs: &'a mut Outputs,
    start: usize,
    entry: Option<Entry>,
}

impl OutputWriter<'_> {
    fn entry(&mut self) -> &mut Entry {
        self.entry.as_mut().expect("the record is being written")
    }

    fn append<E>(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.outputs.data.len();
        encode(&mut self.outputs.data)?;
        Ok(start..self.outputs.data.len())
    }

    /// Sends it to this partition, whatever its key is.
    pub fn partition(&mut self, partition: i32) -> &mut Self {
        self.entry().partition = Some(partition);
        self
    }

    /// Gives it this timestamp, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(&mut self, timestamp_ms: i64) -> &mut Self {
        self.entry().timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Writes the key by `encode`, which appends to the buffer it is given.
    ///
    /// # Errors
    /// What `encode` returns.
    pub fn key_with<E>(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<&mut Self, E> {
        let range = self.append(encode)?;
        self.entry().key = Some(range);
        Ok(self)
    }

    /// Writes the value by `encode`, which appends to the buffer it is given.
    ///
    /// # Errors
    /// What `encode` returns.
    pub fn value_with<E>(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<&mut Self, E> {
        let range = self.append(encode)?;
        self.entry().value = Some(range);
        Ok(self)
    }

    /// Writes the headers, all of them, in this order.
    pub fn headers<'h, N: AsRef<[u8]>>(
        &mut self,
        headers: impl IntoIterator<Item = (N, Option<&'h [u8]>)>,
    ) -> &mut Self {
        let start = self.outputs.data.len();
        let mut count = 0;
        for (name, value) in headers {
            encode_header(&mut self.outputs.data, name, value);
            count += 1;
        }
        let range = start..self.outputs.data.len();
        let entry = self.entry();
        entry.headers = range;
        entry.header_count = count;
        self
    }

    /// The record is whole.
    pub fn finish(mut self) {
        let entry = self.entry.take().expect("the record is being written");
        self.outputs.entries.push(entry);
    }
}

impl Drop for OutputWriter<'_> {
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.outputs.data.truncate(self.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn bytes(text: &'static [u8]) -> impl FnOnce(&mut Vec<u8>) -> Result<(), Infallible> {
        move |buffer| {
            buffer.extend_from_slice(text);
            Ok(())
        }
    }

    fn write(outputs: &mut Outputs, key: &'static [u8], value: Option<&'static [u8]>) {
        let mut record = outputs.record("out");
        record.headers([("h", Some(key))]);
        record.key_with(bytes(key)).unwrap();
        if let Some(value) = value {
            record.value_with(bytes(value)).unwrap();
        }
        record.finish();
    }

    type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    fn read(outputs: &Outputs) -> Vec<Pair<'_>> {
        outputs.iter().map(|r| (r.key, r.value)).collect()
    }

    #[test]
    fn a_record_that_failed_to_encode_leaves_no_trace() {
        let mut outputs = Outputs::default();
        write(&mut outputs, b"a", Some(b"1"));
        let before = outputs.size_bytes();
        let mut record = outputs.record("out");
        assert!(record.key_with(bytes(b"b")).is_ok());
        assert!(record.value_with(|_| Err("no")).is_err());
        drop(record);
        assert_eq!((outputs.len(), outputs.size_bytes()), (1, before));
    }

    #[test]
    fn truncate_takes_back_an_event() {
        let mut outputs = Outputs::default();
        write(&mut outputs, b"a", Some(b"1"));
        let mark = outputs.mark();
        write(&mut outputs, b"b", None);
        outputs.truncate(mark);
        assert_eq!(read(&outputs), [(Some(&b"a"[..]), Some(&b"1"[..]))]);
    }

    #[test]
    fn append_moves_records_with_their_bytes() {
        let (mut one, mut two) = (Outputs::default(), Outputs::default());
        write(&mut one, b"a", Some(b"1"));
        write(&mut two, b"b", None);
        one.append(&mut two);
        assert!(two.is_empty());
        assert_eq!(read(&one), [(Some(&b"a"[..]), Some(&b"1"[..])), (Some(&b"b"[..]), None)]);
        let last = one.iter_from(1).next().unwrap();
        assert_eq!(last.headers().next().unwrap().value, Some(&b"b"[..]));
    }
}
