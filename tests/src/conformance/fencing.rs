//! Transactional ids: who owns one, and what becomes of those who don't any more.

use anyhow::Result;

use super::ctx::{Ctx, Producer, wait};
use super::groups::Speaker;
use super::logs::{Committed, LATEST, PRODUCE_V2, Uncommitted};
use super::producers::{TXN_OFFSETS, TXN_OFFSETS_V2, init_request};
use super::records::Batch;

super::named!("fencing":
    a_second_owner_gets_the_next_epoch,
    a_second_owner_aborts_the_first_ones_transaction,
    the_first_answer_to_a_second_owner,
    the_first_owner_can_do_nothing,
    the_first_owner_can_do_nothing_in_version_2,
    an_older_client_hears_another_error,
    an_owner_goes_on_under_its_own_epoch,
    an_owner_that_was_fenced_goes_on,
    an_owner_repeats_its_bump,
    a_producer_id_that_is_not_the_owners,
    an_id_that_was_never_initialised,
    an_empty_transactional_id,
    a_higher_epoch_than_the_owners,
    other_ids_are_not_touched,
    a_fenced_batch_leaves_the_log_alone,
);

fn a_second_owner_gets_the_next_epoch(ctx: &mut Ctx) -> Result<()> {
    let id = ctx.name("id");
    for owner in ["first", "second", "third"] {
        ctx.init(owner, 4, &init_request(Some(&id), 60_000))?;
    }
    ctx.init("another id", 4, &init_request(Some(&ctx.name("other")), 60_000))?;
    ctx.init("no id", 4, &init_request(None, 60_000))?;
    ctx.init("no id again", 4, &init_request(None, 0))?;
    Ok(())
}

fn a_second_owner_aborts_the_first_ones_transaction(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let first = ctx.transactional("id")?;
    ctx.begin(&first, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&first, 0))?;
    let id = ctx.name("id");
    ctx.init("second", 4, &init_request(Some(&id), 60_000))?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn the_first_answer_to_a_second_owner(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let first = ctx.transactional("id")?;
    ctx.begin(&first, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&first, 0))?;
    let request = init_request(Some(&ctx.name("id")), 60_000);
    let (answer, producer) = ctx.initialise_once(4, &request)?;
    ctx.say_producer("at once", answer, &producer);
    ctx.settle(&topic, 0)?;
    ctx.init("later", 4, &request)?;
    Ok(())
}

/// Two owners of one id, the first one with a transaction that the second one aborted.
fn two_owners(ctx: &mut Ctx) -> Result<(String, Producer, Producer)> {
    let topic = ctx.topic("t", 1)?;
    let first = ctx.transactional("id")?;
    ctx.begin(&first, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&first, 0))?;
    let second = ctx.transactional("id")?;
    ctx.settle(&topic, 0)?;
    Ok((topic, first, second))
}

