//! What contract and routing cost to compile: a program of N record types, N payloads and N
//! handlers is checked with its handlers unrouted, collected by a module, and listed.
//!
//! `cargo run --release -p streams-benches --bin compile_time -- 100`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use streams_benches::measure::median;

const ROUNDS: usize = 5;
const HANDLERS_DEFAULT: usize = 100;

/// How the handlers are routed.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Not at all: what the program costs without. Payloads have serde's derives.
    Unrouted,
    Module,
    List,
}

fn main() -> Result<()> {
    let handlers = match env::args().nth(1) {
        Some(number) => number.parse().context("the number of handlers")?,
        None => HANDLERS_DEFAULT,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let project = root.join("target/compile-time");
    let mut unrouted = None;
    for form in [Form::Unrouted, Form::Module, Form::List] {
        write_project(root, &project, handlers, form)?;
        check(&project)?; // The dependencies are not counted.
        let seconds = (0..ROUNDS).map(|_| timed_check(&project)).collect::<Result<Vec<_>>>()?;
        let seconds = median(&seconds);
        let more = seconds - *unrouted.get_or_insert(seconds);
        println!("{handlers} handlers, {form:?}: {seconds:.2} s ({more:+.2} s)");
    }
    Ok(())
}

fn write_project(root: &Path, project: &Path, handlers: usize, form: Form) -> Result<()> {
    fs::create_dir_all(project)?;
    let core = root.join("streams-core");
    let manifest = format!(
        "[package]\nname = \"scale\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\
         streams-core = {{ path = {core:?} }}\n\n\
         [[bin]]\nname = \"scale\"\npath = \"main.rs\"\n\n[workspace]\n"
    );
    fs::write(project.join("Cargo.toml"), manifest)?;
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock"))?;
    fs::write(project.join("main.rs"), program(handlers, form)?)?;
    Ok(())
}

fn program(handlers: usize, form: Form) -> Result<String> {
    let mut text = String::from(
        "#![allow(dead_code)]\nuse serde::{Deserialize, Serialize};\n\
         use streams_core::prelude::*;\n",
    );
    for n in 0..handlers {
        let derives = match form {
            Form::Unrouted => "Serialize, Deserialize",
            Form::Module | Form::List => "EventCodec, Serialize, Deserialize",
        };
        writeln!(text, "#[derive({derives})]\nstruct P{n} {{ id: String, n: u64 }}")?;
    }
    text.push_str("#[derive(StateStore)]\nstruct S { t: Table<String, u64> }\n");
    if !matches!(form, Form::Unrouted) {
        text.push_str("#[derive(Events)]\nenum E {\n");
        for n in 0..handlers {
            writeln!(text, "    #[event(\"thing.{n}.v1\")]\n    V{n}(P{n}),")?;
        }
        text.push_str("}\n");
    }
    match form {
        Form::Unrouted => text.push_str("fn main() {}\n"),
        Form::Module => text.push_str(
            "fn main() { println!(\"{}\", source::Source::TABLE); }\n\
             #[event_source(events = E, store = S)]\nmod source {\nuse super::*;\n",
        ),
        Form::List => {
            let names: Vec<String> = (0..handlers).map(|n| format!("h{n}")).collect();
            writeln!(
                text,
                "fn main() {{ println!(\"{{}}\", Source::TABLE); }}\n\
                 #[event_source(events = E, store = S, handlers = [{}])]\nstruct Source;",
                names.join(", ")
            )?;
        }
    }
    for n in 0..handlers {
        if !matches!(form, Form::Unrouted) {
            writeln!(text, "#[event_handler(\"thing.{n}.v1\")]")?;
        }
        writeln!(
            text,
            "fn h{n}(ctx: &mut EventContext<S>, p: P{n}) -> Result<ExecutionState> {{\n    \
             ctx.store.t.put(p.id, p.n);\n    Ok(Complete)\n}}"
        )?;
    }
    if matches!(form, Form::Module) {
        text.push_str("}\n");
    }
    Ok(text)
}

fn timed_check(project: &Path) -> Result<f64> {
    let main: PathBuf = project.join("main.rs");
    let text = fs::read_to_string(&main)?;
    fs::write(&main, text)?; // It has changed, as far as cargo knows.
    let start = Instant::now();
    check(project)?;
    Ok(start.elapsed().as_secs_f64())
}

fn check(project: &Path) -> Result<()> {
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--quiet", "--offline"])
        .current_dir(project)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TARGET_DIR", project.join("target"))
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the program does not compile: see {}", project.display());
    Ok(())
}
