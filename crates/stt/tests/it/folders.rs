//! Directories over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::common::{self, Inbox};
use stt::{
    Coded, Session,
    transfer::{self, ReceiveOptions, Received, SendOptions, Sent, TransferError},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome = (Result<Sent, TransferError>, Result<Received, TransferError>);

async fn send(
    from: &Session,
    to: &Inbox,
    path: &Path,
    dir: &Path,
    receiving: &ReceiveOptions,
) -> Outcome {
    let sending = SendOptions::default();
    let taking = async { transfer::receive(to.next().await, dir, receiving).await };
    tokio::join!(transfer::send(from, path, &sending), taking)
}

/// Paths and bytes of all that is in a directory.
fn all(dir: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    fn walk(dir: &Path, base: &Path, out: &mut Vec<(String, Option<Vec<u8>>)>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                out.push((name, None));
                walk(&path, base, out)?;
            } else {
                out.push((name, Some(fs::read(path)?)));
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(dir, dir, &mut out).unwrap();
    out.sort();
    out
}

#[tokio::test]
async fn a_directory_arrives_whole() {
    let (server, _client, _, ours) = common::session().await;
    let inbox = Inbox::of(&server);
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = from.path().join("photos");
    fs::create_dir_all(root.join("2026/empty")).unwrap();
    fs::write(root.join("2026/nothing"), "").unwrap();
    fs::write(root.join("big"), vec![7; 3_000_001]).unwrap();
    for number in 0..50 {
        fs::write(root.join(format!("2026/{number}")), number.to_string()).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc", root.join("link")).unwrap();
    let (sent, received) = send(&ours, &inbox, &root, to.path(), &ReceiveOptions::default()).await;
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert_eq!((sent.files, received.files, sent.is_dir), (52, 52, true));
    assert_eq!((sent.hash, sent.size), (received.hash, received.size));
    assert_eq!(sent.left_out, u64::from(cfg!(unix)));
    #[cfg(unix)]
    fs::remove_file(root.join("link")).unwrap();
    assert_eq!(received.path, to.path().join("photos"));
    assert_eq!(all(&received.path), all(&root));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    // It is not there twice, whatever may be overwritten.
    let receiving = ReceiveOptions::new().overwrite(true);
    let (sent, received) = send(&ours, &inbox, &root, to.path(), &receiving).await;
    assert_eq!(sent.unwrap_err().code(), "transfer.declined_exists");
    assert_eq!(received.unwrap_err().code(), "transfer.exists");
    // An empty one.
    let (sent, received) =
        send(&ours, &inbox, &root.join("2026/empty"), to.path(), &receiving).await;
    assert_eq!(sent.unwrap().files, 0);
    assert!(received.unwrap().path.is_dir());
}

#[cfg(unix)]
#[tokio::test]
async fn modes_and_times_are_kept_when_asked_for() {
    use std::{os::unix::fs::PermissionsExt, time::Duration};
    let (server, _client, _, ours) = common::session().await;
    let inbox = Inbox::of(&server);
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = from.path().join("d");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("run"), "x").unwrap();
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o4776)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for path in [root.join("run"), root.clone()] {
        fs::File::open(path).unwrap().set_modified(then).unwrap();
    }
    let about = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.permissions().mode() & 0o7777, found.modified().unwrap() == then)
    };
    for (preserve, dir, file) in
        [(false, (0o700, false), (0o600, false)), (true, (0o750, true), (0o754, true))]
    {
        let receiving = ReceiveOptions::new().preserve(preserve);
        let to = to.path().join(preserve.to_string());
        fs::create_dir(&to).unwrap();
        let (_, received) = send(&ours, &inbox, &root, &to, &receiving).await;
        let path = received.unwrap().path;
        assert_eq!((about(&path), about(&path.join("run"))), (dir, file), "{preserve}");
        let (_, received) = send(&ours, &inbox, &root.join("run"), &to, &receiving).await;
        assert_eq!(about(&received.unwrap().path), file, "{preserve}");
    }
}

