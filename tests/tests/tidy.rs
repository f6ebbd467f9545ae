//! The rules of the code, as tests: what is pure stays pure, and what is long is split.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;

/// Rooms and files that name no clock, no client, no threads and nothing asynchronous.
const PURE: &[&str] = &[
    "streams-core/src/record",
    "streams-core/src/codec",
    "streams-core/src/handler",
    "streams-core/src/store",
    "streams-core/src/eos",
    "streams-core/src/task",
    "streams-core/src/patience.rs",
    "streams-core/src/jobs/batches.rs",
    "streams-core/src/jobs/lanes.rs",
    "streams-core/src/global/positions.rs",
    "streams-core/src/group/assignor",
    "streams-core/src/group/member",
    "streams-core/src/jobs/durable/context.rs",
    "streams-core/src/jobs/durable/machine.rs",
    "streams-core/src/jobs/durable/pending.rs",
    "streams-core/src/jobs/durable/row.rs",
    "streams-core/src/group/user_data.rs",
    "streams-core/src/group/view",
    "streams-core/src/runtime/worker/mod.rs",
    "streams-core/src/runtime/worker/commands.rs",
    "streams-core/src/runtime/worker/events.rs",
    "streams-core/src/runtime/worker/inbox.rs",
    "streams-broker/src/cluster",
];

const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "rdkafka::",
    "async fn",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "Mutex",
    "thread::",
];

/// Kafka libraries are named here and nowhere else in `streams-core`.
const CLIENT: &str = "streams-core/src/client";
const KAFKA_LIBRARIES: &[&str] = &["rdkafka::", "kafka_protocol::"];

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("the workspace").to_owned()
}

/// All Rust files of the workspace, relative to its root, with their text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["streams-core", "streams-derive", "streams-broker", "examples", "tests", "benches"]
            .iter()
            .map(|member| root().join(member))
            .filter(|folder| folder.exists())
            .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("in the workspace");
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((name.display().to_string(), text));
            }
        }
    }
    assert!(found.len() > 40, "the sources were not found");
    found.sort();
    found
}

/// Returns the lines of a file that are not part of an item under `#[cfg(test)]`. An item ends with
/// the brace in the column where it begins, as rustfmt writes it, or with a semicolon.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            code += line;
            code.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let is_end = |line: &str| {
            let rest = line.strip_prefix(indent).unwrap_or("");
            let begins = !rest.starts_with([' ', '#']);
            begins && (rest.ends_with([';', ',']) || rest.ends_with('}'))
        };
        for line in lines.by_ref() {
            if is_end(line) {
                break;
            }
        }
    }
    code
}

#[test]
fn only_test_items_are_left_out_of_the_code() {
    let function =
        "    #[cfg(test)]\n    #[must_use]\n    fn c() {\n        if d {\n        }\n    }\n";
    let module = "#[cfg(test)]\nmod f {\n    fn g() {}\n}\n";
    let text = format!("a\n#[cfg(test)]\nmod tests;\nb\n{function}    e;\n{module}h\n");
    assert_eq!(code(&text), "a\nb\n    e;\nh\n");
}

fn check(rule: impl Fn(&str, &str) -> Vec<String>) {
    let broken: Vec<String> = sources()
        .iter()
        .flat_map(|(name, text)| rule(name, text).into_iter().map(move |e| format!("{name}: {e}")))
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn is_ui(name: &str) -> bool {
    name.contains("/ui/")
}

#[test]
fn every_file_says_what_it_is() {
    check(|name, text| match text.starts_with("//!") || is_ui(name) {
        true => vec![],
        false => vec!["it does not begin with //!".to_owned()],
    });
}

#[test]
fn files_and_lines_have_a_limit() {
    check(|_, text| {
        let lines = text.lines().count();
        let mut broken = Vec::new();
        if lines > FILE_LINES_MAX {
            broken.push(format!("{lines} lines, more than {FILE_LINES_MAX}"));
        }
        let long = |line: &&str| line.chars().count() > LINE_CHARS_MAX;
        if text.lines().any(|line| long(&line)) {
            let numbered = text.lines().enumerate().filter(|(_, line)| long(line));
            let numbers: Vec<usize> = numbered.map(|(number, _)| number + 1).collect();
            broken.push(format!("lines {numbers:?}: over {LINE_CHARS_MAX} characters"));
        }
        broken
    });
}

#[test]
fn functions_have_a_limit() {
    check(|_, text| {
        let lines: Vec<&str> = text.lines().collect();
        let mut broken = Vec::new();
        for (start, line) in lines.iter().enumerate() {
            let trimmed = line.trim_start();
            let is_function = trimmed.contains("fn ")
                && ["fn ", "pub", "const fn", "async fn", "unsafe fn"]
                    .iter()
                    .any(|begin| trimmed.starts_with(begin));
            if !is_function || line.ends_with(';') {
                continue;
            }
            let indent = &line[..line.len() - trimmed.len()];
            let end = format!("{indent}}}");
            let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0);
            if length > FUNCTION_LINES_MAX {
                broken.push(format!("line {}: a function of {length} lines", start + 1));
            }
        }
        broken
    });
}

