//! Files over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{
    fs,
    future::{Future, poll_fn},
    io,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use crate::common::{self, Inbox, builder, connect, seed};
use stt::{
    Coded, ContentId, Mode, Node, Session,
    transfer::{
        LABEL, Phase, ReceiveOptions, Received, SendOptions, Sent, TransferError,
        decline_first_version, receive, send,
    },
};
use tokio::sync::{Notify, mpsc};

type Arrival = Result<Received, TransferError>;
type Outcome = (Result<Sent, TransferError>, Result<Received, TransferError>);

/// Two nodes with a session: server, client, what is offered to the server, the client's session.
async fn session() -> (Node, Node, Inbox, Session) {
    let (server, client, _, ours) = common::session().await;
    let inbox = Inbox::of(&server);
    (server, client, inbox, ours)
}

/// Sends one file from one end to the other.
async fn transfer(
    from: &Session,
    to: &Inbox,
    path: &Path,
    dir: &Path,
    sending: SendOptions,
    receiving: ReceiveOptions,
) -> Outcome {
    let taking = async { receive(to.next().await, dir, &receiving).await };
    tokio::join!(send(from, path, &sending), taking)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn bytes(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(len as u64);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

#[tokio::test]
async fn files_of_any_size_arrive_whole_under_their_name() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mib = 1 << 20;
    for len in [0, 1, 31, 32, 33, mib - 1, mib, mib + 1, 5 * mib + 17] {
        let (data, name) = (bytes(len), format!("file-{len}.bin"));
        let path = from.path().join(&name);
        fs::write(&path, &data).unwrap();
        let (sent, received) = transfer(
            &ours,
            &theirs,
            &path,
            to.path(),
            SendOptions::default(),
            ReceiveOptions::default(),
        )
        .await;
        let (sent, received) = (sent.unwrap(), received.unwrap());
        assert_eq!(sent.hash, ContentId::of(&data));
        assert_eq!((received.hash, received.size), (sent.hash, len as u64));
        assert_eq!(received.path, to.path().join(&name));
        assert!(fs::read(received.path).unwrap() == data);
    }
    assert_eq!(names(to.path()).len(), 9);
}

#[tokio::test]
async fn an_interrupted_transfer_goes_on_where_it_stopped() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = bytes(64 << 20);
    let path = from.path().join("big.bin");
    fs::write(&path, &data).unwrap();

    let (_server, _client, theirs, ours) = session().await;
    let cut = Arc::new(AtomicBool::new(false));
    let session_to_cut = ours.clone();
    let cut_once = Arc::clone(&cut);
    let receiving = ReceiveOptions::new().progress(Arc::new(move |progress| {
        if progress.done > 8 << 20 && !cut_once.swap(true, Ordering::Relaxed) {
            session_to_cut.abort("pulled the plug");
        }
    }));
    let (sent, received) =
        transfer(&ours, &theirs, &path, to.path(), SendOptions::default(), receiving).await;
    assert!(sent.unwrap_err().retry_helps() && received.unwrap_err().retry_helps());
    assert!(cut.load(Ordering::Relaxed));
    let left = names(to.path());
    assert!(left.len() == 1 && left[0].ends_with(".part"), "{left:?}");

    let (_server, _client, theirs, ours) = session().await;
    let phases = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&phases);
    let sending = SendOptions::new()
        .progress(Arc::new(move |progress| seen.lock().unwrap().push(progress.phase)));
    let (sent, received) =
        transfer(&ours, &theirs, &path, to.path(), sending, ReceiveOptions::default()).await;
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert!(sent.resumed_at >= 8 << 20 && received.resumed_at == sent.resumed_at);
    assert!(fs::read(received.path).unwrap() == data);
    assert_eq!(names(to.path()), ["big.bin"]);
    let phases = phases.lock().unwrap();
    assert_eq!(phases.first(), Some(&Phase::Checking));
    assert_eq!(phases.last(), Some(&Phase::Done));
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_compared_before_it_is_used() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = bytes(32 << 20);
    let path = from.path().join("a.bin");
    fs::write(&path, &data).unwrap();

    let (_server, _client, theirs, ours) = session().await;
    let session_to_cut = ours.clone();
    let receiving = ReceiveOptions::new().progress(Arc::new(move |progress| {
        if progress.done > 4 << 20 {
            session_to_cut.abort("pulled the plug");
        }
    }));
    let (sent, _) =
        transfer(&ours, &theirs, &path, to.path(), SendOptions::default(), receiving).await;
    sent.unwrap_err();
    let part = to.path().join(&names(to.path())[0]);
    let mut left = fs::read(&part).unwrap();
    left[1_000] ^= 1;
    fs::write(&part, left).unwrap();

    let (_server, _client, theirs, ours) = session().await;
    let (sent, received) = transfer(
        &ours,
        &theirs,
        &path,
        to.path(),
        SendOptions::default(),
        ReceiveOptions::default(),
    )
    .await;
    assert_eq!(sent.unwrap().resumed_at, 0);
    assert!(fs::read(received.unwrap().path).unwrap() == data);
}

