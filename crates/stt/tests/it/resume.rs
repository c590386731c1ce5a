//! Resumable sessions, over real nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use crate::common;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use stt::{
    CloseReason, Coded, Event, EventKind, Mode, Node, NodeBuilder, RouteKind, SessionId,
    SharedSeed,
    resume::{Continuity, ResumableSession, ResumeError, ResumeOptions, ResumeState},
};

/// Nothing here takes nearly as long.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work).await.unwrap()
}

struct Pair {
    server: Node,
    client: Node,
    there: Continuity,
    here: Continuity,
    theirs: ResumableSession,
    ours: ResumableSession,
}

async fn pair_with(options: ResumeOptions) -> Pair {
    let (server, client) = common::nodes().await;
    let there = Continuity::new(&server, options).unwrap();
    let here = Continuity::new(&client, options).unwrap();
    let address = server.local_addr().to_string();
    let ours = here.connect(&address, server.node_id()).await.unwrap();
    let theirs = there.accept().await.unwrap();
    assert_eq!(ours.id(), theirs.id());
    Pair { server, client, there, here, theirs, ours }
}

async fn pair() -> Pair {
    pair_with(ResumeOptions::default()).await
}

/// Waits until another sealed session than `before` carries it. That nothing does may be over
/// before anybody has looked.
async fn another(
    session: &ResumableSession,
    state: &mut tokio::sync::watch::Receiver<ResumeState>,
    before: SessionId,
) {
    let is_other = |_: &ResumeState| session.session().is_some_and(|now| now.id() != before);
    soon(state.wait_for(is_other)).await.unwrap();
}

/// Sends `count` numbered messages on changing streams, and says that nothing follows.
async fn send_all(session: ResumableSession, count: u32) {
    for n in 0..count {
        let position = session.send_on(n % 5, n.to_be_bytes().to_vec()).await.unwrap();
        assert_eq!(position, u64::from(n));
    }
    session.close().await.unwrap();
}

