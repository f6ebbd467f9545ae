//! What an editor shows: with one thing wrong, `cargo check --message-format=json` has exactly one
//! error, and its place is the wrong token.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod checked;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Programs of `ui/fail`, each with the token that is wrong.
const MISTAKES: [(&str, &str); 34] = [
    ("arguments_swapped", "_: Contact, _: &mut EventContext<ContactStore>"),
    ("async_options_without_async", "concurrency"),
    ("body_error_only", "\"one\""),
    ("context_is_store", "ContactStore"),
    ("default_handler_not_a_record", "Contact"),
    ("events_type_alias", "Alias"),
    ("every_negative", "\"-1s\""),
    ("every_not_a_literal", "INTERVAL"),
    ("every_zero", "\"0s\""),
    ("forward_to_wrong_contract", "ContactEvent::DeleteContact(gone)"),
    ("forward_unknown_record_type", "Deleted"),
    ("forward_wrong_key", "&17u32"),
    ("handler_duplicate", "\"CreateContact\""),
    ("handler_for_an_older_form", "\"added.v1\""),
    ("handler_is_async", "_: &mut EventContext<ContactStore>"),
    ("handler_is_generic", "T"),
    ("handler_missing", "contacts"),
    ("interjection_without_time", "u64"),
    ("jitter_longer_than_every", "\"2s\""),
    ("list_handler_twice", "create"),
    ("list_not_a_handler", "helper"),
    ("list_payload_wrong", "Contact"),
    ("option_unknown_interjection", "evry"),
    ("option_unknown_source", "stor"),
    ("payload_without_codec", "Number"),
    ("payload_wrong", "Contact"),
    ("record_type_typo", "\"CreateContct\""),
    ("return_wrong", "Result<()>"),
    ("shared_missing_at_start", "start"),
    ("shared_not_declared", "App"),
    ("shared_wrong", "Other"),
    ("store_wrong", "EventContext<OtherStore>"),
    ("upcast_without_from", "String"),
    ("wire_name_twice", "\"Add\""),
];

#[test]
fn one_error_whose_place_is_the_wrong_token() {
    let found = errors(&project());
    let mut wrong = String::new();
    for (name, token) in MISTAKES {
        let found = found.get(name).map(Vec::as_slice).unwrap_or_default();
        if found != [token] {
            writeln!(wrong, "{name}: one error at `{token}`, and there are {found:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A package with a binary for each mistake, beside trybuild's, so that what they depend on is
/// checked once.
fn project() -> PathBuf {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = core.parent().unwrap();
    checked::compile_no_c();
    let project = checked::folder().join("tokens");
    fs::create_dir_all(&project).unwrap();
    let mut manifest = format!(
        "[package]\nname = \"tokens\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         schemars = \"1\"\nstreams-core = {{ path = {core:?} }}\n\n[workspace]\n"
    );
    for (name, _) in MISTAKES {
        let path = core.join(format!("tests/ui/fail/{name}.rs"));
        write!(manifest, "\n[[bin]]\nname = \"{name}\"\npath = {path:?}\n").unwrap();
    }
    fs::write(project.join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    project
}

/// trybuild's own: with the same flags, what the programs depend on is checked once for both.
const RUSTFLAGS: &str =
    r#"["--cfg", "trybuild", "--verbose", "-A", "dead_code", "--diagnostic-width=140"]"#;

/// By binary, the texts at the places of its errors.
fn errors(project: &Path) -> BTreeMap<String, Vec<String>> {
    let target = checked::host();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["check", "--bins", "--keep-going", "--offline", "--message-format=json"])
        .args(["--target", &target])
        .arg(format!("--config=build.rustflags={RUSTFLAGS}"))
        .arg(format!("--config=target.{target}.rustflags={RUSTFLAGS}"))
        .current_dir(project)
        .env_remove("RUSTFLAGS")
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TARGET_DIR", project.join("../trybuild"));
    let output = cargo.output().unwrap();
    let mut errors = BTreeMap::<String, Vec<String>>::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Value = serde_json::from_slice(line).unwrap();
        if message["reason"] != "compiler-message" || message["message"]["level"] != "error" {
            continue;
        }
        let spans = message["message"]["spans"].as_array().unwrap();
        let primary = spans.iter().filter(|span| span["is_primary"] == true);
        // The last word, "could not compile due to", has no place.
        let places: Vec<String> = primary.map(text_at).collect();
        let name = message["target"]["name"].as_str().unwrap().to_owned();
        errors.entry(name).or_default().extend(places);
    }
    assert!(!errors.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    errors
}

/// What is underlined, of the first line.
fn text_at(span: &Value) -> String {
    let line = &span["text"][0];
    let at = |name: &str| usize::try_from(line[name].as_u64().unwrap()).unwrap() - 1;
    let text: Vec<char> = line["text"].as_str().unwrap().chars().collect();
    text[at("highlight_start")..at("highlight_end")].iter().collect()
}