#[tokio::test]
async fn an_existing_file_is_kept_unless_asked() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("a.txt");
    fs::write(&path, b"new").unwrap();
    fs::write(to.path().join("a.txt"), b"old").unwrap();
    let (sent, received) = transfer(
        &ours,
        &theirs,
        &path,
        to.path(),
        SendOptions::default(),
        ReceiveOptions::default(),
    )
    .await;
    assert_eq!(sent.unwrap_err().code(), "transfer.declined_exists");
    assert_eq!(received.unwrap_err().code(), "transfer.exists");
    assert_eq!(fs::read(to.path().join("a.txt")).unwrap(), b"old");
    assert_eq!(names(to.path()), ["a.txt"]);

    let receiving = ReceiveOptions::new().overwrite(true);
    let (sent, received) =
        transfer(&ours, &theirs, &path, to.path(), SendOptions::default(), receiving).await;
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(fs::read(to.path().join("a.txt")).unwrap(), b"new");
}

#[tokio::test]
async fn hostile_names_stay_in_the_directory() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, outer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = outer.path().join("inner");
    fs::create_dir(&to).unwrap();
    let path = from.path().join("a");
    fs::write(&path, b"x").unwrap();
    for (name, expected) in [
        ("../../up", Some("up")),
        ("/etc/cron", Some("cron")),
        ("\u{1b}[31m", Some("_[31m")),
        ("..", None),
    ] {
        let sending = SendOptions::new().name(name.to_owned());
        let (sent, received) =
            transfer(&ours, &theirs, &path, &to, sending, ReceiveOptions::default()).await;
        match expected {
            Some(expected) => assert_eq!(received.unwrap().name, expected),
            None => {
                assert_eq!(sent.unwrap_err().code(), "transfer.declined_name");
                assert_eq!(received.unwrap_err().code(), "transfer.name");
            }
        }
    }
    assert_eq!(names(outer.path()), ["inner"]);
    assert_eq!(names(&to), ["_[31m", "cron", "up"]);
}

#[tokio::test]
async fn a_file_that_changes_on_the_way_is_not_sent() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("log");
    let open = |path: &Path| fs::File::options().write(true).open(path).unwrap();
    // Same length, other bytes; shorter; longer.
    let changes: [fn(&fs::File); 3] = [
        |mut file| io::Write::write_all(&mut file, b"other").unwrap(),
        |file| file.set_len(17).unwrap(),
        |file| file.set_len(21 << 20).unwrap(),
    ];
    for change in changes {
        fs::write(&path, bytes(20 << 20)).unwrap();
        let (file, once) = (open(&path), AtomicBool::new(false));
        let sending = SendOptions::new().progress(Arc::new(move |progress| {
            if progress.phase == Phase::Moving && !once.swap(true, Ordering::Relaxed) {
                change(&file);
            }
        }));
        let receiving = ReceiveOptions::default();
        let (sent, received) = transfer(&ours, &theirs, &path, to.path(), sending, receiving).await;
        assert_eq!(sent.unwrap_err().code(), "transfer.changed");
        assert!(received.is_err());
        assert!(!to.path().join("log").exists());
    }
}