#[tokio::test]
async fn an_interrupted_directory_goes_on_where_it_stopped() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = from.path().join("d");
    fs::create_dir(&root).unwrap();
    for name in ["a", "b", "c"] {
        let mut random = fastrand::Rng::with_seed(u64::from(name.as_bytes()[0]));
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8 << 20).collect();
        fs::write(root.join(name), bytes).unwrap();
    }
    let (server, _client, _, ours) = common::session().await;
    let (inbox, cut) = (Inbox::of(&server), AtomicBool::new(false));
    let session = ours.clone();
    let receiving = ReceiveOptions::new().progress(Arc::new(move |progress| {
        if progress.done > 12 << 20 && !cut.swap(true, Ordering::Relaxed) {
            session.abort("pulled the plug");
        }
    }));
    let (sent, received) = send(&ours, &inbox, &root, to.path(), &receiving).await;
    assert!(sent.unwrap_err().retry_helps() && received.unwrap_err().retry_helps());
    assert!(!to.path().join("d").exists(), "never a part under its name");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    // What changes meanwhile is sent anew, and the rest goes on.
    fs::write(root.join("c"), "other").unwrap();
    let (server, _client, _, ours) = common::session().await;
    let inbox = Inbox::of(&server);
    let receiving = ReceiveOptions::default();
    let (sent, received) = send(&ours, &inbox, &root, to.path(), &receiving).await;
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert!(sent.resumed_at >= 12 << 20 && sent.resumed_at == received.resumed_at, "{sent:?}");
    assert_eq!(all(&received.path), all(&root));
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
}

fn varint(value: usize) -> Vec<u8> {
    let value = u16::try_from(value).unwrap();
    if value < 64 { vec![value.to_le_bytes()[0]] } else { (value | 0x4000).to_be_bytes().to_vec() }
}

/// An offer as a hostile sender makes it: a directory, and empty files in it.
fn offer(paths: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for (at, path) in std::iter::once(&"root").chain(paths).enumerate() {
        list.extend([u8::from(at == 0), 0x01, 0xa4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        list.extend(varint(path.len()));
        list.extend(path.as_bytes());
    }
    let mut body = vec![1];
    body.extend(varint(paths.len() + 1));
    body.extend(varint(list.len()));
    let mut wire = varint(body.len());
    wire.extend(body);
    wire.extend(list);
    wire
}

#[tokio::test]
async fn hostile_offers_are_declined_and_leave_nothing() {
    let (server, _client, _, ours) = common::session().await;
    let inbox = Inbox::of(&server);
    let outer = tempfile::tempdir().unwrap();
    let to = outer.path().join("in");
    fs::create_dir(&to).unwrap();
    let mut too_long = offer(&["a"]);
    too_long.splice(0..4, [6, 1, 1, 0x80, 0x80, 0x00, 0x01]);
    for (offer, code, verdict) in [
        (offer(&["../x"]), "transfer.name", 4),
        (offer(&["/etc/x"]), "transfer.name", 4),
        (offer(&[".."]), "transfer.name", 4),
        (offer(&["a\0"]), "transfer.name", 4),
        (offer(&["a:b", "a?b"]), "transfer.clash", 4),
        (offer(&["a", "a/b"]), "transfer.protocol", 6),
        (offer(&["a", "a"]), "transfer.protocol", 6),
        (too_long, "transfer.protocol", 6),
        (vec![2, 4, 0], "transfer.protocol", 6),
    ] {
        let mut stream = ours.open_protocol(transfer::LABEL).unwrap();
        stream.write_all(&offer).await.unwrap();
        let answering = async {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let options = ReceiveOptions::default();
        let taking = async { transfer::receive(inbox.next().await, &to, &options).await };
        let (received, answer) = tokio::join!(taking, answering);
        assert_eq!(received.unwrap_err().code(), code, "{offer:?}");
        assert_eq!(answer, [2, 4, verdict], "{offer:?}");
        assert_eq!(all(outer.path()), [("in".to_owned(), None)], "{offer:?}");
    }
}
