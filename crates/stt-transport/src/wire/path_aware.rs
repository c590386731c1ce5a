//! What a congestion controller is told from outside: that its connection closes, or moved.
//!
//! **Closing.**
//! The engine holds CONNECTION_CLOSE back like data while the congestion window is full, and a
//! connection that is closing takes no more acknowledgements, so it would never be sent and the peer
//! would wait for its idle timeout. The controller is where that can be lifted from outside.
//!
//! **Moving.** What a controller knows is of a path. On another one a new controller begins, with the
//! last window of that kind of path if there was one. What was sent before the move, and is still
//! unaccounted for, is none of its business: it neither fills the new window nor counts as its loss.
//!
//! **Another way along the same path**, for instance when a NAT forgot the old one: the controller
//! stays. But what was under way is probably lost, and would fill the window until a probe timeout,
//! which may have doubled by then: it gets as much room again until it is accounted for.
//!
//! The check of the window wants room for a datagram of full size. With the 65,507 bytes of a loopback
//! interface a window of two datagrams is blocked by one MTU probe, so the window keeps its size in
//! datagrams there.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use crate::{congestion::BbrConfig, route::RouteKind};

/// From this MTU on the path is a loopback interface, or something as wide.
const JUMBO: u16 = 9_217;
/// Datagrams in a window at least on such a path (RFC 9002, section 7.2, gives an initial window
/// the same).
const JUMBO_WINDOW: u64 = 10;

/// Tells the controller of a connection what happens to it. Clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct CloseLatch(Arc<Latch>);

#[derive(Debug, Default)]
struct Latch {
    closed: AtomicBool,
    /// Number of moves so far, and in the lowest byte the kind of the path that it is on.
    moves: AtomicU64,
    detours: AtomicU64,
}

impl CloseLatch {
    /// Lets the next packet of the connection out, come what may. Called just before it is closed, or
    /// once the peer closed it.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    /// Whether the connection is over, or about to be.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// What is sent from now on takes a path of this kind that is unlike the one before.
    pub(crate) fn moved(&self, kind: RouteKind) {
        let moves = (self.moves() >> 8) + 1;
        self.0.moves.store(moves << 8 | u64::from(kind.id()), Ordering::Release);
    }

    /// What is sent from now on takes another way along a path like the one before.
    pub(crate) fn detoured(&self) {
        self.0.detours.fetch_add(1, Ordering::Release);
    }

    fn detours(&self) -> u64 {
        self.0.detours.load(Ordering::Acquire)
    }

    fn moves(&self) -> u64 {
        self.0.moves.load(Ordering::Acquire)
    }
}

/// Makes controllers that heed a [`CloseLatch`].
pub(crate) struct PathAwareFactory {
    pub(crate) inner: Arc<dyn ControllerFactory + Send + Sync>,
    pub(crate) latch: CloseLatch,
}

impl ControllerFactory for PathAwareFactory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.inner).build(now, current_mtu);
        Box::new(PathAwareController {
            inner,
            factory: Arc::clone(&self.inner),
            mtu: current_mtu,
            latch: self.latch.clone(),
            moves: self.latch.moves(),
            moved_at: None,
            detours: self.latch.detours(),
            detoured_at: None,
            forgotten: 0,
            in_flight: 0,
            stale: 0,
            windows: [None; KINDS],
        })
    }
}

/// Kinds of paths whose last window is remembered.
const KINDS: usize = 4;

struct PathAwareController {
    inner: Box<dyn Controller>,
    factory: Arc<dyn ControllerFactory + Send + Sync>,
    mtu: u16,
    latch: CloseLatch,
    /// The move that `inner` was made for.
    moves: u64,
    moved_at: Option<Instant>,
    /// Detours that are known.
    detours: u64,
    detoured_at: Option<Instant>,
    /// Bytes in flight that were sent before the last detour, on the same path.
    forgotten: u64,
    /// Bytes in flight, as far as the engine tells.
    in_flight: u64,
    /// Those of them that were sent before the move.
    stale: u64,
    /// Last window on each kind of path.
    windows: [Option<u64>; KINDS],
}

impl Clone for PathAwareController {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone_box(),
            factory: Arc::clone(&self.factory),
            latch: self.latch.clone(),
            ..*self
        }
    }
}

impl PathAwareController {
    fn window_of(&mut self, moves: u64) -> Option<&mut Option<u64>> {
        let kind = usize::try_from(moves & 0xff).ok()?;
        self.windows.get_mut(kind)
    }

    /// Begins anew if the connection moved, and makes room if it took a detour.
    fn heed(&mut self, now: Instant) {
        let detours = self.latch.detours();
        if detours != self.detours {
            self.detours = detours;
            self.detoured_at = Some(now);
            // Of this path only, and never more than a window of it.
            let here = self.in_flight.saturating_sub(self.stale);
            self.forgotten = here.min(self.inner.window());
        }
        let moves = self.latch.moves();
        if moves == self.moves {
            return;
        }
        let last = self.inner.window();
        if let Some(window) = self.window_of(self.moves) {
            *window = Some(last);
        }
        let known = self.window_of(moves).and_then(|window| *window);
        let factory: Arc<dyn ControllerFactory> = match known {
            Some(window) => Arc::new(BbrConfig::default().with_initial_window(window)),
            None => Arc::clone(&self.factory) as _,
        };
        self.inner = factory.build(now, self.mtu);
        self.moves = moves;
        self.moved_at = Some(now);
        self.stale = self.in_flight;
        self.forgotten = 0;
    }

