//! What is no request: the broker says so as far as it can, and harms nobody else.

use anyhow::Result;
use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use kafka_protocol::protocol::Request;

use super::ctx::{Ctx, code};
use super::logs::{FETCH, PRODUCE, Uncommitted, fetch_request, produce_request};
use super::records::Batch;

super::named!("malformed":
    an_unknown_api,
    a_version_too_low,
    a_version_too_high,
    a_header_cut_off,
    a_body_cut_off,
    an_array_longer_than_the_request,
    a_negative_array_length,
    bytes_behind_the_request,
    an_empty_frame,
    others_go_on,
    requests_of_other_kinds_of_nodes,
);

/// Sends a body, and writes whether there is a reply.
fn send(ctx: &mut Ctx, label: &str, (api, version): (i16, i16), body: &[u8]) -> Result<()> {
    let mut connection = ctx.connect()?;
    connection.send_body(api, version, 1, body)?;
    let answer = connection.receive_frame();
    ctx.outcome(label, &answer, |_| "a reply".to_owned());
    Ok(())
}

fn an_unknown_api(ctx: &mut Ctx) -> Result<()> {
    for api in [-1, 4, 7, 999] {
        send(ctx, &format!("API {api}"), (api, 0), &[])?;
    }
    Ok(())
}

fn a_version_too_low(ctx: &mut Ctx) -> Result<()> {
    for (name, api, version) in
        [("Fetch", 1, 3), ("Metadata", 3, -1), ("Produce", 0, -1), ("CreateTopics", 19, 1)]
    {
        send(ctx, &format!("{name} {version}"), (api, version), &[0; 20])?;
    }
    Ok(())
}

fn a_version_too_high(ctx: &mut Ctx) -> Result<()> {
    for (name, api) in [("Produce", 0), ("Fetch", 1), ("Metadata", 3), ("EndTxn", 26)] {
        send(ctx, &format!("{name} 99"), (api, 99), &[0; 20])?;
    }
    Ok(())
}

fn a_header_cut_off(ctx: &mut Ctx) -> Result<()> {
    for length in [1_u8, 4, 7, 8] {
        let mut connection = ctx.connect()?;
        let mut frame = vec![0, 0, 0, length];
        frame.extend_from_slice(&[0, 3, 0, 1, 0, 0, 0, 1][..usize::from(length)]);
        connection.write(&frame)?;
        let answer = connection.receive_frame();
        ctx.outcome(&format!("{length} bytes"), &answer, |_| "a reply".to_owned());
    }
    Ok(())
}

fn body<R: Request>(request: &R, version: i16) -> Result<BytesMut> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version)?;
    Ok(body)
}

fn a_body_cut_off(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let fetch = body(&fetch_request(&topic, 0, 0, Uncommitted), 11)?;
    let produce = body(&produce_request(&topic, 0, &Batch::of(["a"])), 8)?;
    for (name, api, whole) in [("Fetch", (1, 11), &fetch), ("Produce", (0, 8), &produce)] {
        for left in [0, 5, whole.len() - 1] {
            let label = format!("{name}, {} bytes short", whole.len() - left);
            let label = if left == 0 { format!("{name}, nothing") } else { label };
            // Lengths of names differ from run to run.
            let label = if left == 5 { format!("{name}, 5 bytes") } else { label };
            send(ctx, &label, api, &whole[..left])?;
        }
    }
    ctx.log("log", &topic, 0)
}

fn an_array_longer_than_the_request(ctx: &mut Ctx) -> Result<()> {
    let mut metadata = BytesMut::new();
    metadata.put_i32(i32::MAX);
    send(ctx, "Metadata 1", (3, 1), &metadata)?;
    let mut produce = BytesMut::new();
    produce.put_i16(-1);
    produce.put_i16(-1);
    produce.put_i32(1_000);
    produce.put_i32(1_000_000_000);
    send(ctx, "Produce 3", (0, 3), &produce)
}

fn a_negative_array_length(ctx: &mut Ctx) -> Result<()> {
    let mut heartbeat = BytesMut::new();
    heartbeat.put_i16(-5);
    send(ctx, "Heartbeat 0, a text of -5 bytes", (12, 0), &heartbeat)?;
    let mut metadata = BytesMut::new();
    metadata.put_i32(-7);
    send(ctx, "Metadata 0, -7 topics", (3, 0), &metadata)
}

fn bytes_behind_the_request(ctx: &mut Ctx) -> Result<()> {
    let mut whole = body(&MetadataRequest::default().with_topics(Some(vec![])), 1)?;
    whole.put_slice(b"more");
    send(ctx, "Metadata 1", (3, 1), &whole)
}

fn an_empty_frame(ctx: &mut Ctx) -> Result<()> {
    let mut connection = ctx.connect()?;
    connection.write(&[0, 0, 0, 0])?;
    let answer = connection.receive_frame();
    ctx.outcome("no bytes", &answer, |_| "a reply".to_owned());
    Ok(())
}

fn others_go_on(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let mut good = ctx.connect()?;
    send(ctx, "nonsense", (999, 0), b"nonsense")?;
    let response =
        good.call::<ProduceRequest>(PRODUCE, &produce_request(&topic, 0, &Batch::of(["a"])))?;
    let answer = response.responses[0].partition_responses[0].error_code;
    ctx.say(format!("another connection: {}", code(answer)));
    // What was asked before the nonsense is answered.
    let mut connection = ctx.connect()?;
    connection.send::<FetchRequest>(FETCH, &fetch_request(&topic, 0, 0, Uncommitted))?;
    let first = connection.receive::<FetchRequest>(FETCH);
    ctx.outcome("before the nonsense", &first, |r| code(r.error_code));
    connection.send_body(999, 0, 1, &[])?;
    let answer = connection.receive_frame();
    ctx.outcome("the nonsense", &answer, |_| "a reply".to_owned());
    let hello = ctx.call(0, &ApiVersionsRequest::default())?;
    ctx.say(format!("a new connection: {}", code(hello.error_code)));
    Ok(())
}

fn requests_of_other_kinds_of_nodes(ctx: &mut Ctx) -> Result<()> {
    // Vote, BrokerRegistration, AllocateProducerIds: between brokers and controllers.
    for api in [52, 62, 67] {
        send(ctx, &format!("API {api}"), (api, 0), &[0; 8])?;
    }
    Ok(())
}
