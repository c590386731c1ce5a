//! A connection's receive credit, grown to what the path can use.

use std::sync::Arc;

use quinn::{Connection, VarInt};
use tokio::time::Instant;

use super::meter::Meter;
use crate::congestion::ReceiveWindow;

/// Grows the credit of `connection` by the rule of [`ReceiveWindow`], until it has its largest size
/// or the connection ends.
pub(crate) async fn grow(connection: Connection, meter: Arc<Meter>) {
    let mut window = ReceiveWindow::new();
    while let Some(half) = window.half() {
        let start = Instant::now();
        tokio::select! {
            () = meter.opened.more(half.into()) => {}
            _ = connection.closed() => return,
        }
        if let Some(grown) = window.half_used(start.elapsed(), connection.rtt()) {
            connection.set_receive_window(VarInt::from_u32(grown));
        }
    }
}