/// Receives them, once and in order, and commits now and then. Cuts what carries them every
/// `cut_every` messages, and returns how often it did.
async fn receive_all(session: ResumableSession, count: u32, cut_every: u32) -> usize {
    let mut cuts = 0;
    for n in 0..count {
        let message = session.receive().await.unwrap().unwrap();
        assert_eq!((message.position, message.stream), (u64::from(n), n % 5));
        assert_eq!(message.data, n.to_be_bytes()[..]);
        if n % 7 == 0 || n + 1 == count {
            session.commit(message.position).unwrap();
        }
        if n % cut_every == cut_every / 2
            && let Some(carrier) = session.session()
        {
            carrier.abort("cut");
            cuts += 1;
        }
    }
    assert_eq!(session.receive().await.unwrap(), None);
    cuts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_while_messages_flow_both_ways_lose_and_double_nothing() {
    const COUNT: u32 = 10_000;
    let options = ResumeOptions::new().unacknowledged_bytes(50_000);
    let pair = pair_with(options.unread_bytes(10_000)).await;
    let id = pair.ours.id();
    let (mut sending, mut receiving) = (tokio::task::JoinSet::new(), tokio::task::JoinSet::new());
    for (session, cut_every) in [(&pair.ours, 899), (&pair.theirs, 1_013)] {
        sending.spawn(send_all(session.clone(), COUNT));
        receiving.spawn(receive_all(session.clone(), COUNT, cut_every));
    }
    let cuts: usize = soon(receiving.join_all()).await.into_iter().sum();
    soon(sending.join_all()).await;
    assert!(cuts > 5, "{cuts} cuts are too few to tell");
    for session in [&pair.ours, &pair.theirs] {
        assert_eq!(soon(session.ended()).await.code(), "resume.finished");
        assert_eq!(session.id(), id);
        assert!(session.take_unacknowledged().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_cut_and_its_mending_are_events_and_states() {
    let pair = pair().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let _subscriptions = ["session_suspended", "session_resumed"].map(|name| {
        let told = told.clone();
        let note = move |event: Arc<stt::Event>| {
            let id = event.fields()["session_id"].as_text().unwrap().to_owned();
            told.lock().unwrap().push((event.name().to_owned(), id));
            std::future::ready(())
        };
        pair.client.on(name, note).unwrap()
    });
    let mut state = pair.ours.state();
    assert!(matches!(*state.borrow_and_update(), ResumeState::Connected));
    let before = pair.ours.session().unwrap();
    before.abort("cut");
    // Sent while nobody is there.
    pair.ours.send("later").await.unwrap();
    another(&pair.ours, &mut state, before.id()).await;
    assert_eq!(soon(pair.theirs.receive()).await.unwrap().unwrap().data, "later");
    assert_ne!(pair.ours.session().unwrap().id(), before.id());
    let id = pair.ours.id().to_string();
    let expected =
        ["session_suspended", "session_resumed"].map(|name| (name.to_owned(), id.clone()));
    soon(async {
        while *told.lock().unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The sealed session that began it has its id. Its end is told once, when nothing is resumed any
/// more.
#[tokio::test]
async fn session_closed_comes_when_resumption_is_given_up() {
    let pair = pair().await;
    let id = pair.ours.id();
    let mut here = pair.client.subscribe(EventKind::SessionClosed).unwrap();
    let mut there = pair.server.subscribe(EventKind::SessionClosed).unwrap();
    let mut state = pair.ours.state();
    let mut carriers = Vec::new();
    for _ in 0..2 {
        let carrier = pair.ours.session().unwrap();
        carriers.push(carrier.id());
        carrier.abort("cut");
        another(&pair.ours, &mut state, carrier.id()).await;
    }
    assert_eq!(carriers[0], id);
    carriers.push(pair.ours.session().unwrap().id());
    pair.ours.give_up().await.unwrap();
    for (events, by_peer) in [(&mut here, false), (&mut there, true)] {
        let (mut told, mut reasons) = (Vec::new(), Vec::new());
        while !carriers.iter().all(|carrier| told.contains(carrier)) {
            let event = soon(events.next()).await.unwrap();
            if let Event::SessionClosed { session_id, reason, .. } = &*event {
                told.push(*session_id);
                reasons.push(reason.clone());
            }
        }
        assert_eq!((told.len(), told[0]), (3, carriers[1]), "the second one ended first");
        let at = told.iter().position(|told| *told == id).unwrap();
        assert!(
            matches!(&reasons[at], CloseReason::Closed { by_peer: by, .. } if *by == by_peer),
            "{reasons:?}"
        );
    }
}

/// There and back: one position after the other, whatever carries them.
#[tokio::test]
async fn it_goes_on_over_another_route_than_before() {
    let seed = SharedSeed::from_key(stc::Key::generate().unwrap());
    let builder = || Node::builder(seed.clone()).host("127.0.0.1");
    let server = builder()
        .websocket(SocketAddr::from(([127, 0, 0, 1], 0)))
        .start(Mode::Server)
        .await
        .unwrap();
    let client = builder().start(Mode::Client).await.unwrap();
    let there = Continuity::new(&server, ResumeOptions::default()).unwrap();
    let here = Continuity::new(&client, ResumeOptions::default()).unwrap();
    let udp = format!("udp://{}", server.local_addr());
    let websocket = format!("ws://{}", server.websocket_addr().unwrap());
    let ours = here.connect(&udp, server.node_id()).await.unwrap();
    let theirs = soon(there.accept()).await.unwrap();
    let mut state = ours.state();
    let routes =
        [(&udp, RouteKind::Udp), (&websocket, RouteKind::WebSocket), (&udp, RouteKind::Udp)];
    for (at, (address, kind)) in routes.into_iter().enumerate() {
        if at > 0 {
            let carrier = ours.session().unwrap();
            ours.dial_at(address).unwrap();
            carrier.abort("cut");
            another(&ours, &mut state, carrier.id()).await;
        }
        assert_eq!(ours.session().unwrap().route().kind, kind);
        let position = ours.send(vec![1, 2, 3]).await.unwrap();
        let message = soon(theirs.receive()).await.unwrap().unwrap();
        assert_eq!((message.position, position), (at as u64, at as u64));
        theirs.commit(position).unwrap();
        soon(ours.acknowledged(position)).await.unwrap();
    }
    assert_eq!(ours.id(), theirs.id());
}

#[tokio::test]
async fn what_is_not_committed_is_bounded_and_pushes_back() {
    let options = ResumeOptions::new().unacknowledged_bytes(2_000);
    let pair = pair_with(options).await;
    let mut sent = 0;
    let error = loop {
        match pair.ours.try_send_on(0, vec![1; 372]) {
            Ok(position) => sent = position + 1,
            Err(error) => break error,
        }
    };
    assert_eq!(sent, 4);
    assert!(matches!(error, ResumeError::Full { waiting: 2_000, limit: 2_000 }), "{error}");
    assert!(error.retry_helps());
    let ours = pair.ours.clone();
    let waiting = tokio::spawn(async move { ours.send(vec![2; 372]).await });
    assert_eq!(pair.theirs.commit(0).unwrap_err().code(), "resume.not_received");
    let first = soon(pair.theirs.receive()).await.unwrap().unwrap();
    assert_eq!(pair.theirs.commit(1).unwrap_err().code(), "resume.not_received");
    assert!(!waiting.is_finished());
    pair.theirs.commit(first.position).unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap(), 4);
    soon(pair.ours.acknowledged(0)).await.unwrap();
    let error = pair.ours.try_send_on(0, vec![0; (1 << 20) + 1]).unwrap_err();
    assert_eq!(error.code(), "resume.too_large");
    assert!(pair.ours.take_unacknowledged().is_none(), "it goes on");
}

#[tokio::test]
async fn one_that_is_given_up_says_so_and_hands_out_what_was_not_committed() {
    let pair = pair().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = {
        let told = told.clone();
        move |event: Arc<stt::Event>| {
            told.lock().unwrap().push(event.fields()["code"].as_text().unwrap().to_owned());
            std::future::ready(())
        }
    };
    let _heard = pair.client.events().on("session_given_up", note).unwrap();
    pair.ours.send("not committed").await.unwrap();
    soon(pair.theirs.receive()).await.unwrap();
    drop(pair.theirs);
    let why = soon(pair.ours.ended()).await;
    assert!(matches!(why, ResumeError::GivenUp { by_peer: true }), "{why}");
    assert_eq!(pair.ours.send("x").await.unwrap_err().code(), "resume.given_up");
    assert_eq!(pair.ours.receive().await.unwrap_err().code(), "resume.given_up");
    let kept = pair.ours.take_unacknowledged().unwrap();
    assert_eq!((kept.len(), &kept[0].data[..]), (1, &b"not committed"[..]));
    soon(async {
        while told.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(*told.lock().unwrap(), ["resume.given_up"]);
}

fn persistent(seed: &SharedSeed, at: SocketAddr) -> NodeBuilder {
    let builder = Node::builder(seed.clone()).node_seed([7; 32]).persistent_identity(true);
    builder.host(at.ip().to_string()).port(at.port())
}

#[tokio::test]
async fn a_peer_that_was_started_anew_has_lost_it() {
    let seed = common::seed();
    let at: SocketAddr = ([127, 0, 0, 1], 0).into();
    let server = persistent(&seed, at).start(Mode::Server).await.unwrap();
    let (at, id) = (server.local_addr(), server.node_id());
    let client = common::builder(&seed).start(Mode::Client).await.unwrap();
    let there = Continuity::new(&server, ResumeOptions::default()).unwrap();
    let here = Continuity::new(&client, ResumeOptions::default()).unwrap();
    let ours = here.connect(&at.to_string(), id).await.unwrap();
    let theirs = there.accept().await.unwrap();
    ours.send("kept").await.unwrap();
    server.stop_within(Duration::ZERO).await;
    assert!(soon(there.accept()).await.is_none(), "nothing comes from a node that was stopped");
    drop((theirs, there, server));
    // The port may be in use for a moment more.
    let server = soon(async {
        loop {
            match persistent(&seed, at).start(Mode::Server).await {
                Ok(server) => return server,
                Err(error) => assert_eq!(error.code(), "node.port_in_use", "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let server = server.await;
    let _there = Continuity::new(&server, ResumeOptions::default()).unwrap();
    let why = soon(ours.ended()).await;
    let codes = ["resume.lost", "resume.given_up"];
    assert!(codes.contains(&why.code()), "{why}");
    assert_eq!(ours.take_unacknowledged().unwrap()[0].data, "kept");
}

#[tokio::test]
async fn who_does_not_come_back_in_time_is_given_up() {
    let lifetime = Duration::from_millis(300);
    let pair = pair_with(ResumeOptions::new().lifetime(lifetime)).await;
    // The client is gone without a word: its node stops, and its session with it.
    pair.client.stop_within(Duration::ZERO).await;
    let why = soon(pair.theirs.ended()).await;
    assert_eq!(why.code(), "resume.expired", "{why}");
    let why = soon(pair.ours.ended()).await;
    assert!(!matches!(why, ResumeError::Finished), "{why}");
    for wrong in [
        ResumeOptions::new().lifetime(Duration::ZERO),
        ResumeOptions::new().unread_bytes(0),
        ResumeOptions::new().unacknowledged_bytes(0),
        ResumeOptions::new().max_message(usize::MAX),
        ResumeOptions::new().max_sessions(0).max_sessions_per_peer(1),
    ] {
        let refused = Continuity::new(&pair.server, wrong).unwrap_err();
        assert_eq!(refused.code(), "resume.out_of_range");
    }
}

#[tokio::test]
async fn one_that_was_closed_frees_its_label_at_once() {
    let pair = pair().await;
    let (address, id) = (pair.server.local_addr().to_string(), pair.server.node_id());
    pair.ours.send("not committed").await.unwrap();
    soon(pair.theirs.receive()).await.unwrap();
    let there = pair.there.clone();
    let waiting = tokio::spawn(async move { there.accept().await.is_none() });
    tokio::task::yield_now().await;
    soon(pair.there.close()).await;
    // Clones and sessions of it live.
    let again = Continuity::new(&pair.server, ResumeOptions::default()).unwrap();
    assert!(soon(waiting).await.unwrap());
    assert!(soon(pair.there.accept()).await.is_none());
    let refused = pair.there.connect(&address, id).await.unwrap_err();
    assert_eq!(refused.code(), "resume.not_serving");
    let why = soon(pair.theirs.ended()).await;
    assert!(matches!(why, ResumeError::GivenUp { by_peer: false }), "{why}");
    let why = soon(pair.ours.ended()).await;
    assert!(matches!(why, ResumeError::GivenUp { by_peer: true }), "{why}");
    assert_eq!(pair.ours.take_unacknowledged().unwrap()[0].data, "not committed");

    // The side that dialled closes, too; the peer has a new one by now.
    let ours = soon(pair.here.connect(&address, id)).await.unwrap();
    let theirs = soon(again.accept()).await.unwrap();
    ours.send("x").await.unwrap();
    pair.here.close().await;
    let why = soon(ours.ended()).await;
    assert!(matches!(why, ResumeError::GivenUp { by_peer: false }), "{why}");
    let why = soon(theirs.ended()).await;
    assert!(matches!(why, ResumeError::GivenUp { by_peer: true }), "{why}");
    Continuity::new(&pair.client, ResumeOptions::default()).unwrap();
    again.close().await;
    again.close().await;
}

/// A member that holds the seed and speaks as it likes.
#[tokio::test]
async fn nobody_takes_over_a_session_without_its_ticket() {
    let pair = pair().await;
    let address = pair.server.local_addr().to_string();
    let seed_mate = pair.client.connect(&address).await.unwrap();
    let ask = async |first: Vec<u8>| {
        let stream = seed_mate.open_protocol("stt/resume").unwrap();
        stream.send(&first).await.unwrap();
        soon(stream.receive()).await
    };
    // The id of a session of this very node; neither ticket nor attempt is right.
    let id = pair.ours.id();
    let resume = [&[2, 2][..], id.as_bytes(), &[0; 7], &[9], &[0; 16], &[7; 32]];
    assert_eq!(ask(resume.concat()).await.unwrap().unwrap(), [4, 2][..]);
    let unknown = [&[2, 2][..], &[3; 8], &[0; 24], &[7; 32]].concat();
    assert_eq!(ask(unknown).await.unwrap().unwrap(), [4, 1][..]);
    assert_eq!(ask(vec![0x13]).await.unwrap().unwrap(), [4, 4][..]);
    // Version 1.
    assert!(!matches!(ask(vec![1, 1]).await, Ok(Some(_))));
    assert!(!matches!(ask(vec![99]).await, Ok(Some(_))));
    // The session does not notice.
    pair.ours.send("still there").await.unwrap();
    assert_eq!(soon(pair.theirs.receive()).await.unwrap().unwrap().data, "still there");

    // One of its own ends when it breaks the rules.
    let five = 5_u64.to_be_bytes();
    let long = [&u32::MAX.to_be_bytes()[..], b"x"].concat();
    for broken in [
        // A gap before a message, and before several.
        [&[0x10][..], &five, &[0; 4], b"x"].concat(),
        [&[0x14][..], &five, &[0; 16]].concat(),
        // No message, one that is cut, and more than may come at once.
        [&[0x14][..], &[0; 8]].concat(),
        [&[0x14][..], &[0; 12], &long].concat(),
        [&[0x14][..], &[0; 8], &[0; 8 * 513]].concat(),
    ] {
        let seed_mate = pair.client.connect(&address).await.unwrap();
        let stream = seed_mate.open_protocol("stt/resume").unwrap();
        stream.send(&[1, 2]).await.unwrap();
        assert_eq!(soon(stream.receive()).await.unwrap().unwrap()[0], 3);
        let theirs = soon(pair.there.accept()).await.unwrap();
        stream.send(&broken).await.unwrap();
        assert_eq!(soon(theirs.ended()).await.code(), "resume.broken");
    }
}

#[tokio::test]
async fn there_are_as_many_as_may_be() {
    let options = ResumeOptions::new().max_sessions(3).max_sessions_per_peer(2);
    let pair = pair_with(options).await;
    let (address, id) = (pair.server.local_addr().to_string(), pair.server.node_id());
    let second = pair.here.connect(&address, id).await.unwrap();
    let error = pair.here.connect(&address, id).await.unwrap_err();
    assert_eq!(error.code(), "resume.peer_full");
    drop(second);
    // Its place is free once the server knows.
    soon(async {
        while pair.here.connect(&address, id).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let twice = Continuity::new(&pair.server, options).unwrap_err();
    assert_eq!(twice.code(), "protocol.taken");
}
