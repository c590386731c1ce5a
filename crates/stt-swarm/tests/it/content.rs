//! Content over real nodes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use bytes::Bytes;
use stt::{Coded, ContentId, Mode, Node, SharedSeed, transfer::Phase};
use stt_swarm::{
    ContentError, ContentLibrary, ContentTicket, FetchOptions, Fetched, Provider, Shared, fetch,
};
use tokio::io::AsyncReadExt;

const LABEL: &str = "stt.content/1";

fn seed() -> SharedSeed {
    SharedSeed::from_key(stc::Key::from_bytes([7; 32]))
}

async fn node() -> Node {
    Node::builder(seed()).host("127.0.0.1").port(0).start(Mode::Server).await.unwrap()
}

/// A member that offers a file.
struct Member {
    node: Node,
    library: ContentLibrary,
    shared: Shared,
}

impl Member {
    async fn start(file: &Path) -> Self {
        let node = node().await;
        let library = ContentLibrary::new(&node).unwrap();
        let shared = library.share(file).await.unwrap();
        Self { node, library, shared }
    }

    fn provider(&self) -> Provider {
        provider(&self.node)
    }
}

fn provider(node: &Node) -> Provider {
    Provider { node_id: node.node_id(), addresses: vec![node.local_addr()] }
}

fn ticket(shared: &Shared, providers: impl IntoIterator<Item = Provider>) -> ContentTicket {
    let mut ticket = ContentTicket::new(shared.root, shared.size, &shared.name).unwrap();
    for provider in providers {
        ticket.add_provider(provider).unwrap();
    }
    ticket
}

/// A directory with a file in it, and a node that fetches into another one.
struct Home {
    _home: tempfile::TempDir,
    file: PathBuf,
    data: Vec<u8>,
    out: PathBuf,
    client: Node,
}

impl Home {
    async fn new(len: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(len).collect();
        let home = tempfile::tempdir().unwrap();
        let (file, out) = (home.path().join("a file.bin"), home.path().join("out"));
        fs::write(&file, &data).unwrap();
        fs::create_dir(&out).unwrap();
        Self { _home: home, file, data, out, client: node().await }
    }

    async fn fetch(
        &self,
        ticket: &ContentTicket,
        options: FetchOptions,
    ) -> Result<Fetched, ContentError> {
        let fetched = fetch(&self.client, ticket, &self.out, &options).await?;
        assert!(fs::read(&fetched.path).unwrap() == self.data);
        Ok(fetched)
    }

    async fn fetch_all(&self, ticket: &ContentTicket) -> Fetched {
        self.fetch(ticket, FetchOptions::default()).await.unwrap()
    }
}

#[tokio::test]
async fn three_providers_give_one_file_and_each_a_part() {
    let home = Home::new(24_000_001).await;
    let (a, b) = (Member::start(&home.file).await, Member::start(&home.file).await);
    let c = Member::start(&home.file).await;
    assert_eq!(a.shared.root, ContentId::of(&home.data));
    let ticket = ticket(&a.shared, [a.provider(), b.provider(), c.provider()]);
    // So slow that none is done before the last begins.
    for member in [&a, &b, &c] {
        member.node.set_bandwidth(std::num::NonZeroU64::new(8_000_000));
    }
    // What a person copies.
    let got = home.fetch_all(&ticket.to_string().parse().unwrap()).await;
    assert_eq!(got.path, home.out.join("a file.bin"));
    let bytes: Vec<_> = got.providers.iter().map(|provider| provider.bytes).collect();
    assert_eq!(bytes.iter().sum::<u64>(), got.size + got.duplicates);
    assert!(bytes.iter().all(|bytes| *bytes > 0), "{bytes:?}");
    assert_eq!(fs::read_dir(&home.out).unwrap().count(), 1);
    // The sessions were the fetch's.
    while !home.client.sessions().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = a.library.stats();
    assert!(stats.bytes > 0 && stats.damaged == 0, "{stats:?}");
}