fn the_first_owner_can_do_nothing(ctx: &mut Ctx) -> Result<()> {
    let (topic, first, second) = two_owners(ctx)?;
    let group = ctx.name("g");
    ctx.produce("produce", &topic, 0, &Batch::of(["b"]).by(&first, 1))?;
    let added = ctx.add_partitions(3, &first, &topic, &[0])?;
    ctx.say_partitions("add partitions", &added);
    ctx.add_offsets("add offsets", &first, &group)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS, "commit offsets", &first, &nobody, (&topic, 0, 1))?;
    ctx.end("commit", &first, true)?;
    ctx.end("abort", &first, false)?;
    ctx.begin(&second, &topic, &[0])?;
    ctx.produce("the second owner produces", &topic, 0, &Batch::of(["c"]).by(&second, 0))?;
    ctx.end("and commits", &second, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn the_first_owner_can_do_nothing_in_version_2(ctx: &mut Ctx) -> Result<()> {
    let (topic, mut first, mut second) = two_owners(ctx)?;
    let group = ctx.name("g");
    let batch = Batch::of(["b"]).by(&first, 1);
    ctx.produce_in(PRODUCE_V2, "produce", &topic, 0, &batch)?;
    let nobody = Speaker::nobody(&group);
    ctx.txn_offsets(TXN_OFFSETS_V2, "commit offsets", &first, &nobody, (&topic, 0, 1))?;
    ctx.end_v2("commit", &mut first, true)?;
    let batch = Batch::of(["c"]).by(&second, 0);
    ctx.produce_in(PRODUCE_V2, "the second owner produces", &topic, 0, &batch)?;
    ctx.end_v2("and commits", &mut second, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn an_older_client_hears_another_error(ctx: &mut Ctx) -> Result<()> {
    let (topic, first, _) = two_owners(ctx)?;
    for version in 0..=3 {
        let added = ctx.add_partitions(version, &first, &topic, &[0])?;
        ctx.say_partitions(&format!("add partitions, version {version}"), &added);
    }
    let mut request = init_request(Some(&ctx.name("id")), 60_000);
    request.producer_id = first.id.into();
    request.producer_epoch = first.epoch;
    for version in 3..=4 {
        let (answer, producer) = ctx.initialise(version, &request)?;
        ctx.say_producer(&format!("initialise, version {version}"), answer, &producer);
    }
    Ok(())
}

fn an_owner_goes_on_under_its_own_epoch(ctx: &mut Ctx) -> Result<()> {
    let owner = ctx.transactional("id")?;
    ctx.say_producer("owner", 0, &owner);
    let mut request = init_request(Some(&ctx.name("id")), 60_000);
    request.producer_id = owner.id.into();
    request.producer_epoch = owner.epoch;
    ctx.init("with its id and epoch", 4, &request)?;
    ctx.init("and the epoch before, again", 4, &request)?;
    request.producer_epoch = 1;
    ctx.init("with the next epoch", 4, &request)?;
    Ok(())
}

fn an_owner_that_was_fenced_goes_on(ctx: &mut Ctx) -> Result<()> {
    let (_, first, second) = two_owners(ctx)?;
    let mut request = init_request(Some(&ctx.name("id")), 60_000);
    request.producer_id = first.id.into();
    request.producer_epoch = first.epoch;
    ctx.init("the first owner's epoch", 4, &request)?;
    request.producer_epoch = second.epoch;
    ctx.init("the second owner's epoch", 4, &request)?;
    Ok(())
}

fn an_owner_repeats_its_bump(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let owner = ctx.transactional("id")?;
    ctx.begin(&owner, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&owner, 0))?;
    let mut request = init_request(Some(&ctx.name("id")), 60_000);
    request.producer_id = owner.id.into();
    request.producer_epoch = owner.epoch;
    ctx.init("with a transaction open", 4, &request)?;
    ctx.init("again", 4, &request)?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn a_producer_id_that_is_not_the_owners(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let owner = ctx.transactional("id")?;
    let other = Producer { id: owner.id + 100_000, ..owner };
    let group = ctx.name("g");
    let added = ctx.add_partitions(3, &other, &topic, &[0])?;
    ctx.say_partitions("add partitions", &added);
    ctx.add_offsets("add offsets", &other, &group)?;
    ctx.end("commit", &other, true)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&other, 0))?;
    let mut request = init_request(Some(&ctx.name("id")), 60_000);
    (request.producer_id, request.producer_epoch) = (other.id.into(), other.epoch);
    ctx.init("initialise", 4, &request)?;
    Ok(())
}

fn an_id_that_was_never_initialised(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let known = ctx.transactional("id")?;
    let stranger = Producer { transactional_id: Some(ctx.name("stranger")), ..known };
    let group = ctx.name("g");
    let added = ctx.add_partitions(3, &stranger, &topic, &[0])?;
    ctx.say_partitions("add partitions", &added);
    ctx.add_offsets("add offsets", &stranger, &group)?;
    ctx.end("commit", &stranger, true)?;
    ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&stranger, 0))?;
    let mut request = init_request(Some(&ctx.name("stranger")), 60_000);
    (request.producer_id, request.producer_epoch) = (stranger.id.into(), stranger.epoch);
    ctx.init("initialise with an id and an epoch", 4, &request)?;
    Ok(())
}

fn an_empty_transactional_id(ctx: &mut Ctx) -> Result<()> {
    ctx.init("initialise", 4, &init_request(Some(""), 60_000))?;
    Ok(())
}

fn a_higher_epoch_than_the_owners(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let owner = ctx.transactional("id")?;
    let ahead = owner.in_epoch(owner.epoch + 3);
    let added = ctx.add_partitions(3, &ahead, &topic, &[0])?;
    ctx.say_partitions("add partitions", &added);
    ctx.end("commit", &ahead, true)?;
    ctx.begin(&owner, &topic, &[0])?;
    ctx.produce("produce", &topic, 0, &Batch::of(["a"]).by(&ahead, 0))?;
    ctx.produce("the owner produces", &topic, 0, &Batch::of(["b"]).by(&owner, 0))?;
    ctx.log("log", &topic, 0)
}

fn other_ids_are_not_touched(ctx: &mut Ctx) -> Result<()> {
    let topic = ctx.topic("t", 1)?;
    let (one, _) = (ctx.transactional("one")?, ctx.transactional("other")?);
    ctx.begin(&one, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["a"]).by(&one, 0))?;
    ctx.transactional("other")?;
    ctx.end("commit", &one, true)?;
    ctx.settle(&topic, 0)?;
    ctx.read("log", &topic, 0, 0, Committed)
}

fn a_fenced_batch_leaves_the_log_alone(ctx: &mut Ctx) -> Result<()> {
    let (topic, first, second) = two_owners(ctx)?;
    ctx.begin(&second, &topic, &[0])?;
    ctx.fill(&topic, 0, &Batch::of(["b"]).by(&second, 0))?;
    ctx.produce("the first owner", &topic, 0, &Batch::of(["late"]).by(&first, 1))?;
    ctx.end("the second commits", &second, true)?;
    wait("the second's marker", || {
        let end = ctx.offset_at(&topic, 0, LATEST, Uncommitted)?;
        Ok((end.offset == 4).then_some(()))
    })?;
    ctx.read("log", &topic, 0, 0, Committed)
}
