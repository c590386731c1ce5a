//! `stt encrypt`, `stt decrypt` and `stt inspect` as a person runs them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with two password files and something to encrypt.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pw"), "correct horse\n").unwrap();
    fs::write(dir.path().join("other"), "battery staple\n").unwrap();
    fs::write(dir.path().join("note"), "the real thing").unwrap();
    fs::write(dir.path().join("list"), "milk and eggs").unwrap();
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stt"));
    command.args(args).current_dir(dir).env_remove("STT_PASSWORD").stdin(Stdio::null());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn there_and_back_with_a_decoy() {
    let dir = place();
    let dir = dir.path();
    let made = run(
        dir,
        &[
            "--json",
            "encrypt",
            "note",
            "--password-file",
            "pw",
            "--decoy",
            "list",
            "--decoy-password-file",
            "other",
        ],
    );
    assert!(made.status.success(), "{}", stderr(&made));
    let report: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(report["file"], "note.stc");
    assert!((4..=8).contains(&report["slots"].as_u64().unwrap()));

    let shown = run(dir, &["--json", "inspect", "note.stc"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["slots"], report["slots"]);
    assert_eq!(shown["complete"], true);

    // The name is taken by the original.
    let refused = run(dir, &["decrypt", "note.stc", "--password-file", "pw"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("file.exists"), "{}", stderr(&refused));

    for (password, expected) in [("pw", "the real thing"), ("other", "milk and eggs")] {
        let opened = run(
            dir,
            &["decrypt", "note.stc", "-o", password_out(password), "--password-file", password],
        );
        assert!(opened.status.success(), "{}", stderr(&opened));
        assert_eq!(fs::read_to_string(dir.join(password_out(password))).unwrap(), expected);
    }

    let wrong = run(dir, &["decrypt", "note.stc", "-o", "x", "--password-file", "note"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(stderr(&wrong).contains("envelope.nothing_opens"), "{}", stderr(&wrong));
    assert!(!dir.join("x").exists());

    let mut bytes = fs::read(dir.join("note.stc")).unwrap();
    bytes.pop();
    fs::write(dir.join("cut.stc"), bytes).unwrap();
    let cut = run(dir, &["--json", "decrypt", "cut.stc", "--password-file", "pw"]);
    assert_eq!(cut.status.code(), Some(4));
    let error: Value = serde_json::from_slice(&cut.stdout).unwrap();
    assert_eq!(error["error"]["code"], "envelope.truncated");
    assert!(!dir.join("cut").exists());
}

fn password_out(password: &str) -> &'static str {
    if password == "pw" { "opened-real" } else { "opened-decoy" }
}

#[test]
fn pipes_and_the_environment() {
    let dir = place();
    let pipe = |args: &[&str], input: &[u8]| {
        let mut child = command(dir.path(), args)
            .env("STT_PASSWORD", "from the environment")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    let sealed = pipe(&["encrypt", "-"], b"through a pipe");
    assert!(sealed.status.success(), "{}", stderr(&sealed));
    let opened = pipe(&["decrypt", "-"], &sealed.stdout);
    assert_eq!(opened.stdout, b"through a pipe", "{}", stderr(&opened));
    let shown = pipe(&["inspect", "-"], &sealed.stdout);
    assert!(
        String::from_utf8(shown.stdout).unwrap().contains("AES-256-GCM")
            || cfg!(not(target_arch = "x86_64"))
    );
    let json = pipe(&["--json", "encrypt", "-"], b"x");
    assert_eq!(json.status.code(), Some(1));
    assert!(String::from_utf8(json.stdout).unwrap().contains("usage.json_pipe"));
    let decoy = pipe(&["encrypt", "-", "--decoys"], b"x");
    assert!(stderr(&decoy).contains("seal.unknown_length"), "{}", stderr(&decoy));
}

#[test]
fn a_seed_file_takes_the_place_of_a_password() {
    let dir = place();
    let dir = dir.path();
    assert!(run(dir, &["seed", "new", "--out", "seed"]).status.success());
    let made = run(dir, &["encrypt", "note", "--seed-file", "seed"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let opened = run(dir, &["decrypt", "note.stc", "-o", "back", "--seed-file", "seed"]);
    assert!(opened.status.success(), "{}", stderr(&opened));
    assert_eq!(fs::read_to_string(dir.join("back")).unwrap(), "the real thing");
    let without = run(dir, &["decrypt", "note.stc", "-o", "x", "--password-file", "pw"]);
    assert_eq!(without.status.code(), Some(3));
}

#[test]
fn failures_say_what_to_do() {
    let dir = place();
    let dir = dir.path();
    let cases: [(&[&str], &str); 5] = [
        (&["encrypt", "absent", "--password-file", "pw"], "file.not_found"),
        (&["encrypt", "note", "--password-file", "absent"], "file.not_found"),
        (&["encrypt", "note", "--password-file", "pw", "--chunk-size", "9"], "seal.chunk_len"),
        (&["decrypt", "note", "--password-file", "pw"], "usage.output"),
        (&["inspect", "note"], "envelope.not_one"),
    ];
    for (args, code) in cases {
        let failed = run(dir, args);
        assert!(stderr(&failed).contains(code), "{args:?}: {}", stderr(&failed));
        assert!(!failed.status.success());
    }
    assert!(!dir.join("note.stc").exists());
}

/// Runs `stt` at a terminal of its own, where `typed` is typed in; what the screen shows, and how it
/// ended.
#[cfg(target_os = "linux")]
fn at_a_terminal(dir: &Path, args: &str, typed: &str) -> (String, Option<i32>) {
    // `script`, of util-linux, is where there is Linux.
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_stt"));
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .current_dir(dir)
        .env_remove("STT_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[cfg(target_os = "linux")]
#[test]
fn a_new_password_is_asked_for_twice_and_an_old_one_once() {
    let dir = place();
    let dir = dir.path();
    let (screen, code) = at_a_terminal(dir, "encrypt note", "one thing\nanother\n");
    assert_ne!(code, Some(0), "{screen}");
    assert!(screen.contains("again"), "{screen}");
    assert!(!dir.join("note.stc").exists());

    let (screen, code) = at_a_terminal(dir, "encrypt note", "correct horse\ncorrect horse\n");
    assert_eq!(code, Some(0), "{screen}");
    let (screen, code) = at_a_terminal(dir, "decrypt note.stc -o back", "correct horse\n");
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("again"), "{screen}");
    assert_eq!(fs::read_to_string(dir.join("back")).unwrap(), "the real thing");
    let (screen, code) = at_a_terminal(dir, "decrypt note.stc -o third", "battery staple\n");
    assert_ne!(code, Some(0), "{screen}");
    assert!(!dir.join("third").exists());
}

/// Some keyboards write é as one sign, others as two.
#[test]
fn a_password_opens_in_every_unicode_form() {
    let dir = place();
    let dir = dir.path();
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    fs::write(dir.join("c"), composed).unwrap();
    fs::write(dir.join("d"), format!("{decomposed}\n")).unwrap();
    for sealed_by in ["c", "d"] {
        let sealed = run(dir, &["encrypt", "--force", "--password-file", sealed_by, "note"]);
        assert!(sealed.status.success(), "{}", stderr(&sealed));
        for opened_by in ["c", "d"] {
            let args = ["decrypt", "--password-file", opened_by, "note.stc", "-o", "-"];
            let opened = run(dir, &args);
            assert_eq!(opened.stdout, b"the real thing", "{}", stderr(&opened));
        }
    }
    // Sealed by an earlier version, which took the bytes as they are.
    let context = stc::Context::seedless().build().unwrap();
    let options = stc::SealOptions::new().password(decomposed);
    let (from, to) = (dir.join("note"), dir.join("old.stc"));
    context.encrypt_file(&from, &to, &options, &stc::FileOptions::new()).unwrap();
    for opened_by in ["c", "d"] {
        let args = ["decrypt", "--password-file", opened_by, "old.stc", "-o", "-"];
        let opened = run(dir, &args);
        assert_eq!(opened.stdout, b"the real thing", "{}", stderr(&opened));
    }
    fs::write(dir.join("e"), "cafe").unwrap();
    let wrong = run(dir, &["decrypt", "--password-file", "e", "old.stc", "-o", "-"]);
    assert_eq!(wrong.status.code(), Some(3));
}

#[cfg(target_os = "linux")]
#[test]
fn a_question_that_is_interrupted_leaves_the_terminal_as_it_was() {
    use std::io::Read;
    let dir = place();
    let line = "sh -c 'trap : INT; \"$STT\" encrypt note; stty -a'";
    let mut child = Command::new("script")
        .args(["-q", "-c", line, "/dev/null"])
        .env("STT", env!("CARGO_BIN_EXE_stt"))
        .current_dir(dir.path())
        .env_remove("STT_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut screen, mut byte) = (Vec::new(), [0]);
    while !screen.ends_with(b"Password: ") {
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        screen.push(byte[0]);
    }
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let output = child.wait_with_output().unwrap();
    let modes = String::from_utf8(output.stdout).unwrap();
    assert!(modes.contains(" echo ") && !modes.contains("-echo "), "{modes}");
    // The message does not stand behind the question.
    assert!(modes.starts_with("\r\nerror: "), "{modes}");
}

/// Errors about decoys name the decoy, and come before anything is asked or waited for.
#[cfg(unix)]
#[test]
fn what_cannot_be_a_decoy_is_named() {
    let dir = place();
    let dir = dir.path();
    fs::create_dir(dir.join("folder")).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), fifo, mode, 0).unwrap();
    for (decoy, code) in [
        ("folder", "seal.unknown_length"),
        ("pipe", "seal.unknown_length"),
        ("absent", "file.not_found"),
    ] {
        let args = ["encrypt", "note", "--password-file", "pw", "--decoy", decoy];
        let refused = run(dir, &[&args[..], &["--decoy-password-file", "other"]].concat());
        assert_eq!(refused.status.code(), Some(1));
        let told = stderr(&refused);
        assert!(told.contains(decoy) && told.contains(code), "{told}");
        assert!(!dir.join("note.stc").exists());
    }
}
