//! Drives a [`Member`]: one request at a time, the clock, and the runtime's commands.

use std::time::{Instant, SystemTime};

use tokio::sync::mpsc;

use super::{GroupEvent, GroupTransport, Member, Partitions};

/// What the runtime tells the member.
#[derive(Debug)]
pub enum GroupCommand {
    /// No commit is on its way: JoinGroup need not wait any longer. Of the outgoing partitions
    /// these stand still, with nothing in a transaction. With the number that `Rejoining` had.
    Held(u64, Partitions),
    /// These revoked partitions are drained; with the last generation that the runtime has heard
    /// of.
    Acknowledge(Partitions, i32),
    /// These warm copies have caught up. Several of one moment cost one rebalance.
    Warmed(Partitions),
    /// These copies can't be made here: another member is asked. With the reason.
    WarmFailed(Partitions, String),
    /// The topic has so many partitions that can be used. If these are more than the plan knows,
    /// the leader begins a rebalance; another member does if the leader has not done it until this
    /// command comes again.
    Partitions(String, i32),
    /// Prove that the coordinator still counts on this member: `Confirmed` repeats the number, or
    /// `Lost` comes instead.
    Confirm(u64),
    /// Give all partitions away one by one, to members that are warm; `Drained` comes when that
    /// is done, or can't be.
    Drain,
    /// Leave the group at once.
    Leave,
}

/// Runs the member until it has left, or failed.
pub async fn run(
    mut member: Member,
    mut transport: impl GroupTransport,
    mut commands: mpsc::UnboundedReceiver<GroupCommand>,
    mut on_event: impl FnMut(GroupEvent),
) {
    let mut is_open = true;
    while !member.is_ended() {
        let request = member.poll_request(Instant::now());
        while let Some(event) = member.poll_event() {
            on_event(event);
        }
        if let Some(request) = request {
            let mut call = std::pin::pin!(transport.call(request));
            // Commands are taken and the clock is looked at while a request is in flight: a
            // JoinGroup may wait for others for as long as the rebalance timeout, and a heartbeat
            // for a broker that is gone.
            while member.is_waiting() {
                let wake = sleep_until(member.poll_timeout());
                tokio::select! {
                    biased;
                    reply = &mut call => {
                        member.handle_reply(Instant::now(), reply);
                        break;
                    }
                    command = commands.recv(), if is_open => {
                        is_open = command.is_some();
                        handle(&mut member, command);
                    }
                    () = wake => member.handle_timeout(Instant::now()),
                }
                while let Some(event) = member.poll_event() {
                    on_event(event);
                }
            }
        } else {
            tokio::select! {
                () = sleep_until(member.poll_timeout()) => {}
                command = commands.recv(), if is_open => {
                    is_open = command.is_some();
                    handle(&mut member, command);
                }
            }
        }
        // What has come in together is looked at together.
        while let Ok(command) = commands.try_recv() {
            handle(&mut member, Some(command));
        }
        member.handle_timeout(Instant::now());
        while let Some(event) = member.poll_event() {
            on_event(event);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn handle(member: &mut Member, command: Option<GroupCommand>) {
    let now = Instant::now();
    match command {
        Some(GroupCommand::Held(hold, released)) => member.held(now, hold, &released),
        Some(GroupCommand::Acknowledge(partitions, generation)) => {
            member.acknowledge_revoked(now, &partitions, generation);
        }
        Some(GroupCommand::Warmed(partitions)) => member.warmed(now, &partitions),
        Some(GroupCommand::WarmFailed(partitions, reason)) => {
            member.warm_failed(now, &partitions, &reason);
        }
        Some(GroupCommand::Partitions(topic, count)) => member.grown(now, &topic, count),
        Some(GroupCommand::Confirm(question)) => member.confirm(now, question),
        Some(GroupCommand::Drain) => member.drain(now, SystemTime::now()),
        // A runtime that is gone wants nothing more of the group.
        Some(GroupCommand::Leave) | None => member.leave(now),
    }
}
