//! Drives a [`Member`]: one request at a time, the clock, and the runtime's commands.

use std::time::Instant;

use tokio::sync::mpsc;

use super::{GroupEvent, GroupTransport, Member, Partitions};

/// What the runtime tells the member.
#[derive(Debug)]
pub enum GroupCommand {
    /// These revoked partitions are drained.
    Acknowledge(Partitions),
    /// Leave the group.
    Leave,
}

/// Runs the member until it has left, or failed.
pub async fn run(
    mut member: Member,
    mut transport: impl GroupTransport,
    mut commands: mpsc::UnboundedReceiver<GroupCommand>,
    mut on_event: impl FnMut(GroupEvent),
) {
    while !member.is_ended() {
        let request = member.poll_request(Instant::now());
        while let Some(event) = member.poll_event() {
            on_event(event);
        }
        if let Some(request) = request {
            let mut call = std::pin::pin!(transport.call(request));
            // Commands are taken while a request is in flight: a JoinGroup may wait for others for
            // as long as the rebalance timeout.
            loop {
                tokio::select! {
                    biased;
                    reply = &mut call => {
                        member.handle_reply(Instant::now(), reply);
                        break;
                    }
                    command = commands.recv() => {
                        if handle(&mut member, command) {
                            break;
                        }
                    }
                }
            }
        } else {
            let wake = member.poll_timeout().map(tokio::time::Instant::from_std);
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                command = commands.recv() => drop(handle(&mut member, command)),
            }
        }
        member.handle_timeout(Instant::now());
        while let Some(event) = member.poll_event() {
            on_event(event);
        }
    }
}

/// Returns whether the request in flight counts no more.
fn handle(member: &mut Member, command: Option<GroupCommand>) -> bool {
    let now = Instant::now();
    match command {
        Some(GroupCommand::Acknowledge(partitions)) => {
            member.acknowledge_revoked(now, &partitions);
            false
        }
        // A runtime that is gone wants nothing more of the group.
        Some(GroupCommand::Leave) | None => {
            member.leave(now);
            true
        }
    }
}
