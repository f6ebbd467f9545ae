//! The codecs of record batches, backwards: what a batch holds, however it was compressed.
//!
//! Batches are kept as they came. They are looked into to check a batch that comes in, to find a
//! timestamp, and to compact.

use std::borrow::Cow;
use std::io::Read;

/// What a batch may grow to. It bounds what a few bytes can make the broker hold.
const BYTES_MAX: usize = 128 << 20;
/// Snappy as Java frames it: a header, then blocks with their lengths.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\x00";
const XERIAL_HEADER_BYTES: usize = 16;

/// A codec, by its number in a batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub(crate) const fn of(attributes: i16) -> Option<Self> {
        match attributes & 7 {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What was compressed; `None` if it wasn't, or is too large.
    pub(crate) fn expand(self, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::None => Some(Cow::Borrowed(bytes)),
            Self::Gzip => read_all(flate2::read::MultiGzDecoder::new(bytes)),
            Self::Snappy => expand_snappy(bytes),
            Self::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(bytes)),
            Self::Zstd => read_all(ruzstd::decoding::StreamingDecoder::new(bytes).ok()?),
        }
        .filter(|expanded| expanded.len() <= BYTES_MAX)
    }
}

fn read_all<'a>(reader: impl Read) -> Option<Cow<'a, [u8]>> {
    let mut expanded = Vec::new();
    reader.take(BYTES_MAX as u64 + 1).read_to_end(&mut expanded).ok()?;
    Some(Cow::Owned(expanded))
}

fn expand_snappy<'a>(bytes: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut expanded = Vec::new();
    if !bytes.starts_with(XERIAL_MAGIC) {
        expand_block(bytes, &mut expanded)?;
        return Some(Cow::Owned(expanded));
    }
    let mut rest = bytes.get(XERIAL_HEADER_BYTES..)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (block, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        expand_block(block, &mut expanded)?;
        rest = after;
    }
    rest.is_empty().then_some(Cow::Owned(expanded))
}

fn expand_block(block: &[u8], expanded: &mut Vec<u8>) -> Option<()> {
    let length = snap::raw::decompress_len(block).ok()?;
    let at = expanded.len();
    if length > BYTES_MAX - at.min(BYTES_MAX) {
        return None;
    }
    expanded.resize(at + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut expanded[at..]).ok()?;
    (written == length).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_codec_is_read() {
        let text: Vec<u8> = (0..5_000_u32).flat_map(u32::to_be_bytes).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let block = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let mut xerial = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for part in text.chunks(1_000) {
            let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
            xerial.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            xerial.extend(block);
        }
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&text).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(&text[..], level);
        for (codec, bytes) in [
            (Codec::None, text.clone()),
            (Codec::Gzip, gzip.finish().unwrap()),
            (Codec::Snappy, block),
            (Codec::Snappy, xerial),
            (Codec::Lz4, lz4.finish().unwrap()),
            (Codec::Zstd, zstd),
        ] {
            assert_eq!(codec.expand(&bytes).as_deref(), Some(&text[..]), "{codec:?}");
            if codec != Codec::None {
                assert_eq!(codec.expand(&bytes[..bytes.len() / 2]), None, "{codec:?}, cut off");
                assert_eq!(codec.expand(&text), None, "{codec:?}, never compressed");
            }
        }
    }

    #[test]
    fn a_length_that_is_only_claimed_is_not_allocated() {
        // A snappy block that says it has 4 GiB.
        assert_eq!(Codec::Snappy.expand(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]), None);
    }
}
