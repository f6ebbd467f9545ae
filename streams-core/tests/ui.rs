//! Every mistake is told on the user's own token, in our words, once. Each has a file of its name.
//!
//! The texts are rustc's as well as ours: the toolchain is pinned, and
//! `TRYBUILD=overwrite cargo test -p streams-core --test ui` renews them. Read the difference.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