/// A sender that went away without a word must not keep its own next attempt out.
#[tokio::test]
async fn a_newer_attempt_takes_the_place_of_one_that_is_silent() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("big.bin");
    fs::write(&path, bytes(64 << 20)).unwrap();
    let (begun, moving) = tokio::sync::oneshot::channel();
    let begun = Mutex::new(Some(begun));
    let receiving = ReceiveOptions::new().progress(Arc::new(move |_| {
        begun.lock().unwrap().take().map(|begun| begun.send(()));
    }));
    let sending = SendOptions::default();
    let mut silent = Box::pin(send(&ours, &path, &sending));
    let mut first = None;
    let under_way = async {
        let stream = theirs.next().await;
        let (to, receiving) = (to.path().to_owned(), receiving.clone());
        let taking = async move { receive(stream, &to, &receiving).await };
        first = Some(tokio::spawn(taking));
        moving.await.unwrap();
    };
    tokio::select! {
        _ = &mut silent => panic!("it cannot be done"),
        () = under_way => {}
    }
    let first = first.unwrap();
    // From here on nobody polls the first one: nothing more of it comes.
    let options = ReceiveOptions::default();
    let (sent, received) =
        transfer(&ours, &theirs, &path, to.path(), sending.clone(), options).await;
    sent.unwrap();
    assert_eq!(fs::read(received.unwrap().path).unwrap().len(), 64 << 20);
    assert_eq!(first.await.unwrap().unwrap_err().code(), "transfer.replaced");
    assert_eq!(names(to.path()), ["big.bin"]);
    drop(silent);
}

#[tokio::test]
async fn a_receiver_that_wants_one_file_gets_one() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiving = ReceiveOptions::new().files_left(Arc::new(AtomicUsize::new(1)));
    let mut codes = Vec::new();
    for name in ["a", "b"] {
        let path = from.path().join(name);
        fs::write(&path, name).unwrap();
        let (sending, receiving) = (SendOptions::default(), receiving.clone());
        let (sent, received) = transfer(&ours, &theirs, &path, to.path(), sending, receiving).await;
        assert_eq!(sent.is_ok(), received.is_ok());
        codes.push(received.map_err(|error| error.code()).err());
    }
    assert_eq!(codes, [None, Some("transfer.over")]);
    assert_eq!(names(to.path()), ["a"]);
}

