//! Where results go, who may read them, and what an interrupted command leaves: nothing.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::Path,
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::common::{self, stt};
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with a seed, a file, and that file encrypted and stored.
fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("note"), "the real thing").unwrap();
    for command in [
        "seed new --out node.seed",
        "encrypt note --seed-file node.seed",
        "store put note --name note --dir store --node-seed-file node.seed",
    ] {
        let made = run(dir.path(), command);
        assert!(made.status.success(), "{command}: {made:?}");
    }
    dir
}

fn run(dir: &Path, words: &str) -> Output {
    stt().args(words.split(' ')).current_dir(dir).output().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn make_node(path: &Path, kind: FileType, device: u64) -> bool {
    mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, device).is_ok()
}

/// Each with its output still to be named.
const WRITERS: [&str; 3] = [
    "encrypt note --seed-file node.seed -o ",
    "decrypt note.stc --seed-file node.seed -o ",
    "store get note --dir store --node-seed-file node.seed -o ",
];

#[test]
fn results_are_private_or_as_private_as_what_they_replace() {
    let dir = place();
    let dir = dir.path();
    for writer in WRITERS {
        let out = dir.join("out");
        let made = run(dir, &format!("{writer}out"));
        assert!(made.status.success(), "{made:?}");
        assert_eq!(mode(&out), 0o600, "{writer}");
        let again = run(dir, &format!("{writer}out"));
        assert_eq!(again.status.code(), Some(1));
        assert!(String::from_utf8(again.stderr).unwrap().contains("file.exists"));
        fs::set_permissions(&out, fs::Permissions::from_mode(0o640)).unwrap();
        let forced = run(dir, &format!("{writer}out --force"));
        assert!(forced.status.success(), "{forced:?}");
        assert_eq!(mode(&out), 0o640, "{writer}");
        fs::remove_file(out).unwrap();
    }
}

#[test]
fn what_is_no_file_is_written_into_or_refused_and_never_replaced() {
    let dir = place();
    let dir = dir.path();
    let pipe = dir.join("pipe");
    assert!(make_node(&pipe, FileType::Fifo, 0));
    let node = dir.join("node");
    // Our own node of the device that swallows everything. Only some may make and use one.
    let nodes = make_node(&node, FileType::CharacterDevice, makedev(1, 3))
        && fs::File::options().write(true).open(&node).is_ok();
    std::os::unix::fs::symlink("node", dir.join("link")).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    for writer in WRITERS {
        for force in ["", " --force"] {
            let pipe = pipe.clone();
            let reader = thread::spawn(move || fs::read(pipe).unwrap());
            let written = run(dir, &format!("{writer}pipe{force}"));
            assert!(written.status.success(), "{written:?}");
            let got = reader.join().unwrap();
            assert!(got == b"the real thing" || writer.starts_with("encrypt"), "{writer}");
            assert!(!got.is_empty());

            let onto = run(dir, &format!("{writer}/proc/self/fd/1{force}"));
            assert!(onto.status.success(), "{onto:?}");
            assert!(!onto.stdout.is_empty(), "{writer}");

            if nodes {
                for name in ["node", "link"] {
                    let swallowed = run(dir, &format!("{writer}{name}{force}"));
                    assert!(swallowed.status.success(), "{swallowed:?}");
                }
            }
            assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());

            let refused = run(dir, &format!("{writer}sub{force}"));
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        }
        let kind = fs::symlink_metadata(&pipe).unwrap().file_type();
        assert!(kind.is_fifo());
        assert!(!nodes || fs::symlink_metadata(&node).unwrap().file_type().is_char_device());
    }
    assert!(names(&dir.join("sub")).is_empty());
}