#[tokio::test]
async fn small_and_empty_contents_arrive_and_an_existing_file_stays() {
    for len in [0, 1, 16_384, 16_385] {
        let home = Home::new(len).await;
        let member = Member::start(&home.file).await;
        let ticket = member.library.ticket(&member.shared, &[member.node.local_addr()]).unwrap();
        home.fetch_all(&ticket).await;
        let again = home.fetch(&ticket, FetchOptions::default()).await.unwrap_err();
        assert_eq!(again.code(), "content.exists");
    }
}

/// A member whose answers begin well and then hold what it wants.
async fn liar(size: u64) -> (Node, stt::ProtocolHandler) {
    let node = node().await;
    let handler = node.handle_protocol(LABEL, move |_, mut stream| async move {
        let mut request = [0; 48];
        while stream.read_exact(&mut request).await.is_ok() {
            let answer = [&[0][..], &size.to_le_bytes(), &vec![7; 1 << 20]].concat();
            if stream.write_chunk(Bytes::from(answer)).await.is_err() {
                return;
            }
        }
    });
    (node, handler.unwrap())
}

#[tokio::test]
async fn a_provider_that_lies_is_dropped_at_once_and_the_content_is_right() {
    let home = Home::new(5_000_000).await;
    let honest = Member::start(&home.file).await;
    let (corrupt, _first) = liar(5_000_000).await;
    let (boaster, _second) = liar(1 << 60).await;
    // They are asked alone first: otherwise all may be there before they lied.
    let ticket = |providers: Vec<Provider>| ticket(&honest.shared, providers);
    let liars = || vec![provider(&corrupt), provider(&boaster)];
    let error = home.fetch(&ticket(liars()), FetchOptions::default()).await.unwrap_err();
    let ContentError::Unavailable { causes } = error else { panic!("{error}") };
    assert!(causes[0].to_string().ends_with("sent bytes that do not verify"), "{causes:?}");
    assert!(
        causes[1].to_string().contains("says that it has 1152921504606846976 bytes"),
        "{causes:?}"
    );
    let all = liars().into_iter().chain([honest.provider()]).collect();
    let got = home.fetch_all(&ticket(all)).await;
    let [corrupt, boaster, honest] = got.providers.as_slice() else { panic!("{got:?}") };
    assert_eq!((corrupt.bytes, boaster.bytes, honest.bytes), (0, 0, 5_000_000));
    assert!(honest.dropped.is_none() && !honest.lied);
}

#[tokio::test]
async fn when_nobody_has_it_the_reasons_are_told() {
    let home = Home::new(100_000).await;
    let member = Member::start(&home.file).await;
    assert!(member.library.unshare(member.shared.root));
    let (strange, stopped) = (node().await, node().await);
    let gone = provider(&stopped);
    stopped.stop_within(Duration::ZERO).await;
    let ticket = ticket(&member.shared, [member.provider(), provider(&strange), gone]);
    // Those who are there have a session already: the time below is for the other one.
    for node in [&member.node, &strange] {
        home.client.connect(&node.local_addr().to_string()).await.unwrap();
    }
    let options = FetchOptions::new().connect_timeout(Duration::from_millis(300));
    let error = home.fetch(&ticket, options).await.unwrap_err();
    assert_eq!((error.code(), error.retry_helps()), ("content.unavailable", true));
    let ContentError::Unavailable { causes } = error else { panic!("{error}") };
    let words = ["does not have it", "nobody handles the protocol", "could not be reached"];
    for (cause, words) in causes.iter().zip(words) {
        assert!(cause.to_string().contains(words), "{cause}");
    }
    // Each still is the error that it was.
    let mut below = causes[2].source();
    while let Some(error) = below
        && !error.is::<stt::ConnectError>()
    {
        below = error.source();
    }
    assert!(below.is_some(), "{:?}", causes[2]);
    let none = FetchOptions::new().streams_per_provider(0);
    assert_eq!(home.fetch(&ticket, none).await.unwrap_err().code(), "content.out_of_range");
}