/// The other side says that the session is over, and not that somebody broke a rule.
#[tokio::test]
async fn an_orderly_end_of_the_session_is_told_as_one() {
    for by_receiver in [false, true] {
        let (server, client, theirs, ours) = session().await;
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = from.path().join("big.bin");
        fs::write(&path, bytes(64 << 20)).unwrap();
        let stop = Arc::new(tokio::sync::Notify::new());
        let begun = Arc::clone(&stop);
        let receiving = ReceiveOptions::new().progress(Arc::new(move |_| begun.notify_one()));
        let transferring =
            transfer(&ours, &theirs, &path, to.path(), SendOptions::default(), receiving);
        let ending = async {
            stop.notified().await;
            let node = if by_receiver { &server } else { &client };
            node.stop_within(std::time::Duration::from_secs(1)).await;
        };
        let ((sent, received), ()) = tokio::join!(transferring, ending);
        // Whose own node was stopped knows why.
        let (sent, received) = (sent.unwrap_err(), received.unwrap_err());
        let error = if by_receiver { sent } else { received };
        assert_eq!(error.code(), "stream.session_ended", "{by_receiver}: {error}");
        assert!(error.retry_helps());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_the_system_makes_up_is_none() {
    let (_server, _client, theirs, ours) = session().await;
    let to = tempfile::tempdir().unwrap();
    let (sending, receiving) = (SendOptions::default(), ReceiveOptions::default());
    let path = Path::new("/proc/version");
    let (sent, _) = transfer(&ours, &theirs, path, to.path(), sending, receiving).await;
    let error = sent.unwrap_err();
    assert_eq!((error.code(), error.retry_helps()), ("transfer.not_a_file", false));
}

#[tokio::test]
async fn what_is_no_file_is_not_sent() {
    let (_server, _client, _theirs, ours) = session().await;
    let dir = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    {
        let null = send(&ours, Path::new("/dev/null"), &SendOptions::default()).await;
        assert_eq!(null.unwrap_err().code(), "transfer.not_a_file");
    }
    let missing = dir.path().join("missing");
    let error = send(&ours, &missing, &SendOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "transfer.file");
}

#[tokio::test]
async fn who_takes_no_files_says_so_and_the_first_version_is_told() {
    let (_server, _client, theirs, ours) = common::session().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, b"x").unwrap();
    let error = send(&ours, &path, &SendOptions::default()).await.unwrap_err();
    assert_eq!((error.code(), error.hint()), ("protocol.unknown", Some("run `stt receive` there")));
    // The offer of a sender of the first version, and what it gets.
    let mut old = ours.open_stream().unwrap().into_raw();
    old.write_chunk(b"\x0c\x01\x01\x05\0\0\0\0\0\0\0\0a"[..].into()).await.unwrap();
    decline_first_version(theirs.accept_stream().await.unwrap()).await.unwrap();
    let mut verdict = Vec::new();
    while let Some(piece) = old.read_chunk(100).await.unwrap() {
        verdict.extend_from_slice(&piece);
    }
    assert_eq!(verdict, [2, 4, 6]);
    let label = || "stt/file/2".to_owned();
    let refused = TransferError::from(stt::ProtocolError::Unsupported { label: label() });
    assert_eq!(refused.hint(), Some("update the other side"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_receiver_that_cannot_write_tells_the_sender_at_once() {
    let (_server, _client, theirs, ours) = session().await;
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("a");
    fs::write(&path, bytes(20 << 20)).unwrap();
    let (sent, received) = transfer(
        &ours,
        &theirs,
        &path,
        Path::new("/proc"),
        SendOptions::default(),
        ReceiveOptions::default(),
    )
    .await;
    assert_eq!(sent.unwrap_err().code(), "transfer.declined_other");
    assert_eq!(received.unwrap_err().code(), "transfer.file");
}

#[tokio::test]
async fn several_files_at_once_over_one_session() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiving = tokio::spawn({
        let dir = to.path().to_owned();
        async move {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let stream = theirs.next().await;
                let dir = dir.clone();
                tasks.spawn(async move { receive(stream, &dir, &ReceiveOptions::default()).await });
            }
            tasks.join_all().await.into_iter().map(Result::unwrap).count()
        }
    });
    let mut sending = tokio::task::JoinSet::new();
    for at in 0..8 {
        let path = from.path().join(format!("{at}"));
        fs::write(&path, bytes(1_000_000 + at)).unwrap();
        let session = ours.clone();
        sending.spawn(async move { send(&session, &path, &SendOptions::default()).await.unwrap() });
    }
    assert_eq!(sending.join_all().await.len(), 8);
    assert_eq!(receiving.await.unwrap(), 8);
    assert_eq!(names(to.path()).len(), 8);
}

/// Receives whatever comes, as a server does; tells how each ended.
fn receiving(inbox: &Inbox, dir: &Path) -> mpsc::UnboundedReceiver<Arrival> {
    let (inbox, dir) = (inbox.clone(), dir.to_owned());
    let (outcomes, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let stream = inbox.next().await;
            let (dir, outcomes) = (dir.clone(), outcomes.clone());
            tokio::spawn(async move {
                let received = receive(stream, &dir, &ReceiveOptions::default()).await;
                let _ = outcomes.send(received);
            });
        }
    });
    ended
}

#[tokio::test]
async fn a_send_that_is_given_up_lets_the_receiver_go_and_goes_on_later() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = bytes(32 << 20);
    let path = from.path().join("big.bin");
    fs::write(&path, &data).unwrap();
    let mut ended = receiving(&theirs, to.path());

    let half = Arc::new(Notify::new());
    let told = Arc::clone(&half);
    let sending = SendOptions::new().progress(Arc::new(move |progress| {
        if progress.done > 8 << 20 {
            told.notify_one();
        }
    }));
    tokio::select! {
        sent = send(&ours, &path, &sending) => panic!("{sent:?}"),
        () = half.notified() => {}
    }
    let again = send(&ours, &path, &SendOptions::default()).await.unwrap();
    let first = ended.recv().await.unwrap().unwrap_err();
    assert_eq!(first.code(), "stream.reset");
    let received = ended.recv().await.unwrap().unwrap();
    assert_eq!(received.resumed_at, again.resumed_at);
    assert!(again.resumed_at > 0);
    assert!(fs::read(received.path).unwrap() == data);
}

