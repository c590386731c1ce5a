//! The hand-over among more volunteers than all orders can be tried with: orders are drawn.
//! `MODEL_SCHEDULES` says how many.

#[path = "../../crates/stt-transport/src/wire/engine/handover.rs"]
mod handover;
#[allow(dead_code, reason = "the rest is for all orders")]
mod laws;
use model::in_shuttle as sync;
#[path = "../../crates/stt-transport/src/waker_list.rs"]
mod waker_list;

/// Half of them at random, half with few changes of threads.
fn in_many_orders(case: impl Fn() + Clone + Send + Sync + 'static) {
    let schedules = std::env::var("MODEL_SCHEDULES").map_or(2_000, |count| count.parse().unwrap());
    shuttle::check_random(case.clone(), schedules / 2);
    shuttle::check_pct(case, schedules / 2, 4);
}

#[test]
fn a_crowd() {
    in_many_orders(laws::a_crowd);
}

#[test]
fn a_crowd_that_ends() {
    in_many_orders(|| laws::a_crowd_that_ends(false));
}

#[test]
fn a_crowd_with_a_panic() {
    in_many_orders(|| laws::a_crowd_that_ends(true));
}
