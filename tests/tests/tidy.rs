//! The rules of the code, as tests.
#[test]
fn placeholder() {}
