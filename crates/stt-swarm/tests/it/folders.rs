//! Folders over real nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
};

use stt::{Coded, Mode, Node, SharedSeed};
use stt_swarm::{ContentLibrary, ContentTicket, FetchOptions, Provider, Shared, fetch};

async fn node() -> Node {
    let seed = SharedSeed::from_key(stc::Key::from_bytes([7; 32]));
    Node::builder(seed).host("127.0.0.1").port(0).start(Mode::Server).await.unwrap()
}

struct Member {
    node: Node,
    library: ContentLibrary,
}

impl Member {
    async fn start() -> Self {
        let node = node().await;
        let library = ContentLibrary::new(&node).unwrap();
        Self { node, library }
    }

    fn ticket(&self, shared: &Shared) -> ContentTicket {
        self.library.ticket(shared, &[self.node.local_addr()]).unwrap()
    }
}

fn named(name: &str) -> FetchOptions {
    FetchOptions::new().name(name.to_owned())
}

/// All files below a directory, and what is in them.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut dirs, mut found) = (vec![dir.to_owned()], BTreeMap::new());
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A folder of many sizes, some files twice, and a link that leads out of it.
fn folder(home: &Path) -> PathBuf {
    let (dir, mut random) = (home.join("films"), fastrand::Rng::with_seed(3));
    for (path, len) in [
        ("a.bin", 300_000),
        ("empty", 0),
        ("deep/er/b.bin", 3_000_000),
        ("deep/one", 1),
        ("deep/group", 16_384),
        ("c.bin", 2_000_001),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, std::iter::repeat_with(|| random.u8(..)).take(len).collect::<Vec<_>>())
            .unwrap();
    }
    for copy in 0..20 {
        fs::write(dir.join(format!("copy {copy}")), "the same").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", dir.join("link")).unwrap();
    dir
}

#[tokio::test]
async fn a_folder_comes_from_two_members_and_is_there_at_once() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, client) = (folder(home.path()), node().await);
    let (a, b) = (Member::start().await, Member::start().await);
    let shared = a.library.share(&dir).await.unwrap();
    let about = shared.folder.unwrap();
    assert_eq!((about.files, about.skipped), (26, u64::from(cfg!(unix))));
    assert_eq!(b.library.share(&dir).await.unwrap(), shared);
    let mut both = a.ticket(&shared);
    both.add_provider(b.ticket(&shared).providers().first().unwrap().clone()).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (telling, place) = (Arc::clone(&seen), out.path().join("films"));
    let options = FetchOptions::new().progress(move |progress| {
        // Nobody sees half a folder.
        assert!(!place.exists() || progress.done == progress.total);
        telling.lock().unwrap().push((progress.done, progress.total));
    });
    let ticket: ContentTicket = both.to_string().parse().unwrap();
    let got = fetch(&client, &ticket, out.path(), &options).await.unwrap();
    assert_eq!(got.path, out.path().join("films"));
    assert_eq!((got.files, got.size, got.resumed), (26, about.bytes, 0));
    let mut there = files(&dir);
    there.remove(Path::new("link"));
    assert!(files(&got.path) == there);
    assert_eq!(seen.lock().unwrap().last(), Some(&(about.bytes, about.bytes)));
    // Nothing is left beside it, and it is not replaced.
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    let again = fetch(&client, &ticket, out.path(), &FetchOptions::default()).await.unwrap_err();
    assert_eq!(again.code(), "content.exists");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    // Files of it that are in no other folder are offered no longer with it.
    assert!(a.library.unshare(shared.root) && b.library.unshare(shared.root));
    let late = fetch(&client, &ticket, home.path(), &named("late")).await.unwrap_err();
    assert_eq!(late.code(), "content.unavailable");
}

#[tokio::test]
async fn an_interrupted_folder_goes_on_and_damage_in_it_is_mended() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, client, member) = (folder(home.path()), node().await, Member::start().await);
    let shared = member.library.share(&dir).await.unwrap();
    let ticket = member.ticket(&shared);
    member.node.set_bandwidth(NonZeroU64::new(3_000_000));
    let (told, mut telling) = tokio::sync::watch::channel(0);
    let options = FetchOptions::new().progress(move |progress| {
        told.send_replace(progress.done);
    });
    tokio::select! {
        early = fetch(&client, &ticket, out.path(), &options) => panic!("{early:?}"),
        enough = telling.wait_for(|done| *done > 1_500_000) => drop(enough.unwrap()),
    }
    member.node.set_bandwidth(None);
    let work = fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    let whole = work.join("content/copy 0");
    if whole.exists() {
        fs::write(whole, "no more!").unwrap();
    }
    let got = loop {
        match fetch(&client, &ticket, out.path(), &FetchOptions::default()).await {
            Err(error) if error.code() == "content.busy" => tokio::task::yield_now().await,
            got => break got.unwrap(),
        }
    };
    assert!(got.resumed > 1_000_000, "{}", got.resumed);
    let mut there = files(&dir);
    there.remove(Path::new("link"));
    assert!(files(&got.path) == there);
}

#[tokio::test]
async fn a_hostile_manifest_puts_nothing_anywhere() {
    let (home, client, member) =
        (tempfile::tempdir().unwrap(), node().await, Member::start().await);
    let out = home.path().join("out");
    fs::create_dir(&out).unwrap();
    let file = member.library.share_bytes(&b"evil"[..], "evil").await.unwrap();
    for path in ["../../evil", "/evil", "a/../../../evil", "a", ""] {
        let mut list = b"stt folder 1\n".to_vec();
        for path in [path, "z", "z/below"] {
            list.extend_from_slice(file.root.as_bytes());
            list.extend_from_slice(&4u64.to_le_bytes());
            list.extend_from_slice(&u16::try_from(path.len()).unwrap().to_le_bytes());
            list.extend_from_slice(path.as_bytes());
        }
        let list = member.library.share_bytes(list, "list").await.unwrap();
        let mut ticket = ContentTicket::folder(list.root, list.size, "folder").unwrap();
        let addresses = vec![member.node.local_addr()];
        ticket.add_provider(Provider { node_id: member.node.node_id(), addresses }).unwrap();
        let error = fetch(&client, &ticket, &out, &FetchOptions::default()).await.unwrap_err();
        assert_eq!((error.code(), error.retry_helps()), ("content.manifest", false), "{path}");
        assert!(!out.join("folder").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
