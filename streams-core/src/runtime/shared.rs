//! What all handlers of a source share, and that it is given before the source starts.

use std::any::Any;
use std::sync::Arc;

/// What [`SourceBuilder::shared`](super::SourceBuilder::shared) takes: the value, or an `Arc` of
/// it.
#[diagnostic::on_unimplemented(
    message = "the handlers of this source share `{T}`",
    label = "should be `{T}` or `Arc<{T}>`, not `{Self}`"
)]
pub trait IntoShared<T> {
    /// The value, to be shared.
    fn into_shared(self) -> Arc<T>;
}

#[diagnostic::do_not_recommend]
impl<T> IntoShared<T> for T {
    fn into_shared(self) -> Arc<T> {
        Arc::new(self)
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoShared<T> for Arc<T> {
    fn into_shared(self) -> Self {
        self
    }
}

/// That a source may start. `()`, which is what is left when nothing is missing.
#[diagnostic::on_unimplemented(
    message = "the handlers of this source share `{Self}`, which isn't given",
    label = "before it starts, write `.shared(..)`"
)]
pub trait NothingMissing: 'static {}

impl NothingMissing for () {}

/// What was given; or nothing, of which only `()` can be made.
pub(super) fn given<T: Any + Send + Sync>(shared: Option<Arc<T>>) -> Arc<T> {
    let nothing: Arc<dyn Any + Send + Sync> = Arc::new(());
    let nothing = || nothing.downcast().expect("`NothingMissing`: it was given, or it is `()`");
    shared.unwrap_or_else(nothing)
}
