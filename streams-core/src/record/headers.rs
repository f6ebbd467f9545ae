//! Record headers in one buffer: in order, duplicates kept, values that may be null.
//!
//! A record's headers are read far more often than they are changed, and mostly only the record
//! type is. So they stay encoded: a count and, one after the other, name and value with lengths.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::Record;

/// The headers of the W3C's trace context, which outputs take over from their input.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// One header: its name, and its value if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; empty if it is not UTF-8, which Kafka's clients ask for and its brokers do not.
    /// [`HeadersIter::raw`] gives its bytes.
    pub name: &'a str,
    /// The value; `None` is Kafka's null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    encoded: Bytes,
    count: usize,
}

impl Headers {
    /// Headers from their names and values, in this order.
    ///
    /// # Panics
    /// If a name or a value has more than `u32::MAX - 1` bytes, which no record can carry.
    pub fn from_pairs<'a, N: AsRef<[u8]>>(
        pairs: impl IntoIterator<Item = (N, Option<&'a [u8]>)>,
    ) -> Self {
        let mut buffer = BytesMut::new();
        let mut count = 0;
        for (name, value) in pairs {
            encode_header(&mut buffer, name, value);
            count += 1;
        }
        Self { encoded: buffer.freeze(), count }
    }

    /// Takes over a buffer in this module's own form, which holds `count` headers.
    pub(crate) const fn from_encoded(encoded: Bytes, count: usize) -> Self {
        Self { encoded, count }
    }

    /// Appends a header. There may already be one of the same name.
    ///
    /// # Panics
    /// If the name or the value has more than `u32::MAX - 1` bytes, which no record can carry.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: Option<&[u8]>) {
        let name = name.as_ref();
        let mut buffer = BytesMut::with_capacity(self.encoded.len() + name.len() + 16);
        buffer.extend_from_slice(&self.encoded);
        encode_header(&mut buffer, name, value);
        self.encoded = buffer.freeze();
        self.count += 1;
    }

    /// The value of the first header called `name`: `None` if there is no such header,
    /// `Some(None)` if its value is null.
    pub fn get(&self, name: &str) -> Option<Option<&[u8]>> {
        // Asked for the record type with each event: bytes are compared, and nothing is checked.
        let mut headers = self.iter();
        while let Some((bytes, value)) = headers.next_raw() {
            if bytes == name.as_bytes() {
                return Some(value);
            }
        }
        None
    }

    /// The headers in their order.
    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter { rest: &self.encoded }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) const fn size_bytes(&self) -> usize {
        self.encoded.len()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = Header<'a>;
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// The trace headers of `input` that `own` does not replace.
pub(crate) fn trace_headers<'a>(
    input: Option<&'a Record>,
    own: Option<&'a Headers>,
) -> impl Iterator<Item = (&'static str, Option<&'a [u8]>)> {
    let input = input.map(Record::headers).filter(|headers| !headers.is_empty());
    let of_input = move |name: &'static str| Some((name, input?.get(name)?));
    let is_replaced = move |name: &str| own.is_some_and(|own| own.get(name).is_some());
    TRACE_HEADERS.into_iter().filter_map(of_input).filter(move |(name, _)| !is_replaced(name))
}

/// Iterator over [`Headers`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
}

impl<'a> HeadersIter<'a> {
    pub(crate) const fn over(encoded: &'a [u8]) -> Self {
        Self { rest: encoded }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn take_length(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Returns the rest of the headers with the bytes of their names, which need not be UTF-8.
    pub fn raw(mut self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        std::iter::from_fn(move || self.next_raw())
    }

    /// The next header's name, which may not be UTF-8, and its value.
    fn next_raw(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let name_len = self.take_length()?;
        let name = self.take(name_len as usize)?;
        let value = match self.take_length()? {
            NULL_VALUE => None,
            len => Some(self.take(len as usize)?),
        };
        Some((name, value))
    }
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let (name, value) = self.next_raw()?;
        Some(Header { name: std::str::from_utf8(name).unwrap_or(""), value })
    }
}

const NULL_VALUE: u32 = u32::MAX;

/// Appends one header in this module's form.
pub(crate) fn encode_header(
    buffer: &mut impl BufMut,
    name: impl AsRef<[u8]>,
    value: Option<&[u8]>,
) {
    let name = name.as_ref();
    buffer.put_u32_le(length(name.len()));
    buffer.put_slice(name);
    match value {
        None => buffer.put_u32_le(NULL_VALUE),
        Some(value) => {
            buffer.put_u32_le(length(value.len()));
            buffer.put_slice(value);
        }
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|len| *len != NULL_VALUE).expect("a header fits in a record")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_order_and_nulls_are_kept() {
        let pairs =
            [("a", Some(&b"1"[..])), ("b", None), ("a", Some(&[0xff, 0x00])), ("", Some(b""))];
        let headers = Headers::from_pairs(pairs);
        let read: Vec<_> = headers.iter().map(|h| (h.name, h.value)).collect();
        assert_eq!(read, pairs);
        assert_eq!(headers.len(), 4);
        assert_eq!(headers.get("a"), Some(Some(&b"1"[..])));
        assert_eq!(headers.get("b"), Some(None));
        assert_eq!(headers.get("c"), None);
    }

    #[test]
    fn c5_a_name_may_be_any_bytes() {
        let mut headers = Headers::default();
        headers.push(b"\xff", Some(b"1"));
        headers.push("a", None);
        let raw: Vec<_> = headers.iter().raw().collect();
        assert_eq!(raw, [(&b"\xff"[..], Some(&b"1"[..])), (b"a", None)]);
        let names: Vec<_> = headers.iter().map(|header| header.name).collect();
        assert_eq!(names, ["", "a"]);
        assert_eq!(headers.get("a"), Some(None));
    }

    #[test]
    fn push_appends() {
        let mut headers = Headers::default();
        assert!(headers.is_empty());
        headers.push("x", None);
        headers.push("x", Some(b"2"));
        assert_eq!(headers, Headers::from_pairs([("x", None), ("x", Some(&b"2"[..]))]));
    }
}
