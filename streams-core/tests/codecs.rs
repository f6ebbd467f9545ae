//! Codecs: each payload comes back as it went, borrows where it can, and survives hostile bytes.

mod allocations;

use std::fmt::Debug;

use crate::allocations::allocations;
use serde::{Deserialize, Serialize};
use streams_core::codec::{Encoded, decode, encode};
use streams_core::prelude::*;
use streams_core::record::Headers;
use streams_core::testing;

fn encoded<T: EventCodec<'static>>(value: &T) -> Vec<u8> {
    let mut out = vec![];
    encode(value, &mut out).expect("it has a form");
    out
}

fn read<'a, T: EventCodec<'a>>(
    value: &'a [u8],
    headers: &'a Headers,
) -> std::result::Result<T, String> {
    decode(Encoded { value: Some(value), headers }).map_err(|error| error.to_string())
}

/// It comes back as it went; no part of it and nothing around it is taken for it; and whatever else
/// comes, nothing panics and nothing big is allocated.
fn round_trip<T>(value: &T)
where
    T: for<'a> EventCodec<'a> + PartialEq + Debug,
{
    let none = Headers::default();
    let bytes = encoded(value);
    assert_eq!(read::<T>(&bytes, &none).as_ref(), Ok(value));
    for len in 0..bytes.len() {
        let cut = read::<T>(&bytes[..len], &none);
        assert_ne!(cut.as_ref(), Ok(value), "{len} of {} bytes", bytes.len());
    }
    let longer = [&bytes[..], &[0x2a]].concat();
    assert_ne!(read::<T>(&longer, &none).as_ref(), Ok(value));
    let mut state = 7u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap_or(0)
    };
    for _ in 0..2_000 {
        let mut hostile = bytes.clone();
        for _ in 0..=random() % 3 {
            let place = random() % hostile.len();
            hostile[place] = u8::try_from(random() % 256).unwrap_or(0);
        }
        let _ = read::<T>(&hostile, &none);
    }
}

#[derive(EventCodec, Debug, PartialEq)]
#[codec(int)]
struct Count(u32);

#[derive(EventCodec, Debug, PartialEq)]
#[codec(lexo_int64)]
struct At {
    at: i64,
}

#[test]
fn integers_by_attribute() {
    round_trip(&Count(256));
    round_trip(&At { at: -1 });
    assert_eq!(encoded(&Count(256)), [0, 0, 1, 0]);
    assert_eq!(encoded(&At { at: 1 }), [1, 0, 0, 0, 0, 0, 0, 0, 1]);
    let error = read::<Count>(&[1], &Headers::default()).unwrap_err();
    assert!(error.contains("it has 1 bytes and should have 4"), "{error}");
}

#[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
struct Line<'a> {
    id: &'a str,
}

#[test]
fn json_text_and_bytes_borrow() {
    let headers = Headers::default();
    let mut found = (None, None, None);
    let count = allocations(|| {
        found.0 = read::<Line<'_>>(br#"{"id":"a"}"#, &headers).ok();
        found.1 = read::<&str>("é".as_bytes(), &headers).ok();
        found.2 = read::<&[u8]>(b"\xff", &headers).ok();
    });
    assert_eq!(found, (Some(Line { id: "a" }), Some("é"), Some(&b"\xff"[..])));
    assert_eq!(count, 0);
}

/// It needs no `JsonSchema`: nobody describes it.
#[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
#[codec(json, content_type)]
struct Plain {
    id: String,
}

#[derive(Events)]
enum Plains {
    Plain(Plain),
}

#[test]
fn a_content_type_is_written_and_checked() {
    static PLAINS: Topic<Plains> = Topic::new("plains");
    let event = Plains::Plain(Plain { id: "1".to_owned() });
    let record = testing::record(&PLAINS, "1", event).unwrap();
    let header = record.headers().get("content-type").flatten();
    assert_eq!(header, Some(&b"application/json"[..]));
    let bytes = record.value().unwrap();
    for right in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
        let headers = Headers::from_pairs([("Content-Type", Some(right.as_bytes()))]);
        assert!(read::<Plain>(bytes, &headers).is_ok(), "{right}");
    }
    for wrong in [&b"application/xml"[..], b"", b"\xff"] {
        let headers = Headers::from_pairs([("content-type", Some(wrong))]);
        let error = read::<Plain>(bytes, &headers).unwrap_err();
        assert!(error.contains("Plain: the record's `content-type` is"), "{error}");
        assert!(error.contains("and it reads application/json: let its producer"), "{error}");
    }
}

