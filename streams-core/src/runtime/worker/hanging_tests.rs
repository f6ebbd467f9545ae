//! A coordinator moves, and the clients that know the former one hang: each call costs its bound.

use super::planted_tests::World;

#[test]
fn one_producer_waits_for_a_former_coordinator_and_not_one_after_the_other() {
    let mut world = World::new();
    let mut a = world.owner("a");
    // Each slot has committed, and knows the coordinator.
    for _ in 0..3 {
        world.send();
        world.settle(&mut a);
    }
    world.cluster.lock().move_coordinator();
    for _ in 0..3 {
        world.send();
        world.settle(&mut a);
        // Beyond all back-offs.
        world.clock.0 += std::time::Duration::from_secs(1);
        world.settle(&mut a);
    }
    assert_eq!(world.counts(), [1, 2, 3, 4, 5, 6], "EOS-4: all of it once");
    assert_eq!(world.cluster.lock().hung(), 1, "calls that took their whole bound");
}
