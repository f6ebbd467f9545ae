//! What the log says of a partition that waits.

use crate::eos::Window;
use crate::store::StateStore;
use crate::task::Task;

/// Says that the worker pauses or resumes a partition's fetch: aloud when the partition waits for
/// an incomplete event for the first time in its assignment.
pub(super) fn say_pace<S: StateStore>(
    task: &mut Task<S>,
    window: Window,
    pause: bool,
    in_flight: usize,
) {
    let partition = task.topic_partition().clone();
    tracing::debug!(%partition, pause, in_flight, "the worker paces a partition");
    if !pause || window != Window::Full || std::mem::replace(&mut task.has_waited, true) {
        return;
    }
    let oldest = task.oldest_incomplete();
    let offset = oldest.and_then(|input| input.record()).map(crate::record::Record::offset);
    tracing::warn!(
        %partition, in_flight, oldest_incomplete_offset = offset,
        "the partition takes no more events until its oldest incomplete event is complete: \
         complete events sooner, give their work a timeout, or raise `in_flight_events_max`"
    );
}