#[test]
fn pure_rooms_stay_pure() {
    check(|name, text| {
        let pure = PURE.iter().any(|room| name.starts_with(room)) && !name.contains("tests");
        let words = IMPURE_WORDS.iter().filter(|word| pure && code(text).contains(**word));
        words.map(|word| format!("`{word}` in a pure room")).collect()
    });
}

#[test]
fn only_the_client_names_a_kafka_library() {
    check(|name, text| {
        let bound = name.starts_with("streams-core/src") && !name.starts_with(CLIENT);
        let words = KAFKA_LIBRARIES
            .iter()
            .filter(|word| bound && code(text).replace("client::rdkafka::", "").contains(**word));
        words.map(|word| format!("`{word}` outside {CLIENT}")).collect()
    });
}

#[test]
fn unsafe_stays_in_its_room() {
    check(|name, text| {
        let rooms = ["streams-core/src/client/rdkafka/ffi.rs", "streams-core/tests/"];
        let allowed = [rooms[0], rooms[1], "tests/", "benches/"];
        let here = text.contains("unsafe {") && !allowed.iter().any(|room| name.starts_with(room));
        if here { vec!["`unsafe` outside its room".to_owned()] } else { vec![] }
    });
}

/// The rooms whose modules promise guarantees, and how many each promises.
const GUARANTEES: [(&str, usize); 3] = [("EOS", 7), ("GRP", 4), ("BRK", 6)];

/// Returns the lines that are neither a comment nor documentation.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// A guarantee has one place that promises it, a test whose name begins with it (`brk1_..`; several
/// may stand in front of one name), and a check whose message names it.
#[test]
fn every_guarantee_has_a_test_and_a_check() {
    let sources = sources();
    let own = file!().rsplit('/').next().expect("a file's name");
    let others: Vec<_> = sources.iter().filter(|(name, _)| !name.ends_with(own)).collect();
    let mut missing = Vec::new();
    for (room, count) in GUARANTEES {
        for number in 1..=count {
            let id = format!("{room}-{number}");
            let promise = format!("**{id}**");
            let promised = others.iter().filter(|(_, text)| text.contains(&promise)).count();
            if promised != 1 {
                missing.push(format!("{id}: {promised} promises, and there should be one"));
            }
            let word = id.to_lowercase().replace('-', "");
            let is_named = |line: &str| {
                let name = line.trim_start().strip_prefix("fn ").and_then(|l| l.split('(').next());
                name.is_some_and(|name| name.split('_').any(|part| part == word))
            };
            let tested = others.iter().any(|(_, text)| {
                let lines: Vec<&str> = text.lines().collect();
                let marked = |line: &str| line.trim_start().starts_with("#[");
                (1..lines.len()).any(|at| is_named(lines[at]) && marked(lines[at - 1]))
            });
            if !tested {
                missing.push(format!("{id}: no test's name begins with `{word}_`"));
            }
            let checked = others
                .iter()
                .any(|(_, text)| statements(text).any(|line| line.contains(&format!("\"{id}"))));
            if !checked {
                missing.push(format!("{id}: no assertion's message begins with it"));
            }
        }
        let beyond = format!("**{room}-{}**", count + 1);
        let more = others.iter().any(|(_, text)| text.contains(&beyond));
        assert!(!more, "{beyond} is promised: count it in GUARANTEES");
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn the_readmes_program_is_the_compiled_one() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let example = fs::read_to_string(root().join("examples/contacts.rs")).expect("the example");
    let mut inside = false;
    let mut shown = String::new();
    for line in example.lines() {
        match line.trim() {
            "// README: begin" => inside = true,
            "// README: end" => inside = false,
            _ if inside => shown += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(shown.lines().count() < 40, "it has {} lines", shown.lines().count());
    assert!(readme.contains(shown.trim()), "README.md does not show examples/contacts.rs");
}