#[tokio::test]
async fn an_interrupted_fetch_goes_on_where_it_stopped() {
    let home = Home::new(20_000_000).await;
    let member = Member::start(&home.file).await;
    member.node.set_bandwidth(std::num::NonZeroU64::new(20_000_000));
    let ticket = ticket(&member.shared, [member.provider()]);
    let (told, mut telling) = tokio::sync::watch::channel(0);
    let options = FetchOptions::new().progress(move |progress| {
        if progress.phase == Phase::Moving {
            told.send_replace(progress.done);
        }
    });
    tokio::select! {
        _ = home.fetch(&ticket, options) => panic!("it was to be interrupted"),
        enough = telling.wait_for(|done| *done > 5_000_000) => drop(enough.unwrap()),
    }
    // The file is free once the interrupted one let go of it.
    let got = loop {
        match home.fetch(&ticket, FetchOptions::default()).await {
            Err(error) if error.code() == "content.busy" => tokio::task::yield_now().await,
            got => break got.unwrap(),
        }
    };
    assert!(got.resumed > 5_000_000, "{}", got.resumed);
    let fetched: u64 = got.providers.iter().map(|provider| provider.bytes).sum();
    assert_eq!(fetched, got.size - got.resumed);
}

#[tokio::test]
async fn a_provider_that_dies_is_replaced_by_the_others() {
    let home = Home::new(20_000_000).await;
    let (dies, stays) = (Member::start(&home.file).await, Member::start(&home.file).await);
    let ticket = ticket(&dies.shared, [dies.provider(), stays.provider()]);
    let dying = Mutex::new(Some(dies));
    let options = FetchOptions::new().progress(move |progress| {
        if progress.done > 4_000_000 {
            dying.lock().unwrap().take();
        }
    });
    home.fetch(&ticket, options).await.unwrap();
}

#[tokio::test]
async fn what_a_silent_provider_was_asked_for_comes_from_another() {
    let home = Home::new(8_000_000).await;
    let honest = Member::start(&home.file).await;
    let mute = node().await;
    let _handler = mute.handle_protocol(LABEL, |_, stream| async move {
        stream.session().closed().await;
    });
    let ticket = ticket(&honest.shared, [provider(&mute), honest.provider()]);
    let got = home.fetch_all(&ticket).await;
    // Its patience of 30 s was not used up.
    assert!(got.elapsed < Duration::from_secs(20), "{:?}", got.elapsed);
}

#[tokio::test]
async fn a_file_that_changed_is_no_lie_of_its_provider() {
    let mut home = Home::new(3_000_000).await;
    let member = Member::start(&home.file).await;
    home.data[2_500_000] ^= 1;
    fs::write(&home.file, &home.data).unwrap();
    let alone = ticket(&member.shared, [member.provider()]);
    // So that what is not damaged is fetched before.
    let options = FetchOptions::new().streams_per_provider(1);
    let error = home.fetch(&alone, options).await.unwrap_err();
    assert!(error.to_string().contains("says that its copy is damaged"), "{error}");
    assert!(member.library.stats().damaged > 0);
    // Another one has what is missing.
    home.data[2_500_000] ^= 1;
    fs::write(home.file.with_extension("whole"), &home.data).unwrap();
    let whole = Member::start(&home.file.with_extension("whole")).await;
    let both = ticket(&member.shared, [member.provider(), whole.provider()]);
    let got = home.fetch_all(&both).await;
    assert_eq!(got.resumed, 2 << 20);
}

#[tokio::test]
async fn greedy_and_broken_requests_are_refused() {
    let home = Home::new(100_000).await;
    let member = Member::start(&home.file).await;
    let address = member.node.local_addr().to_string();
    let session = home.client.connect(&address).await.unwrap();
    let request = |start: u64, end: u64| {
        let bounds = [start.to_le_bytes(), end.to_le_bytes()].concat();
        Bytes::from([&member.shared.root.as_bytes()[..], &bounds].concat())
    };
    for (start, end) in [(0, u64::MAX), (1, 2), (5, 5), (1 << 40, (1 << 40) + 1)] {
        let mut stream = session.open_protocol(LABEL).unwrap();
        stream.write_chunk(request(start, end)).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2, "{start}");
    }
}
