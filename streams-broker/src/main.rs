//! The broker on its own:
//! `cargo run -p streams-broker -- --listen 127.0.0.1:9092 --topic events:4`.

use std::process::ExitCode;

use streams_broker::Broker;

const USAGE: &str = "usage: streams-broker [--listen ADDRESS] [--topic NAME:PARTITIONS].. \
                     [--auto-create-topics]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut builder = Broker::builder().listen("127.0.0.1:9092");
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        builder = match argument.as_str() {
            "--listen" => builder.listen(value()?),
            "--topic" => {
                let topic = value()?;
                let (name, partitions) = topic.split_once(':').unwrap_or((&topic, "1"));
                let partitions = partitions
                    .parse()
                    .map_err(|_| format!("`{topic}`: the partitions are no number\n{USAGE}"))?;
                builder.topic(name, partitions)
            }
            "--auto-create-topics" => builder.auto_create_topics(true),
            other => return Err(format!("`{other}` is not known\n{USAGE}")),
        };
    }
    let broker = builder.start().map_err(|error| error.to_string())?;
    eprintln!("listening at {}; end with Ctrl-C", broker.bootstrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(tokio::signal::ctrl_c()).map_err(|error| error.to_string())
}