#[tokio::test]
async fn a_receive_that_is_given_up_ends_the_sender() {
    let (_server, _client, theirs, ours) = session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("big.bin");
    fs::write(&path, bytes(32 << 20)).unwrap();
    let half = Arc::new(Notify::new());
    let told = Arc::clone(&half);
    let options = ReceiveOptions::new().progress(Arc::new(move |progress| {
        if progress.done > 8 << 20 {
            told.notify_one();
        }
    }));
    let taking = async {
        let stream = theirs.next().await;
        tokio::select! {
            received = receive(stream, to.path(), &options) => panic!("{received:?}"),
            () = half.notified() => {}
        }
    };
    let options = SendOptions::default();
    let (sent, ()) = tokio::join!(send(&ours, &path, &options), taking);
    let error = sent.unwrap_err();
    assert!(error.retry_helps(), "{error:?}");
    assert_eq!(error.code(), "transfer.declined_other");
}

/// Whatever the moment at which they are given up, transfers use up no places for streams.
#[tokio::test]
async fn transfers_that_were_given_up_leave_no_stream_behind() {
    let seed = seed();
    let few = || builder(&seed).max_streams(4);
    let server = few().start(Mode::Server).await.unwrap();
    let client = few().start(Mode::Client).await.unwrap();
    let ours = connect(&client, &server).await;
    let theirs = Inbox::of(&server);
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("a.bin");
    fs::write(&path, bytes(3 << 20)).unwrap();
    let _ended = receiving(&theirs, to.path());

    for polls in 1..40 {
        let sending = SendOptions::new().name(format!("{polls}.bin"));
        let mut sending = pin!(send(&ours, &path, &sending));
        for _ in 0..polls {
            // Some are over before they can be given up.
            if poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await.is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let last = async {
        loop {
            match send(&ours, &path, &SendOptions::default()).await {
                // What was given up last may not be over yet.
                Err(error) if error.retry_helps() => tokio::task::yield_now().await,
                sent => return drop(sent.unwrap()),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), last).await.unwrap();
}

/// What waits in queues here and in windows there has not arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_counts_what_the_receivers_machine_acknowledged() {
    /// What a machine takes of a stream that nobody reads.
    const WINDOW: u64 = 1 << 20;
    let (server, _client, _, ours) = common::session().await;
    let (reads, steps) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let may_read = Arc::clone(&reads);
    let _receiver = server
        .handle_protocol(LABEL, move |_, mut stream| {
            let may_read = Arc::clone(&may_read);
            async move {
                // ANSWER: nothing is there.
                let mut answer = vec![34, 2];
                answer.resize(35, 0);
                stream.write_chunk(answer.into()).await.unwrap();
                may_read.notified().await;
                while stream.read_chunk(1 << 20).await.unwrap().is_some() {}
                // VERDICT: all is well.
                stream.write_chunk(vec![2, 4, 0].into()).await.unwrap();
                stream.close().await.unwrap();
            }
        })
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, bytes(4 << 20)).unwrap();
    let (noted, moved) = (Arc::clone(&steps), Arc::new(Notify::new()));
    let moving = Arc::clone(&moved);
    let options = SendOptions::new().progress(Arc::new(move |step| {
        noted.lock().unwrap().push((step.phase, step.done));
        moving.notify_one();
    }));
    let sending = send(&ours, &path, &options);
    let watching = async {
        let last = || steps.lock().unwrap().last().map_or(0, |(_, done)| *done);
        while last() < WINDOW * 3 / 4 {
            moved.notified().await;
        }
        let unread = steps.lock().unwrap().clone();
        reads.notify_one();
        unread
    };
    let both = async { tokio::join!(sending, watching) };
    let (sent, unread) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    assert_eq!(sent.unwrap().size, 4 << 20);
    let first = unread.first().unwrap().1;
    assert!(first <= WINDOW / 4, "{first} bytes at once");
    assert!(unread.iter().all(|(_, done)| *done <= WINDOW), "{unread:?}");
    let steps = steps.lock().unwrap();
    assert!(steps.is_sorted_by_key(|(_, done)| *done), "{steps:?}");
    assert_eq!(steps.last(), Some(&(Phase::Done, 4 << 20)));
}
