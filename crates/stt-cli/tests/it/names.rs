//! Names that are no plain text, and command lines that make no sense: nothing panics, nothing
//! reaches a terminal raw, and machines always read JSON.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Output},
};

use crate::common::stt;
use serde_json::Value;

/// Bytes that are no UTF-8.
const LATIN: &[u8] = b"caf\xe9";
/// Colours a terminal, goes back to the start of the line, and begins another one.
const LOUD: &str = "a\u{1b}[31mRED\rB\nC";

fn home(name: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(OsStr::from_bytes(name)), "hi").unwrap();
    fs::write(dir.path().join("pw"), "orbit-velvet-cactus-trumpet-lantern-9-quarry").unwrap();
    fs::write(dir.path().join("seed"), "a phrase of many words, as a seed").unwrap();
    dir
}

/// The program with words as they are and names as bytes.
fn command(dir: &Path, words: &str, names: &[&[u8]]) -> Command {
    let mut command = stt();
    command.args(words.split(' ')).args(names.iter().map(|name| OsStr::from_bytes(name)));
    command.current_dir(dir).env("HOME", dir).env_remove("STT_NODE_SEED");
    command
}

fn run(dir: &Path, words: &str, names: &[&[u8]]) -> Output {
    command(dir, words, names).output().unwrap()
}

/// All lines of standard output as JSON.
fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_path_that_is_not_utf8_is_a_path() {
    let dir = home(LATIN);
    let dir = dir.path();
    let (sealed, out) = (&b"caf\xe9.stc"[..], &b"\xff"[..]);
    for json in ["", "--json "] {
        let encrypted = run(dir, &format!("{json}encrypt --force --password-file pw"), &[LATIN]);
        assert!(encrypted.status.success(), "{encrypted:?}");
        let decrypted =
            run(dir, &format!("{json}decrypt --force --password-file pw"), &[sealed, b"-o", out]);
        assert!(decrypted.status.success(), "{decrypted:?}");
        let put = run(dir, &format!("{json}store put --dir s --node-seed-file seed"), &[LATIN]);
        assert!(put.status.success(), "{put:?}");
        let id = stt_store::ContentId::of(b"hi").to_string();
        let words = format!("{json}store get --force --dir s --node-seed-file seed {id} -o");
        let got = run(dir, &words, &[out]);
        assert!(got.status.success(), "{got:?}");
        assert_eq!(fs::read(dir.join(OsStr::from_bytes(out))).unwrap(), b"hi");
        if !json.is_empty() {
            assert_eq!(lines(&encrypted)[0]["file"], "caf\u{fffd}.stc");
            assert_eq!(lines(&encrypted)[0]["file_bytes"], "636166e92e737463");
            for told in [&decrypted, &got] {
                assert_eq!(lines(told)[0]["file_bytes"], "ff");
            }
            assert_eq!(lines(&put)[0]["file_bytes"], "636166e9");
        }
    }
    let missing = run(dir, "--json encrypt --password-file pw", &[b"\xfe"]);
    assert_eq!(lines(&missing)[0]["error"]["code"], "file.not_found");
}

/// What a terminal must not get.
fn assert_quiet(output: &Output, lines: usize) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert_eq!(text.lines().count(), lines, "{text:?}");
}

#[test]
fn own_names_reach_the_terminal_tamed() {
    let dir = home(LOUD.as_bytes());
    let (dir, loud) = (dir.path(), LOUD.as_bytes());
    let sealed = format!("{LOUD}.stc");
    let encrypted = run(dir, "encrypt --password-file pw", &[loud]);
    assert!(encrypted.status.success(), "{encrypted:?}");
    assert_quiet(&encrypted, 1);
    let again = run(dir, "encrypt --password-file pw", &[loud]);
    assert_eq!(again.status.code(), Some(1));
    assert_quiet(&again, 3);
    let decrypted = run(dir, "decrypt --force --password-file pw", &[sealed.as_bytes()]);
    assert!(decrypted.status.success(), "{decrypted:?}");
    assert_quiet(&decrypted, 1);
    let put = run(dir, "store put --dir s --node-seed-file seed pw", &[loud]);
    assert!(put.status.success(), "{put:?}");
    assert_quiet(&put, 2);
    let named = run(dir, "store put --dir s --node-seed-file seed pw --name", &[loud]);
    assert!(named.status.success(), "{named:?}");
    assert_quiet(&run(dir, "store ls --dir s --node-seed-file seed", &[]), 2);
    let to_nobody = "send --seed-file seed --timeout 0.01 --to 127.0.0.1:1";
    let unsent = run(dir, to_nobody, &[b"gone\x1b[31mRED"]);
    assert_quiet(&unsent, String::from_utf8_lossy(&unsent.stderr).lines().count());
    assert!(String::from_utf8(unsent.stderr).unwrap().contains("RED"));
}

#[test]
fn a_wrong_command_line_is_json_too() {
    let dir = home(b"f");
    let dir = dir.path();
    for words in [
        "--json send",
        "send --json f --to x --timeout abc",
        "store put --json f --name x --cache",
        "--json",
        "--json no-such-command",
    ] {
        let failed = run(dir, words, &[]);
        assert_eq!(failed.status.code(), Some(2), "{words}");
        let told = &lines(&failed)[0]["error"];
        assert_eq!(told["code"], "usage.arguments", "{words}");
        assert_eq!(told["retry_helps"], false);
        assert!(!told["message"].as_str().unwrap().contains('\n'), "{told}");
        assert!(failed.stderr.is_empty(), "{failed:?}");
    }
    let plain = run(dir, "send", &[]);
    assert_eq!(plain.status.code(), Some(2));
    assert!(plain.stdout.is_empty() && !plain.stderr.is_empty());
    for words in ["--json --help", "--json --version"] {
        let shown = run(dir, words, &[]);
        assert!(shown.status.success() && !shown.stdout.is_empty());
    }
}

#[test]
fn a_name_that_reads_as_an_id_is_refused_and_an_old_one_found() {
    let dir = home(b"f");
    let dir = dir.path();
    let id = "ab".repeat(32);
    let words = format!("--json store put f --dir s --node-seed-file seed --name {id}");
    let refused = run(dir, &words, &[]);
    assert_eq!(lines(&refused)[0]["error"]["code"], "store.name_is_id");
    for words in ["store get --json -o out", "store rm --json"] {
        let absent = run(dir, &format!("{words} --dir s --node-seed-file seed {id}"), &[]);
        assert_eq!(lines(&absent)[0]["error"]["code"], "store.not_found", "{words}");
    }
}
