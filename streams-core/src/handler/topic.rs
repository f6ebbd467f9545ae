//! A topic, its contract and its key type, named once.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use super::Events;
use crate::codec::{AsKey, CONTENT_TYPE_HEADER, CodecError, KeyCodec};
use crate::record::{Outputs, RECORD_TYPE_HEADER};

/// A topic with its contract and its key: what may be sent there is a matter of types.
///
/// # Examples
/// ```
/// use streams_core::prelude::*;
///
/// #[derive(Events)]
/// enum NotifyEvents {
///     Notified(String),
/// }
///
/// static NOTIFIED: Topic<NotifyEvents> = Topic::new("notified");
///
/// fn notify(ctx: &mut EventContext<NoStore>, id: &str) -> Result<()> {
///     ctx.forward(&NOTIFIED, id, NotifyEvents::Notified("by mail".to_owned()))
/// }
/// # fn main() {}
/// ```
pub struct Topic<E, K = String> {
    name: Cow<'static, str>,
    types: PhantomData<fn(E, K)>,
}

impl<E, K> Topic<E, K> {
    /// A topic whose name the program knows.
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), types: PhantomData }
    }

    /// A topic whose name comes from a configuration.
    pub const fn named(name: String) -> Self {
        Self { name: Cow::Owned(name), types: PhantomData }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<E: Events, K: KeyCodec> Topic<E, K> {
    /// Appends the record of `event` to `outputs`: key, record type and value.
    ///
    /// # Errors
    /// If the payload can't be encoded; nothing is appended then.
    pub fn write(
        &self,
        outputs: &mut Outputs,
        partition: Option<i32>,
        key: &(impl AsKey<K> + ?Sized),
        event: &E::At<'_>,
    ) -> Result<(), CodecError> {
        let mut record = match &self.name {
            Cow::Borrowed(name) => outputs.record(*name),
            Cow::Owned(name) => outputs.record(name.clone()),
        };
        let record_type = (RECORD_TYPE_HEADER, Some(event.record_type().as_bytes()));
        let content_type =
            event.content_type().map(|name| (CONTENT_TYPE_HEADER, Some(name.as_bytes())));
        record.headers([record_type].into_iter().chain(content_type));
        if let Some(partition) = partition {
            record.partition(partition);
        }
        record.key_with(|out| {
            key.encode_as_key(out);
            Ok::<(), CodecError>(())
        })?;
        record.value_with(|out| event.encode(out))?;
        record.finish();
        Ok(())
    }
}

impl<E, K> fmt::Debug for Topic<E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name).finish()
    }
}