/// Its output is a pipe that nobody reads at first, so the change surely comes before the end.
#[test]
fn a_file_that_changes_while_it_is_encrypted_is_told_so() {
    let dir = place();
    let dir = dir.path();
    let big = dir.join("big");
    fs::write(&big, vec![7; 24 << 20]).unwrap();
    assert!(make_node(&dir.join("pipe"), FileType::Fifo, 0));
    let process = stt()
        .args(["--json", "encrypt", "big", "-o", "pipe", "--seed-file", "node.seed"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = fs::File::open(dir.join("pipe")).unwrap();
    pipe.read_exact(&mut [0; 100]).unwrap();
    fs::File::options().write(true).open(&big).unwrap().set_len(1_000).unwrap();
    std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
    let ended = process.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(
        (&told["error"]["code"], &told["error"]["retry_helps"]),
        (&"seal.changed".into(), &true.into())
    );
}

/// A process that may write files of no length has the effect of a full disk, without one.
#[test]
fn a_result_that_could_not_be_written_is_a_failure() {
    let dir = place();
    let dir = dir.path();
    for words in ["seed new", "--json seed new", "inspect note.stc"] {
        let script = "ulimit -f 0; trap '' XFSZ; exec \"$STT\" $WORDS > result";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).env("STT", env!("CARGO_BIN_EXE_stt")).env("WORDS", words);
        let failed = shell.current_dir(dir).output().unwrap();
        assert_eq!(failed.status.code(), Some(1), "{words}: {failed:?}");
        let told = String::from_utf8(failed.stderr).unwrap();
        assert!(told.contains("could not write to standard output (file."), "{told}");
    }
    // A closed pipe is no failure: its reader has what it wanted.
    let mut process =
        stt().args(["seed", "new"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stdout.take());
    let ended = process.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

/// A command that works on its standard input, and has read more than a pipe holds.
fn busy(dir: &Path, words: &str, input: &[u8]) -> Child {
    let mut process = stt()
        .args(words.split(' '))
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    process.stdin.as_mut().unwrap().write_all(input).unwrap();
    process
}

/// Whether this process, and what it starts, was told to ignore SIGHUP.
fn hup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}

fn signal(process: &Child, signal: Signal) {
    kill_process(Pid::from_child(process), signal).unwrap();
}

#[test]
fn an_interrupted_command_leaves_nothing_and_says_so() {
    let dir = place();
    let dir = dir.path();
    let big = vec![7; 6 << 20];
    fs::write(dir.join("big"), &big).unwrap();
    assert!(run(dir, "encrypt big --seed-file node.seed").status.success());
    let sealed = fs::read(dir.join("big.stc")).unwrap();
    let before = names(dir);
    let commands = [
        ("--json encrypt - -o out --seed-file node.seed", &big[..]),
        ("--json decrypt - -o out --seed-file node.seed", &sealed[..4 << 20]),
    ];
    for (words, input) in commands {
        // Under nohup a closed terminal ends nothing.
        let hup = Some(Signal::HUP).filter(|_| !hup_is_ignored());
        for ending in [Some(Signal::INT), Some(Signal::TERM), hup, Some(Signal::KILL)] {
            let Some(ending) = ending else { continue };
            let mut process = busy(dir, words, input);
            signal(&process, ending);
            let stdin = process.stdin.take();
            let ended = process.wait_with_output().unwrap();
            drop(stdin);
            assert_eq!(ended.status.signal(), Some(ending.as_raw()), "{words}");
            assert_eq!(names(dir), before, "{words}, {ending:?}");
            if ending != Signal::KILL {
                let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
                assert_eq!(told["error"]["code"], "interrupted");
                assert_eq!(told["error"]["retry_helps"], true);
            }
        }
    }
}

#[test]
fn an_interrupted_demonstration_takes_its_directory_along() {
    let dir = tempfile::tempdir().unwrap();
    for ending in [Signal::INT, Signal::TERM] {
        let process = stt()
            .arg("demo")
            .env("TMPDIR", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while names(dir.path()).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it makes no directory");
            thread::sleep(Duration::from_millis(5));
        }
        signal(&process, ending);
        let ended = process.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(ending.as_raw()), "{ended:?}");
        assert!(String::from_utf8(ended.stderr).unwrap().contains("interrupted"));
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn a_node_can_end_with_the_process_that_started_it() {
    let dir = common::home();
    let mut receiver = stt()
        .args(["receive", "--listen", "127.0.0.1:0", "--end-with-stdin", "--json"])
        .arg("--seed-file")
        .arg(dir.path().join("seed"))
        .arg("--dir")
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    receiver.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert!(receiver.try_wait().unwrap().is_none(), "it listens");
    drop(receiver.stdin.take());
    assert!(receiver.wait().unwrap().success());
}
