//! The model finds what is wrong: `build.rs` has the faults.

mod handover {
    include!(concat!(env!("OUT_DIR"), "/broken.rs"));
}
#[allow(dead_code, reason = "not each has a fault of its own")]
mod laws;
use model::in_loom as sync;
#[path = "../../crates/stt-transport/src/waker_list.rs"]
mod waker_list;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    /// Loom's threads are all of this one.
    static FAULT: Cell<&'static str> = const { Cell::new("") };
}

fn has(fault: &str) -> bool {
    FAULT.get() == fault
}

fn finds(fault: &'static str, case: fn()) {
    FAULT.set(fault);
    let found = catch_unwind(AssertUnwindSafe(|| loom::model(case)));
    assert!(found.is_err(), "nobody notices: {fault}");
}

macro_rules! faults {
    ($($test:ident: $fault:literal in $case:ident;)*) => {
        $(#[test]
        fn $test() {
            finds($fault, laws::$case);
        })*
    };
}

faults! {
    a_call_too_early: "calls before it queues" in two_receivers;
    a_look_too_early: "looks before it can be called" in a_receiver_and_a_caller;
    no_second_look: "does not look again" in a_burst;
    a_volunteer_before_what_waits: "overtakes what waits" in two_receivers;
    a_volunteer_amid_a_burst: "overtakes what is being worked on" in a_burst;
    a_volunteer_too_early: "volunteers during the handshake" in a_handshake;
    nobody_for_room: "leaves what is stuck" in no_room;
    nobody_for_the_next_turn: "leaves what takes another turn" in another_turn;
    nobody_for_the_end: "tells no end" in a_farewell;
    a_late_alarm: "sets no earlier alarm" in alarms;
    one_alarm_only: "forgets that the alarm rang" in alarms;
    a_close_without_a_turn: "leaves the end to nobody" in closing;
    a_close_that_nobody_hears: "wakes nobody at the end" in closing;
    a_turn_after_a_panic: "moves what is broken" in a_panic;
}
