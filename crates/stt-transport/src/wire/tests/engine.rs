//! What the tasks around the engine do.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::time::timeout;

use super::{super::engine::Trap, *};
use crate::waker_list::WakerList;

/// Takes so many pieces of at most 1,000 bytes.
#[derive(Default)]
struct Bucket {
    room: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
}

impl Sink for Bucket {
    fn room(&self) -> Option<usize> {
        (self.room.load(Ordering::SeqCst) > 0).then_some(1_000)
    }

    fn take(&self, offset: u64, bytes: Bytes, _: &mut WakerList) {
        self.room.fetch_sub(1, Ordering::SeqCst);
        let (mut all, offset) = (self.bytes.lock().unwrap(), usize::try_from(offset).unwrap());
        let end = all.len().max(offset + bytes.len());
        all.resize(end, 0);
        all[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
}

#[tokio::test]
async fn what_arrives_is_poured_while_there_is_room() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    let sent: Vec<u8> = (0..=250).cycle().take(50_000).collect();
    let mut out = there.connection.open_uni().await.unwrap();
    out.write_chunk(sent.clone().into()).await.unwrap();
    let mut arriving = here.connection.accept_uni().await.unwrap();
    let bucket = Arc::new(Bucket::default());
    let sink: Arc<dyn Sink> = Arc::<Bucket>::clone(&bucket);
    for room in [0, 10, 20, 19] {
        bucket.room.store(room, Ordering::SeqCst);
        assert_eq!(arriving.pour(&sink).await, Ok(false), "there is more");
        assert_eq!(bucket.room.load(Ordering::SeqCst), 0);
    }
    bucket.room.store(1_000, Ordering::SeqCst);
    out.finish();
    assert_eq!(arriving.pour(&sink).await, Ok(true));
    assert!(*bucket.bytes.lock().unwrap() == sent);
    assert_eq!(arriving.pour(&sink).await, Ok(true), "the end stays the end");
    assert_eq!(out.stopped().await, Ok(None), "the peer has all of it");
}

#[tokio::test]
async fn whoever_pours_hears_of_a_reset_and_of_the_end_of_the_connection() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    let (mut first, mut second) =
        (there.connection.open_uni().await.unwrap(), there.connection.open_uni().await.unwrap());
    first.write_chunk(b"a"[..].into()).await.unwrap();
    second.write_chunk(b"b"[..].into()).await.unwrap();
    let bucket = Arc::new(Bucket { room: AtomicUsize::new(10), ..Bucket::default() });
    let sink: Arc<dyn Sink> = Arc::<Bucket>::clone(&bucket);
    let pour = |mut stream: RecvStream| {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move { stream.pour(&sink).await })
    };
    let reset = pour(here.connection.accept_uni().await.unwrap());
    let lost = pour(here.connection.accept_uni().await.unwrap());
    while bucket.room.load(Ordering::SeqCst) > 8 {
        tokio::task::yield_now().await;
    }
    first.reset(7);
    assert_eq!(reset.await.unwrap(), Err(ReadError::Reset(7)));
    there.connection.close(9, b"");
    let Err(ReadError::Lost(close)) = lost.await.unwrap() else { panic!() };
    assert_eq!(close.closed_by_peer(), Some((9, &b""[..])));
    let Err(WriteError::Lost(closed)) = second.write_chunk(b"c"[..].into()).await else { panic!() };
    assert!(closed.is_local());
}

/// What nobody has any more is closed: the peer need not wait for its silence.
#[tokio::test]
async fn a_handshake_that_is_given_up_ends_at_once() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let connecting = alice.connect(bob.local_addr(), None);
    let incoming = async {
        let incoming = bob.accept().await.unwrap();
        assert_eq!(alice.open_connections(), 1);
        drop(incoming);
    };
    let (refused, ()) = tokio::join!(connecting, incoming);
    assert!(refused.is_err());
    timeout(Duration::from_secs(5), async {
        alice.endpoint_idle().await;
        bob.endpoint_idle().await;
    })
    .await
    .unwrap();
}