#[cfg(feature = "msgpack")]
mod msgpack {
    use super::*;

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(msgpack)]
    struct Reading {
        sensor: String,
        values: Vec<i64>,
    }

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(msgpack)]
    struct Borrowed<'a> {
        sensor: &'a str,
        #[serde(borrow)]
        blob: &'a [u8],
    }

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(msgpack, json)]
    struct Either {
        id: u32,
    }

    #[test]
    fn it_comes_back() {
        round_trip(&Reading { sensor: "a".to_owned(), values: vec![1, -300, i64::MAX] });
    }

    #[test]
    fn text_and_bytes_borrow() {
        // {"sensor": "a", "blob": bin8 [7, 8]}
        let bytes = b"\x82\xa6sensor\xa1a\xa4blob\xc4\x02\x07\x08";
        let headers = Headers::default();
        let mut found = None;
        let count = allocations(|| found = read::<Borrowed<'_>>(bytes, &headers).ok());
        assert_eq!(found, Some(Borrowed { sensor: "a", blob: &[7, 8] }));
        assert_eq!(count, 0);
    }

    #[test]
    fn depth_and_lengths_are_bounded() {
        let headers = Headers::default();
        // Arrays in arrays, and an array that says it has four billion elements.
        for hostile in [vec![0x91; 100_000], vec![0xdd, 0xff, 0xff, 0xff, 0xff]] {
            assert!(read::<Reading>(&hostile, &headers).is_err());
        }
    }

    #[test]
    fn one_type_reads_several_formats() {
        let typed = |name: &str| Headers::from_pairs([("content-type", Some(name.as_bytes()))]);
        let bytes = encoded(&Either { id: 7 });
        assert_eq!(bytes, b"\x81\xa2id\x07");
        for headers in [Headers::default(), typed("application/x-msgpack")] {
            assert_eq!(read::<Either>(&bytes, &headers), Ok(Either { id: 7 }));
        }
        let json = read::<Either>(br#"{"id":7}"#, &typed("application/json"));
        assert_eq!(json, Ok(Either { id: 7 }));
        let error = read::<Either>(b"", &typed("text/plain")).unwrap_err();
        assert!(error.contains("it reads application/msgpack, application/json"), "{error}");
    }
}

#[cfg(feature = "protobuf")]
mod protobuf {
    use super::*;

    #[derive(EventCodec, Clone, PartialEq, prost::Message)]
    #[codec(protobuf)]
    struct Contact {
        #[prost(string, tag = "1")]
        id: String,
        #[prost(int64, repeated, tag = "2")]
        numbers: Vec<i64>,
    }

    #[derive(Events)]
    enum Contacts {
        Contact(Contact),
    }

    #[test]
    fn it_comes_back() {
        let contact = Contact { id: "a".to_owned(), numbers: vec![1, -2] };
        let bytes = encoded(&contact);
        assert_eq!(bytes[..3], [0x0a, 1, b'a'], "field 1, length 1");
        round_trip(&contact);
    }

    #[test]
    fn its_schema_says_its_format() {
        let contact = &Contacts::schema()["properties"]["Contact"];
        assert_eq!(contact["contentMediaType"], "application/x-protobuf");
        assert_eq!(contact["title"], "Contact");
    }
}

#[cfg(feature = "avro")]
mod avro {
    use streams_core::codec::avro::{AvroPayload, Registry, RegistryClient};

    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Contact","fields":[
        {"name":"id","type":"string"},{"name":"age","type":["null","int"]}]}"#;
    const OLD: &str = r#"{"type":"record","name":"Contact","fields":[
        {"name":"id","type":"string"},{"name":"gone","type":"string"}]}"#;
    static REGISTRY: Registry = Registry::new();

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(avro)]
    struct Contact {
        id: String,
        #[serde(default)]
        age: Option<i32>,
    }

    impl AvroPayload for Contact {
        const SCHEMA: &'static str = SCHEMA;

        fn registry() -> &'static Registry {
            &REGISTRY
        }
    }

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(avro)]
    struct Borrowed<'a> {
        id: &'a str,
    }

    impl AvroPayload for Borrowed<'_> {
        const SCHEMA: &'static str = SCHEMA;

        fn registry() -> &'static Registry {
            &REGISTRY
        }
    }

    #[test]
    fn the_wire_format_is_a_registrys() {
        REGISTRY.register(7, SCHEMA).unwrap();
        let contact = Contact { id: "ab".to_owned(), age: Some(3) };
        // A zero byte, the id; a string of two; the union's second branch, and 3 in zigzag.
        assert_eq!(encoded(&contact), [0, 0, 0, 0, 7, 4, b'a', b'b', 2, 6]);
        round_trip(&contact);
        let headers = Headers::default();
        let bytes = encoded(&contact);
        let mut found = None;
        let count = allocations(|| found = read::<Borrowed<'_>>(&bytes, &headers).ok());
        assert_eq!((found, count), (Some(Borrowed { id: "ab" }), 0));
    }

    #[test]
    fn what_was_written_with_another_schema_is_read_by_it() {
        REGISTRY.register(3, OLD).unwrap();
        let old = b"\0\0\0\0\x03\x02a\x04xy";
        let found = read::<Contact>(old, &Headers::default());
        assert_eq!(found, Ok(Contact { id: "a".to_owned(), age: None }));
    }

    #[test]
    fn what_is_missing_says_what_to_do() {
        let text = |bytes: &[u8]| read::<Contact>(bytes, &Headers::default()).unwrap_err();
        assert!(text(b"\0\0\0\x01\x02").contains("the schema 258"), "{}", text(b"\0\0\0\x01\x02"));
        let error = text(b"\0\0\0\x04\xd2");
        assert!(error.contains("`Registry::global().register(1234, ..)`"), "{error}");
        let error = text(br#"{"id":"a"}"#);
        assert!(error.contains("it does not begin with a zero byte"), "{error}");
    }

    const WIDE: &str = r#"{"type":"record","name":"Wide","namespace":"a.b","fields":[
        {"name":"total","type":"long"},
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"ratio","type":"double"}, {"name":"share","type":"float"},
        {"name":"blob","type":"bytes"}, {"name":"hash","type":{"type":"fixed","name":"H","size":2}},
        {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["Big","Small"]}},
        {"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"counts","type":{"type":"map","values":"int"}},
        {"name":"next","type":["null","Wide"],"default":null},
        {"name":"what","type":["null","Kind",{"type":"record","name":"Leaf","fields":[
            {"name":"id","type":"H"}]}, "string"]},
        {"name":"note","type":"string","default":"none"}]}"#;

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
    enum Kind {
        Big,
        Small,
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
    enum What {
        Kind(Kind),
        Leaf { id: [u8; 2] },
        String(String),
    }

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq, Clone)]
    #[codec(avro)]
    struct Wide {
        // Not in the schema's order.
        note: String,
        total: u64,
        at: i64,
        ratio: f64,
        share: f32,
        blob: Vec<u8>,
        hash: (u8, u8),
        kind: Kind,
        tags: Vec<String>,
        counts: std::collections::BTreeMap<String, i16>,
        next: Option<Box<Self>>,
        what: Option<What>,
    }

    impl AvroPayload for Wide {
        const SCHEMA: &'static str = WIDE;

        fn registry() -> &'static Registry {
            &REGISTRY
        }
    }

    #[test]
    fn each_type_of_avro_comes_back() {
        REGISTRY.register(12, WIDE).unwrap();
        let none = Wide {
            note: "n".to_owned(),
            total: 3_000_000_000,
            at: -1,
            ratio: 0.5,
            share: -0.25,
            blob: vec![0, 127, 128, 255],
            hash: (7, 200),
            kind: Kind::Small,
            tags: vec![],
            counts: [("a".to_owned(), -300), ("b".to_owned(), 300)].into(),
            next: None,
            what: None,
        };
        for what in
            [What::Kind(Kind::Big), What::Leaf { id: [1, 2] }, What::String("text".to_owned())]
        {
            let tags = (0..70).map(|tag| tag.to_string()).collect();
            let what = Some(what);
            round_trip(&Wide { next: Some(Box::new(none.clone())), tags, what, ..none.clone() });
        }
        round_trip(&none);
    }

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(avro)]
    struct Misfit {
        total: String,
    }

    impl AvroPayload for Misfit {
        const SCHEMA: &'static str = WIDE;

        fn registry() -> &'static Registry {
            &REGISTRY
        }
    }

    #[test]
    fn a_value_that_does_not_fit_its_schema_says_where() {
        REGISTRY.register(12, WIDE).unwrap();
        let error = encode(&Misfit { total: String::new() }, &mut vec![]).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "field `total`: a value of type string does not fit the schema's type Long"
            ),
            "{error}"
        );
    }

    #[test]
    fn an_array_in_blocks_with_their_sizes_is_read() {
        const LIST: &str = r#"{"type":"array","items":"int"}"#;
        #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
        #[codec(avro)]
        struct List(Vec<i32>);
        impl AvroPayload for List {
            const SCHEMA: &'static str = LIST;

            fn registry() -> &'static Registry {
                &REGISTRY
            }
        }
        REGISTRY.register(13, LIST).unwrap();
        // Two items in two bytes, then one item without the block's size.
        let found = read::<List>(b"\0\0\0\0\x0d\x03\x04\x02\x04\x02\x06\0", &Headers::default());
        assert_eq!(found, Ok(List(vec![1, 2, 3])));
    }

    struct Fixed;

    impl RegistryClient for Fixed {
        fn schema(&self, id: u32) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
            if id == 9 { Ok(SCHEMA.to_owned()) } else { Err("404".into()) }
        }

        fn id(
            &self,
            subject: &str,
            _: &str,
        ) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
            if subject == "contacts-value" { Ok(9) } else { Err("no such subject".into()) }
        }
    }

    #[derive(EventCodec, Serialize, Deserialize, Debug, PartialEq)]
    #[codec(avro)]
    struct Asked {
        id: String,
        age: Option<i32>,
    }

    impl AvroPayload for Asked {
        const SCHEMA: &'static str = SCHEMA;
        const SUBJECT: &'static str = "contacts-value";

        fn registry() -> &'static Registry {
            static ASKING: Registry = Registry::new();
            ASKING.set_client(Fixed);
            &ASKING
        }
    }

    #[test]
    fn a_client_is_asked_for_what_nobody_told() {
        let asked = Asked { id: String::new(), age: None };
        assert_eq!(encoded(&asked), [0, 0, 0, 0, 9, 0, 0]);
        round_trip(&asked);
        let error = read::<Asked>(b"\0\0\0\0\x0a", &Headers::default()).unwrap_err();
        assert!(error.contains("the schema registry: 404"), "{error}");
    }
}
