//! What the tests share that let cargo check programs in a target folder of their own.

use std::path::{Path, PathBuf};
use std::{fs, process};

/// The C libraries below `streams-core`, by the name that their crates declare as `links`.
const C_LIBRARIES: [&str; 3] = ["rdkafka", "z", "zstd"];

/// Returns the folder of the checked programs.
pub(crate) fn folder() -> PathBuf {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    core.parent().expect("the workspace").join("target/tests")
}

/// Lets cargo compile no C library there: a check links nothing, and librdkafka takes a minute of
/// processor time.
///
/// # Panics
/// If the folder cannot be written.
pub(crate) fn compile_no_c() {
    let mut config = String::new();
    for library in C_LIBRARIES {
        config += &format!("[target.{}.{library}]\nrustc-link-lib = [\"{library}\"]\n", host());
    }
    let cargo = folder().join(".cargo");
    fs::create_dir_all(&cargo).expect("a folder under target");
    fs::write(cargo.join("config.toml"), config).expect("a file under target");
}

/// Returns this machine's target, as rustc calls it.
pub(crate) fn host() -> String {
    let output = process::Command::new("rustc").arg("-vV").output().expect("rustc");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc says its host").to_owned()
}