/// Who knocked before the end and was not taken in is forgotten, not kept waiting for.
#[tokio::test]
async fn a_handshake_that_is_taken_in_after_the_end_is_none() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let connecting = timeout(Duration::from_millis(300), alice.connect(bob.local_addr(), None));
    assert!(connecting.await.is_err(), "nobody takes it in");
    bob.shutdown(5, b"").await;
    assert!(bob.accept().await.is_none());
    timeout(Duration::from_secs(5), bob.endpoint_idle()).await.unwrap();
}

#[tokio::test]
async fn when_the_endpoint_is_closed_everybody_hears_and_nobody_comes_in() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    bob.shutdown(5, b"done").await;
    let close = there.connection.closed().await;
    assert_eq!(close.closed_by_peer(), Some((5, &b"done"[..])));
    assert!(here.connection.closed().await.is_local());
    assert!(bob.accept().await.is_none());
    assert!(bob.connect(alice.local_addr(), None).await.is_err());
    assert!(here.connection.open_uni().await.is_err());
}

/// A panic in the engine, wherever it is met.
#[tokio::test]
async fn a_panic_over_a_datagram_or_a_newcomer_ends_nobody() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    let mut out = there.connection.open_uni().await.unwrap();
    bob.trap(Trap::Datagram);
    out.write_chunk(b"arrives"[..].into()).await.unwrap();
    let mut arriving = here.connection.accept_uni().await.unwrap();
    let read = timeout(Duration::from_secs(5), arriving.read_chunk(9)).await.unwrap();
    assert_eq!(read.unwrap().unwrap().bytes, b"arrives"[..], "once more");

    bob.trap(Trap::Admission);
    let (carol, _) = wire(seed(1));
    let both =
        async { tokio::join!(carol.connect(bob.local_addr(), None), accept_one(&bob, |_| Ok(()))) };
    assert!(timeout(Duration::from_millis(300), both).await.is_err(), "nobody is let in");
    session(&alice, &bob, bob.local_addr()).await;
    there.connection.send_datagram(b"lives"[..].into()).unwrap();
    let arrived = timeout(Duration::from_secs(5), here.connection.read_datagram()).await.unwrap();
    assert_eq!(arrived.unwrap(), b"lives"[..]);
}

#[tokio::test]
async fn a_panic_while_a_connection_is_closed_leaves_the_others_their_goodbye() {
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (_there, here) = session(&alice, &bob, bob.local_addr()).await;
    let (other, _here) = session(&alice, &bob, bob.local_addr()).await;
    here.connection.trap();
    bob.shutdown(5, b"done").await;
    let close = timeout(Duration::from_secs(5), other.connection.closed()).await.unwrap();
    assert_eq!(close.closed_by_peer(), Some((5, &b"done"[..])));
    assert!(!here.connection.closed().await.is_local());
    bob.endpoint_idle().await;
}

/// The waker of an application is called from the task that receives for all.
#[tokio::test]
async fn a_waker_that_panics_ends_nobody() {
    #[derive(Default)]
    struct Panics(AtomicUsize);
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("a waker of somebody else's");
        }
    }
    let ((alice, _), (bob, _)) = (wire(seed(1)), wire(seed(1)));
    let (there, here) = session(&alice, &bob, bob.local_addr()).await;
    let mut out = there.connection.open_uni().await.unwrap();
    out.write_chunk(b"a"[..].into()).await.unwrap();
    let mut arriving = here.connection.accept_uni().await.unwrap();
    arriving.read_chunk(1).await.unwrap();
    let panics = Arc::new(Panics::default());
    let waker = std::task::Waker::from(Arc::clone(&panics));
    let mut reading = Box::pin(arriving.read_chunk(1));
    assert!(reading.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    out.write_chunk(b"b"[..].into()).await.unwrap();
    while panics.0.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let read = timeout(Duration::from_secs(5), reading).await.unwrap().unwrap().unwrap();
    assert_eq!(read.bytes, b"b"[..]);
    there.connection.send_datagram(b"lives"[..].into()).unwrap();
    let arrived = timeout(Duration::from_secs(5), here.connection.read_datagram()).await.unwrap();
    assert_eq!(arrived.unwrap(), b"lives"[..]);
}
