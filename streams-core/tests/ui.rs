//! Every mistake is told on the user's own token, in our words, once. Each has a file of its name
//! in `ui/fail`; the legal forms are in `ui/pass`, a program of its own.
//!
//! The texts are rustc's as well as ours: the toolchain is pinned, and
//! `TRYBUILD=overwrite cargo test -p streams-core --test ui` renews them. Read the difference.

mod checked;

/// Only failures: with a single `pass` among them, trybuild would build each file alone, which
/// takes eight times as long.
#[test]
fn ui() {
    checked::compile_no_c();
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}
