//! Writes a copy of the hand-over that has faults, each of which can be switched on: the model must
//! find them. A fault whose place is no longer in the file stops the build.

use std::{env, fs, path::Path};

const HANDOVER: &str = "../crates/stt-transport/src/wire/engine/handover.rs";

/// Name, and what stands in place of what.
const FAULTS: &[(&str, &[(&str, &str)])] = &[
    (
        "calls before it queues",
        &[
            (
                "let mut waiting = self.waiting.lock();",
                "if crate::has(FAULT) { self.call(); } let mut waiting = self.waiting.lock();",
            ),
            (
                "drop(waiting);\n        self.call();",
                "drop(waiting); if !crate::has(FAULT) { self.call(); }",
            ),
        ],
    ),
    (
        "looks before it can be called",
        &[
            (
                "self.expect_calls(cx);\n        loop",
                "if !crate::has(FAULT) { self.expect_calls(cx); } loop",
            ),
            (
                "let next = moved.as_ref()",
                "if crate::has(FAULT) { self.expect_calls(cx); } let next = moved.as_ref()",
            ),
        ],
    ),
    (
        "does not look again",
        &[(
            "!self.waiting.lock().is_empty()\n    }",
            "!crate::has(FAULT) && !self.waiting.lock().is_empty() }",
        )],
    ),
    (
        "overtakes what waits",
        &[(
            "held.taken.is_empty() && self.waiting.lock().is_empty();",
            "crate::has(FAULT) || held.taken.is_empty() && self.waiting.lock().is_empty();",
        )],
    ),
    (
        "overtakes what is being worked on",
        &[("held.taken.is_empty() && ", "(crate::has(FAULT) || held.taken.is_empty()) && ")],
    ),
    (
        "volunteers during the handshake",
        &[(
            "E::takes_volunteers(&held.state)",
            "(crate::has(FAULT) || E::takes_volunteers(&held.state))",
        )],
    ),
    ("leaves what is stuck", &[("turn.stuck ||", "(turn.stuck && !crate::has(FAULT)) ||")]),
    (
        "leaves what takes another turn",
        &[(
            "is_none_or(|turn| turn.again ||",
            "is_none_or(|turn| (turn.again && !crate::has(FAULT)) ||",
        )],
    ),
    ("tells no end", &[("turn.over || held", "(turn.over && !crate::has(FAULT)) || held")]),
    (
        "sets no earlier alarm",
        &[("held.oversleeps(turn.next)", "(!crate::has(FAULT) && held.oversleeps(turn.next))")],
    ),
    (
        "forgets that the alarm rang",
        &[(
            "self.lock().alarm = None;",
            "if crate::has(FAULT) { return Poll::Pending; } self.lock().alarm = None;",
        )],
    ),
    (
        "leaves the end to nobody",
        &[(
            "wakes.wake();\n        self.call();",
            "wakes.wake(); if !crate::has(FAULT) { self.call(); }",
        )],
    ),
    (
        "wakes nobody at the end",
        &[(
            "self.engine.end(&mut held.state, reason, wakes);",
            "if !crate::has(FAULT) { self.engine.end(&mut held.state, reason, wakes); }",
        )],
    ),
    ("moves what is broken", &[("if held.broken {", "if held.broken && !crate::has(FAULT) {")]),
];

fn main() {
    println!("cargo:rerun-if-changed={HANDOVER}");
    println!("cargo:rerun-if-changed=build.rs");
    let text = fs::read_to_string(HANDOVER).expect("the hand-over is where it was");
    let mut text: String = text
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .map(|line| format!("{line}\n"))
        .collect();
    for (name, edits) in FAULTS {
        for (from, to) in *edits {
            assert_eq!(text.matches(from).count(), 1, "{name}: {from:?} is there once");
            text = text.replace(from, &to.replace("FAULT", &format!("{name:?}")));
        }
    }
    let out = env::var("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&out).join("broken.rs"), text).expect("the copy can be written");
}
