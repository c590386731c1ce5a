//! Stores on full and on read-only disks, in a mount namespace of the test's own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Runs `script` where it may mount. `None` where this machine lets nobody.
fn with_mounts(dir: &Path, script: &str) -> Option<Output> {
    let unshare = ["--map-root-user", "--mount"];
    let mut probe = Command::new("unshare");
    probe.args(unshare).args(["mount", "-t", "tmpfs", "t", "/mnt"]);
    if !probe.output().is_ok_and(|done| done.status.success()) {
        eprintln!("not tested: nothing can be mounted here");
        return None;
    }
    fs::write(dir.join("seed"), "a phrase of many words, as a seed").unwrap();
    let store = r#"store() {
        c=$1; shift; "$STT" store "$c" --dir "$S" --node-seed-file seed "$@"
    }"#;
    let script = format!("set -eu\n{store}\n{script}");
    let mut run = Command::new("unshare");
    run.args(unshare).args(["sh", "-c", &script]).current_dir(dir).env("HOME", dir);
    run.env("STT", env!("CARGO_BIN_EXE_stt")).env_remove("STT_NODE_SEED");
    Some(run.output().unwrap())
}

#[test]
fn things_can_be_removed_from_a_store_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let done = with_mounts(
        dir.path(),
        r#"
        mkdir m; mount -t tmpfs -o size=12m t m; S=m/s
        for i in 1 2 3; do
            head -c 2000000 /dev/urandom > b; store put b --name n$i; store put b > id$i
        done
        dd if=/dev/zero of=m/fill bs=1000 2> /dev/null || true
        head -c 300000 /dev/urandom > big; store put big 2> full && exit 1
        grep -q store.disk_full full
        store rm n1; store rm "$(cat id1)"; store rm n2
        store verify 2>&1
        rm m/fill; store put seed > id; store get "$(cat id)" -o back; cmp seed back
        test -e m/s/reserve
        "#,
    );
    let Some(done) = done else { return };
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_store_on_a_read_only_disk_can_be_read_and_says_why_it_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let done = with_mounts(
        dir.path(),
        r#"
        head -c 300000 /dev/urandom > b; S=s; store put b --name big; store put seed --name small
        mkdir ro; mount --bind s ro; mount -o remount,ro,bind ro; S=ro
        for name in big small; do store get $name -o $name; done
        cmp b big; cmp seed small
        store ls | wc -l | grep -qx 2
        store stats > stats; store verify; store gc --dry-run
        for change in "put b --name other" "rm big" "gc"; do
            store $change > out 2>&1 && exit 1
            grep -q store.read_only out
            if grep -q "is not stored" out; then exit 1; fi
        done
        "#,
    );
    let Some(done) = done else { return };
    assert!(done.status.success(), "{done:?}");
}
