//! The parts of composite keys: bytes that sort as the parts do, and say where they end.
//!
//! A string's zero bytes are written as `00 ff`, and `00 01` ends it. So a string that begins
//! another one comes before it, whatever follows.

use std::borrow::Cow;

use super::{AsKey, CodecError, KeyCodec};

const ZERO: u8 = 0;
/// Follows a zero byte that belongs to the string.
const ESCAPED: u8 = 0xff;
/// Follows the zero byte that ends the string.
const END: u8 = 1;

/// Escapes the zero bytes of `out[start..]` in place, and ends the part.
pub(super) fn terminate(out: &mut Vec<u8>, start: usize) {
    let zeros = out[start..].iter().filter(|byte| **byte == ZERO).count();
    if zeros > 0 {
        let mut read = out.len();
        out.resize(read + zeros, 0);
        let mut write = out.len();
        while read < write {
            read -= 1;
            if out[read] == ZERO {
                write -= 1;
                out[write] = ESCAPED;
            }
            write -= 1;
            out[write] = out[read];
        }
    }
    out.extend([ZERO, END]);
}

/// Takes a terminated part off the front of `bytes`; without zero bytes it needs no copy.
pub(super) fn take_terminated<'b, T>(bytes: &mut &'b [u8]) -> Result<Cow<'b, [u8]>, CodecError> {
    let whole = *bytes;
    let mut part = Cow::Borrowed(&whole[..0]);
    loop {
        let Some(zero) = bytes.iter().position(|byte| *byte == ZERO) else {
            return Err(CodecError::decode::<T>("as a part of a key it has no end"));
        };
        let chunk = &bytes[..zero];
        match bytes.get(zero + 1) {
            Some(&END) if part.is_empty() => part = Cow::Borrowed(chunk),
            Some(&END) => part.to_mut().extend_from_slice(chunk),
            Some(&ESCAPED) => {
                part.to_mut().extend_from_slice(chunk);
                part.to_mut().push(ZERO);
            }
            _ => return Err(CodecError::decode::<T>("as a part of a key it has a lone zero byte")),
        }
        let is_end = bytes[zero + 1] == END;
        *bytes = &bytes[zero + 2..];
        if is_end {
            return Ok(part);
        }
    }
}

/// Takes `size` bytes off the front of `bytes`.
pub(super) fn take<'b, T>(bytes: &mut &'b [u8], size: usize) -> Result<&'b [u8], CodecError> {
    let Some((part, rest)) = bytes.split_at_checked(size) else {
        return Err(CodecError::decode::<T>(format_args!(
            "as a part of a key it has {} bytes and should have {size}",
            bytes.len()
        )));
    };
    *bytes = rest;
    Ok(part)
}

/// Returns an error unless a composite key ends here.
pub(crate) fn ends<T>(rest: &[u8]) -> Result<(), CodecError> {
    if rest.is_empty() {
        return Ok(());
    }
    let reason = format!("{} bytes follow its last part", rest.len());
    Err(CodecError::decode::<T>(reason))
}

impl<K: KeyCodec> KeyCodec for Option<K> {
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.encode_part(out);
        }
    }

    fn decode_key(mut bytes: &[u8]) -> Result<Self, CodecError> {
        let key = Self::decode_part(&mut bytes)?;
        ends::<Self>(bytes)?;
        Ok(key)
    }

    fn encode_part(&self, out: &mut Vec<u8>) {
        self.encode_key(out);
    }

    fn decode_part(bytes: &mut &[u8]) -> Result<Self, CodecError> {
        match bool::decode_part(bytes)? {
            true => K::decode_part(bytes).map(Some),
            false => Ok(None),
        }
    }

    fn key_schema() -> serde_json::Value {
        serde_json::json!({ "anyOf": [{ "type": "null" }, K::key_schema()] })
    }
}

