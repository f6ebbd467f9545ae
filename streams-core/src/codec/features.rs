//! What stands for a codec whose feature is not enabled: the compiler's message says which it is.

macro_rules! stand_in {
    ($feature:literal, $codec:ident, $missing:ident) => {
        #[cfg(not(feature = $feature))]
        pub(super) mod $missing {
            use crate::codec::{Codec, CodecError, ContentType, Encoded};

            #[doc(hidden)]
            #[derive(Debug)]
            pub enum $codec {}

            #[doc(hidden)]
            #[diagnostic::on_unimplemented(
                message = "the codec needs a feature of streams-core that is not enabled",
                label = "its codec is not there",
                note = "enable `msgpack`, `protobuf` or `avro` for streams-core in Cargo.toml"
            )]
            pub trait Feature {}

            impl<T: Feature> Codec<'_, T> for $codec {
                fn encode(_: &T, _: &mut Vec<u8>) -> Result<(), CodecError> {
                    Err(CodecError::encode::<T>("its codec's feature is not enabled"))
                }

                fn decode(_: Encoded<'_>) -> Result<T, CodecError> {
                    Err(CodecError::decode::<T>("its codec's feature is not enabled"))
                }
            }

            impl ContentType for $codec {
                const NAME: &'static str = "";
            }
        }
    };
}
stand_in!("msgpack", MessagePack, msgpack);
stand_in!("protobuf", Protobuf, protobuf);
stand_in!("avro", Avro, avro);
