//! The records in a batch, read where they lie.

/// A record that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A record, as much of it as a broker looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Its offset, from the batch's.
    pub(crate) offset_delta: i32,
    /// Its timestamp, from the batch's.
    pub(crate) timestamp_delta: i64,
    pub(crate) key: Option<&'a [u8]>,
    /// Without a value it is a tombstone.
    pub(crate) has_value: bool,
    /// All its bytes, with its length.
    pub(crate) bytes: &'a [u8],
}

/// The records of a batch, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Records<'a> {
    /// The `count` records in `bytes`, which are no longer compressed.
    pub(crate) const fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { rest: bytes, left: count }
    }

    fn next_record(&mut self) -> Option<Record<'a>> {
        let from = self.rest;
        let length = usize::try_from(varint(&mut self.rest)?).ok()?;
        let (mut body, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let _attributes = take(&mut body, 1)?;
        let timestamp_delta = varlong(&mut body)?;
        let offset_delta = varint(&mut body)?;
        let key = field(&mut body)?;
        let has_value = field(&mut body)?.is_some();
        for _ in 0..usize::try_from(varint(&mut body)?).ok()? {
            field(&mut body)??;
            field(&mut body)?;
        }
        let bytes = &from[..from.len() - rest.len()];
        let record = Record { offset_delta, timestamp_delta, key, has_value, bytes };
        body.is_empty().then_some(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // What is left over belongs to no record.
            return match std::mem::take(&mut self.rest) {
                [] => None,
                _ => Some(Err(Malformed)),
            };
        }
        self.left -= 1;
        let record = self.next_record().ok_or(Malformed);
        if record.is_err() {
            *self = Self::new(&[], 0);
        }
        Some(record)
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// A length and so many bytes; -1 is nothing.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint(bytes)? {
        -1 => Some(None),
        length => take(bytes, usize::try_from(length).ok()?).map(Some),
    }
}

fn varint(bytes: &mut &[u8]) -> Option<i32> {
    i32::try_from(varlong(bytes)?).ok()
}

/// A zigzag number, seven bits a byte, the lowest first.
fn varlong(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&[byte], rest) = bytes.split_first_chunk::<1>()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], count: usize) -> Result<Vec<Record<'_>>, Malformed> {
        Records::new(bytes, count).collect()
    }

    #[test]
    fn zigzag() {
        for (bytes, number) in
            [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0x80, 1], 64), (&[0xff, 1], -128)]
        {
            let mut rest = bytes;
            assert_eq!(varlong(&mut rest), Some(number));
            assert!(rest.is_empty());
        }
        assert_eq!(varlong(&mut &[0xff; 11][..]), None);
        assert_eq!(varlong(&mut &[0x80][..]), None);
    }

    #[test]
    fn records_are_read_to_the_last_byte() {
        // Length 10: attributes, timestamp +3, offset +1, key "k", no value, one header "h" -> "".
        let bytes = [20, 0, 6, 2, 2, b'k', 1, 2, 2, b'h', 0];
        let mut records = Records::new(&bytes, 1);
        let record = records.next().unwrap().unwrap();
        assert_eq!((record.timestamp_delta, record.offset_delta), (3, 1));
        assert_eq!((record.key, record.has_value), (Some(&b"k"[..]), false));
        assert_eq!(record.bytes, bytes);
        assert_eq!(records.next(), None);
        let twice = [&bytes[..], &bytes[..]].concat();
        assert_eq!(Records::new(&twice, 2).filter(Result::is_ok).count(), 2);
        assert_eq!(all(&twice, 1), Err(Malformed), "more than was said");
        assert_eq!(all(&twice, 3), Err(Malformed), "less than was said");
        for cut in 0..bytes.len() {
            assert_eq!(all(&bytes[..cut], 1), Err(Malformed), "cut at {cut}");
        }
    }
}
