//! What to do about the errors that the program finds itself, as `docs/errors.md` lists it.
//!
//! Tests include this file and compare it with the page. An error that knows more of its case says
//! that in place of what is here.

/// The advice for a code of the program's own, if there is any.
pub(crate) fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "config.syntax" => "`stt config` prints a file to begin with",
        "config.too_long" => "name the right file",
        "config.unknown_key" => "`stt config` prints all settings",
        "config.value" => "`stt config` says what each key takes",
        "demo.directory" => "free some space",
        "demo.process" => "free some memory",
        "demo.knock" => "check the loopback interface",
        "demo.ended" | "demo.node" | "file.io" | "up.call" => "see the cause",
        "demo.answered" | "demo.differs" | "demo.session" | "demo.silent" | "demo.words"
        | "seed.qr" => "report it",
        "demo.exit" | "log.start" => "read the message",
        "file.disk_full" => "free some space and run it again",
        "file.exists" => "choose another name, or move it",
        "file.not_found" => "check the name",
        "file.permission" => "check owner and mode",
        "interrupted" => "run the same again; a transfer goes on where it stopped",
        "node_seed.missing" => "use --node-seed-file, or set STT_NODE_SEED, or put something first",
        "node_seed.no_home" => "use --node-seed-file, or set STT_NODE_SEED",
        "password.empty" => "give one",
        "password.mismatch" => "nothing was written; run it again",
        "password.missing" => "use --password-file, or set STT_PASSWORD",
        "ping.no_answer" => "it answered before: is it still there, and the network between?",
        "pub.unconfirmed" => {
            "it may have arrived: subscribers see a message that is published again"
        }
        "seed.missing" => {
            "make one with `stt seed new --out FILE`, then use --seed-file FILE or STT_SEED"
        }
        "seed.text" => "copy the file itself",
        "share.unknown" => "see what it shares",
        "store.runtime" | "system.runtime" => "free some memory",
        "ticket.qr" => "copy it as text",
        "transfer.version" => "update the other side",
        "up.no_answer" => "see what it printed, or restart it",
        "up.not_running" => "start one with `stt up`",
        "up.path" => "rename it to a name in UTF-8, or do it without --dir",
        "up.record" => "does another version of stt run there? use that one, or restart it",
        "up.running" => "`stt status` shows it; choose another directory for another node",
        "up.stopping" => "start it again",
        "usage.arguments" => "--help shows what each command takes",
        "usage.decoy_password" => "give one for each",
        "usage.json_pipe" => "write to a file with -o FILE",
        "usage.listen" => "for example 0.0.0.0:9337, or [::]:9337 for IPv6",
        "usage.log" => "for example `warn`, or `warn,stt_swarm=debug`",
        "usage.name" => "do it one by one",
        "usage.node_seed" => "leave --node-seed-file out",
        "usage.quota" => "leave --quota out",
        "usage.no_swarm" => "leave out either `no_swarm` or `bootstrap`",
        "usage.output" => "say where to with -o",
        "usage.terminal" => "redirect it, name a file with -o FILE, or insist with -o -",
        _ => return None,
    })
}