    /// `bytes`, sent at `sent`, were acknowledged or lost.
    fn account(&mut self, sent: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if self.detoured_at.is_some_and(|at| sent < at) {
            self.forgotten = self.forgotten.saturating_sub(bytes);
        }
    }

    /// Whether what was sent at `sent` took a path that was left.
    fn is_stale(&self, sent: Instant) -> bool {
        self.moved_at.is_some_and(|moved| sent < moved)
    }
}

impl Controller for PathAwareController {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.heed(now);
        self.in_flight = self.in_flight.saturating_add(bytes);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.heed(now);
        self.account(sent, bytes);
        if self.is_stale(sent) {
            self.stale = self.stale.saturating_sub(bytes);
        } else {
            self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.heed(now);
        self.in_flight = in_flight;
        self.stale = self.stale.min(in_flight);
        self.forgotten = self.forgotten.min(in_flight);
        let in_flight = in_flight - self.stale;
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.heed(now);
        self.account(sent, lost_bytes);
        if self.is_stale(sent) {
            self.stale = self.stale.saturating_sub(lost_bytes);
        } else {
            self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.latch.0.closed.load(Ordering::Acquire) {
            // Beyond 32 bits the engine does not pace either.
            return u64::MAX;
        }
        let least = if self.mtu >= JUMBO { u64::from(self.mtu) * JUMBO_WINDOW } else { 0 };
        // What is not heeded yet: there must be room for the packet that makes it heed.
        let (window, beside) = if self.latch.moves() != self.moves {
            (self.inner.initial_window(), self.in_flight)
        } else if self.latch.detours() != self.detours {
            (self.inner.window(), self.in_flight)
        } else {
            (self.inner.window(), self.stale.saturating_add(self.forgotten))
        };
        window.max(least).saturating_add(beside)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::congestion::CubicConfig;

    use super::*;

    #[test]
    fn a_closing_connection_has_all_the_room_there_is() {
        let latch = CloseLatch::default();
        let inner = Arc::new(CubicConfig::default());
        let urgent = Arc::new(PathAwareFactory { inner, latch: latch.clone() });
        let mut controller = urgent.build(Instant::now(), 1_200);
        assert_eq!(controller.window(), controller.initial_window());
        controller.on_mtu_update(65_507);
        assert_eq!(controller.window(), 655_070);
        latch.close();
        assert_eq!(controller.window(), u64::MAX);
        assert_eq!(controller.clone_box().window(), u64::MAX);
    }

    #[test]
    fn what_a_detour_forgot_gets_as_much_room_again() {
        let latch = CloseLatch::default();
        let inner = Arc::new(CubicConfig::default());
        let start = Instant::now();
        let at = |ms| start + std::time::Duration::from_millis(ms);
        let mut controller =
            Arc::new(PathAwareFactory { inner, latch: latch.clone() }).build(start, 1_200);
        let window = controller.window();
        controller.on_sent(at(1), window, 0);
        latch.detoured();
        assert_eq!(controller.window(), 2 * window, "room before it was heeded");
        controller.on_sent(at(5), 1_000, 1);
        assert_eq!(controller.window(), 2 * window);
        latch.detoured();
        controller.on_sent(at(5), 1_000, 2);
        assert_eq!(controller.window(), 2 * window, "another one gives no more");
        controller.on_end_acks(at(6), 5_000, true, None);
        assert_eq!(controller.window(), window + 5_000);
        controller.on_congestion_event(at(7), at(1), false, 4_000);
        let cut = controller.window() - 1_000;
        assert!(cut < window, "it is a loss of the same path");
        controller.on_congestion_event(at(7), at(1), false, 1_000);
        assert_eq!(controller.window(), cut);
    }

    /// What was in flight before a move neither fills the window of the new path nor is its loss.
    #[test]
    fn after_a_move_a_new_controller_begins_and_the_old_one_is_remembered() {
        let latch = CloseLatch::default();
        let inner = Arc::new(BbrConfig::new(1));
        let urgent = Arc::new(PathAwareFactory { inner, latch: latch.clone() });
        let start = Instant::now();
        let at = |ms| start + std::time::Duration::from_millis(ms);
        let mut controller = urgent.build(start, 1_200);
        let first = controller.window();
        controller.on_sent(at(1), 10_000, 0);
        latch.moved(RouteKind::WebSocket);
        assert_eq!(controller.window(), first + 10_000, "room before it was heeded");
        controller.on_sent(at(5), 1_000, 1);
        assert_eq!(controller.window(), first + 10_000);
        controller.on_congestion_event(at(9), at(1), true, 4_000);
        assert_eq!(controller.window(), first + 6_000, "no loss of this path");
        controller.on_congestion_event(at(9), at(1), true, 6_000);
        assert_eq!(controller.window(), first);
        controller.on_congestion_event(at(10), at(5), true, 1_000);
        let cut = controller.window();
        assert!(cut < first, "a loss of this path");
        latch.moved(RouteKind::Udp);
        controller.on_sent(at(11), 1, 2);
        assert_eq!(controller.window(), first);
        latch.moved(RouteKind::WebSocket);
        controller.on_sent(at(12), 1, 3);
        assert_eq!(controller.window(), cut + 1, "as it was when it was left");
    }
}
