//! The handlers of one source in several files, listed by a struct, and by a module that has some
//! of its own.

mod deletion;

use streams_core::prelude::*;
use streams_core::testing::TestDriver;

#[derive(Events)]
pub(crate) enum Names {
    Add(String),
    #[event("name.removed.v1")]
    Remove(String),
}

#[derive(StateStore)]
pub(crate) struct Known {
    names: OrderedTable<String, i64>,
}

#[event_source(events = Names, store = Known, handlers = [add, deletion::remove, deletion::sweep])]
struct Listed;

#[event_handler("Add")]
fn add(ctx: &mut EventContext<Known>, name: String) -> Result<ExecutionState> {
    ctx.store.names.put(name, 1);
    Ok(Complete)
}

/// A handler may be of more than one source.
#[event_source(events = Names, store = Known, handlers = [deletion::remove])]
mod collected {
    use super::*;

    #[event_handler("Add")]
    fn add(ctx: &mut EventContext<Known>, name: String) -> Result<ExecutionState> {
        ctx.store.names.put(name, 2);
        Ok(Complete)
    }
}

#[test]
fn handlers_in_several_files() {
    let names = Listed::routes().iter().map(|route| (route.record_type, route.handler));
    assert!(names.eq([("Add", "add"), ("name.removed.v1", "deletion::remove")]));
    assert!(Listed::routes()[1].file.ends_with("deletion.rs"), "{:?}", Listed::routes());

    let mut driver = TestDriver::<Listed>::new();
    driver.send("a", Names::Add("a".to_owned()));
    driver.send("b", Names::Add("b".to_owned()));
    driver.send("a", Names::Remove("a".to_owned()));
    assert!(driver.store(0).names.iter().eq([(&"b".to_owned(), &1)]));
    driver.interject("sweep");
    assert!(driver.store(0).names.is_empty());
}

#[test]
fn both_forms_in_one() {
    let mut driver = TestDriver::<collected::Source>::new();
    driver.send("a", Names::Add("a".to_owned()));
    assert_eq!(driver.store(0).names.get("a"), Some(&2));
    driver.send("a", Names::Remove("a".to_owned()));
    assert!(driver.store(0).names.is_empty());
}
