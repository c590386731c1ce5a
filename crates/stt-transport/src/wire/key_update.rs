//! When a session that lives long gets new keys (docs/protocol.md, KEY-6 and KEY-7).

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{engine::Connection, meter::Meter, rekey_exchange::Renewal};

/// When keys are replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes sent under one key at most.
    pub(crate) bytes: u64,
    /// Age of a key at most.
    pub(crate) age: Duration,
    /// Time from one renewal to the next.
    pub(crate) renewal: Duration,
}

impl Pace {
    /// Bytes far below what either cipher allows; and half a day, so that fresh keys are in use
    /// within a day whatever comes between.
    pub(crate) const DEFAULT: Self = Self {
        bytes: 64 << 30,
        age: Duration::from_secs(3600),
        renewal: Duration::from_secs(12 * 3600),
    };
}

/// From one update to the next while a renewal waits for its turn. The engine lets an update pass
/// that comes too early after another one.
const HASTE: Duration = Duration::from_secs(1);

/// Updates the keys of `connection` as `pace` says, and has them renewed, until it ends.
pub(crate) async fn update(
    connection: Connection,
    meter: Arc<Meter>,
    renewal: Arc<Renewal>,
    pace: Pace,
) {
    let mut renewed = Instant::now();
    loop {
        let hurries = renewal.is_ours() && renewal.is_under_way();
        tokio::select! {
            () = meter.sealed.more(pace.bytes) => {}
            () = tokio::time::sleep(if hurries { HASTE } else { pace.age }) => {}
            () = renewal.agreed() => {}
            _ = connection.closed() => return,
        }
        connection.force_key_update();
        if renewal.is_ours() && renewed.elapsed() >= pace.renewal {
            renewed = Instant::now();
            renewal.want();
        }
    }
}