macro_rules! tuples {
    ($(($($part:ident $index:tt),+))*) => {$(
        impl<$($part: KeyCodec),+> KeyCodec for ($($part,)+) {
            fn encode_key(&self, out: &mut Vec<u8>) {
                $(self.$index.encode_part(out);)+
            }

            fn decode_key(mut bytes: &[u8]) -> Result<Self, CodecError> {
                let key = Self::decode_part(&mut bytes)?;
                ends::<Self>(bytes)?;
                Ok(key)
            }

            fn encode_part(&self, out: &mut Vec<u8>) {
                self.encode_key(out);
            }

            fn decode_part(bytes: &mut &[u8]) -> Result<Self, CodecError> {
                Ok(($($part::decode_part(bytes)?,)+))
            }

            fn key_schema() -> serde_json::Value {
                composite_schema(vec![$($part::key_schema()),+])
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// The JSON Schema of a composite key.
pub fn composite_schema(parts: Vec<serde_json::Value>) -> serde_json::Value {
    serde_json::json!({
        "type": "array",
        "prefixItems": parts,
        "items": false,
        "contentMediaType": super::int::MEDIA_TYPE,
    })
}

/// A part of a tuple that a key can be borrowed as.
trait BorrowedPart {
    fn encode_borrowed(&self, out: &mut Vec<u8>);
}

impl<K: KeyCodec> BorrowedPart for K {
    fn encode_borrowed(&self, out: &mut Vec<u8>) {
        self.encode_part(out);
    }
}

impl BorrowedPart for &str {
    fn encode_borrowed(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.as_bytes());
        terminate(out, start);
    }
}

macro_rules! borrowed {
    ($([$($param:ident)*] ($($index:tt $owned:ty = $lent:ty),+))*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($param: KeyCodec),*> AsKey<($($owned,)+)> for ($($lent,)+) {
            fn encode_as_key(&self, out: &mut Vec<u8>) {
                $(self.$index.encode_borrowed(out);)+
            }
        }
    )*};
}
borrowed! {
    [A] (0 A = A, 1 String = &str)
    [B] (0 String = &str, 1 B = B)
    [] (0 String = &str, 1 String = &str)
    [A B] (0 A = A, 1 B = B, 2 String = &str)
    [A C] (0 A = A, 1 String = &str, 2 C = C)
    [B C] (0 String = &str, 1 B = B, 2 C = C)
    [A] (0 A = A, 1 String = &str, 2 String = &str)
    [B] (0 String = &str, 1 B = B, 2 String = &str)
    [C] (0 String = &str, 1 String = &str, 2 C = C)
    [] (0 String = &str, 1 String = &str, 2 String = &str)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::codec::LexoInt64;

    /// A generator from a fixed seed (SplitMix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        /// Bytes that the format itself uses are frequent, and short strings begin longer ones.
        fn bytes(&mut self) -> Vec<u8> {
            let len = self.below(4);
            (0..len).map(|_| [0, 1, 2, b'a', 0xfe, 0xff][self.below(6) as usize]).collect()
        }

        fn text(&mut self) -> String {
            let len = self.below(4);
            (0..len)
                .map(|_| ['\0', '\u{1}', 'a', 'é', '\u{10ffff}'][self.below(5) as usize])
                .collect()
        }

        /// Of every magnitude and sign.
        fn number(&mut self) -> i64 {
            let shift = self.below(64);
            self.next().cast_signed() >> shift
        }
    }

    fn bytes<K: KeyCodec>(key: &K) -> Vec<u8> {
        let mut out = vec![];
        key.encode_key(&mut out);
        out
    }

    /// The bytes of `keys` sort as they do, are read back, and with any byte cut off are no key.
    fn check<K: KeyCodec + Ord + Debug>(mut make: impl FnMut(&mut Random) -> K) {
        let random = &mut Random(7);
        let keys: Vec<K> = (0..300).map(|_| make(random)).collect();
        let encoded: Vec<Vec<u8>> = keys.iter().map(bytes).collect();
        for (a, a_bytes) in keys.iter().zip(&encoded) {
            assert_eq!(K::decode_key(a_bytes).unwrap(), *a);
            for len in 0..a_bytes.len() {
                assert!(K::decode_key(&a_bytes[..len]).is_err(), "{a:?} cut off at {len}");
            }
            assert!(K::decode_key(&[&a_bytes[..], &[7]].concat()).is_err(), "{a:?} and a byte");
            for (b, b_bytes) in keys.iter().zip(&encoded) {
                assert_eq!(a_bytes.cmp(b_bytes), a.cmp(b), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn the_bytes_of_a_tuple_sort_as_the_tuple_does() {
        check(|random| (random.next(), random.text()));
        check(|random| (random.text(), random.text()));
        check(|random| (random.bytes(), random.number(), random.bytes()));
        check(|random| (random.number(), random.below(2) == 0));
        check(|random| (random.number() as i8, random.number() as i16, random.number() as i32));
        check(|random| (i128::from(random.number()) << random.below(64), random.number() as isize));
        check(|random| (random.next() as u8, random.next() as u16, random.next() as u32));
        check(|random| (u128::from(random.next()) << random.below(64), random.next() as usize));
        check(|random| (LexoInt64(random.number()), [random.next() as u8, random.next() as u8]));
        check(|random| ((random.text(), random.number()), random.text()));
        check(|random| (Some(random.text()).filter(|text| text.len() > 1), random.text()));
        check(|random| {
            (random.text(), random.text(), random.text(), random.text(), 1u8, random.below(2) == 0)
        });
    }

    #[test]
    fn the_format_is_as_documented() {
        let key = (1u16, -1i16, "a\0b".to_owned(), true, None::<u8>, Some(7u8));
        let expected =
            [&[0, 1][..], &[0x7f, 0xff], &[b'a', 0, 0xff, b'b', 0, 1], &[1], &[0], &[1, 7]];
        assert_eq!(bytes(&key), expected.concat());
        assert_eq!(bytes(&("a".to_owned(),)), [b'a', 0, 1]);
    }

    #[test]
    fn the_borrowed_form_has_the_same_bytes() {
        let borrowed = |key: &dyn Fn(&mut Vec<u8>)| {
            let mut out = vec![];
            key(&mut out);
            out
        };
        let text = || "a\0".to_owned();
        type Two = (u64, String);
        type Three = (String, i8, String);
        let two = borrowed(&|out| AsKey::<Two>::encode_as_key(&(3, "a\0"), out));
        assert_eq!(two, bytes(&(3u64, text())));
        let three = borrowed(&|out| AsKey::<Three>::encode_as_key(&("a\0", -3, ""), out));
        assert_eq!(three, bytes(&(text(), -3i8, String::new())));
    }

    #[test]
    fn what_is_no_part_says_why() {
        let text = |bytes: &[u8]| <(String, u32)>::decode_key(bytes).unwrap_err().to_string();
        assert!(text(b"a").contains("has no end"), "{}", text(b"a"));
        assert!(text(b"a\0\x02").contains("lone zero"), "{}", text(b"a\0\x02"));
        assert!(text(b"a\0").contains("lone zero"), "{}", text(b"a\0"));
        let short = text(b"a\0\x01\0\0");
        assert!(short.contains("has 2 bytes and should have 4"), "{short}");
        let long = text(b"a\0\x01\0\0\0\0\0");
        assert!(long.contains("1 bytes follow its last part"), "{long}");
        let not_text = text(b"\xfe\0\x01\0\0\0\0");
        assert!(not_text.contains("is not UTF-8"), "{not_text}");
    }
}
