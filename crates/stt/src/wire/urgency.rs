//! A close that gets out, whatever the path is doing.
//!
//! The engine holds CONNECTION_CLOSE back like data while the congestion window is full, and a
//! connection that is closing takes no more acknowledgements, so it would never be sent and the peer
//! would wait for its idle timeout. The controller is where that can be lifted from outside.
//!
//! The same check wants room for a datagram of full size. With the 65,507 bytes of a loopback
//! interface a window of two datagrams is blocked by one MTU probe, so the window keeps its size in
//! datagrams there.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use quinn_proto::congestion::ControllerMetrics;

/// From this MTU on the path is a loopback interface, or something as wide.
const JUMBO: u16 = 9_217;
/// Datagrams in a window at least on such a path (RFC 9002, section 7.2, gives an initial window
/// the same).
const JUMBO_WINDOW: u64 = 10;

/// Says that a connection is being closed. Clones are the same latch.
#[derive(Clone, Debug, Default)]
pub(crate) struct CloseLatch(Arc<AtomicBool>);

impl CloseLatch {
    /// Lets the next packet of the connection out, come what may. Called just before it is closed.
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Makes controllers that heed a [`CloseLatch`].
pub(crate) struct Urgent {
    pub(crate) inner: Arc<dyn ControllerFactory + Send + Sync>,
    pub(crate) latch: CloseLatch,
}

impl ControllerFactory for Urgent {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.inner).build(now, current_mtu);
        Box::new(Heeding { inner, mtu: current_mtu, latch: self.latch.clone() })
    }
}

struct Heeding {
    inner: Box<dyn Controller>,
    mtu: u16,
    latch: CloseLatch,
}

impl Controller for Heeding {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
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
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.latch.0.load(Ordering::Acquire) {
            // Beyond 32 bits the engine does not pace either.
            return u64::MAX;
        }
        let least = if self.mtu >= JUMBO { u64::from(self.mtu) * JUMBO_WINDOW } else { 0 };
        self.inner.window().max(least)
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self { inner: self.inner.clone_box(), mtu: self.mtu, latch: self.latch.clone() })
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
    use quinn::congestion::CubicConfig;

    use super::*;

    #[test]
    fn a_closing_connection_has_all_the_room_there_is() {
        let latch = CloseLatch::default();
        let inner = Arc::new(CubicConfig::default());
        let urgent = Arc::new(Urgent { inner, latch: latch.clone() });
        let mut controller = urgent.build(Instant::now(), 1_200);
        assert_eq!(controller.window(), controller.initial_window());
        controller.on_mtu_update(65_507);
        assert_eq!(controller.window(), 655_070);
        latch.close();
        assert_eq!(controller.window(), u64::MAX);
        assert_eq!(controller.clone_box().window(), u64::MAX);
    }
}
