//! A connection's receive credit, grown to what the path can use.

use std::{sync::Arc, time::Instant};

use quinn::{Connection, VarInt};

use super::{
    meter::Meter,
    transport::{FIRST_WINDOW, MAX_WINDOW},
};

/// Doubles the credit of `connection` whenever half of it was used within one round trip, until it
/// has its largest size or the connection ends.
pub(crate) async fn grow(connection: Connection, meter: Arc<Meter>) {
    let mut window = FIRST_WINDOW;
    while window < MAX_WINDOW {
        let start = Instant::now();
        tokio::select! {
            () = meter.opened_more(u64::from(window / 2)) => {}
            _ = connection.closed() => return,
        }
        if start.elapsed() <= connection.rtt() {
            window = window.saturating_mul(2).min(MAX_WINDOW);
            connection.set_receive_window(VarInt::from_u32(window));
        }
    }
}
