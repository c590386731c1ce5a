//! The hand-over in all orders in which two volunteers and the task can meet, with as many
//! preemptions as `LOOM_MAX_PREEMPTIONS` says. Without a bound some cases do not end within minutes.

#[path = "../../crates/stt-transport/src/wire/engine/handover.rs"]
mod handover;
#[allow(dead_code, reason = "crowds are too many for all orders")]
mod laws;
use model::in_loom as sync;
#[path = "../../crates/stt-transport/src/waker_list.rs"]
mod waker_list;

macro_rules! in_all_orders {
    ($($case:ident)*) => {
        $(#[test]
        fn $case() {
            loom::model(laws::$case);
        })*
    };
}

in_all_orders!(
    two_receivers a_handshake a_receiver_and_a_writer a_receiver_and_a_caller a_burst too_much
    no_room another_turn alarms closing a_farewell a_panic
);
