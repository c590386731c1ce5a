//! New keys for a session that lives long (docs/protocol.md, KEY-6).

use std::{sync::Arc, time::Duration};

use quinn::Connection;

use super::meter::Meter;

/// Bytes sent under one key at most. Far below what either cipher allows.
pub(crate) const BYTES: u64 = 64 << 30;
/// Age of a key at most.
pub(crate) const AGE: Duration = Duration::from_secs(3600);

/// Updates the keys of `connection` whenever `bytes` were sent or `age` has passed, until it ends.
///
/// The engine lets an update pass that comes too early after another one; the next one is made.
pub(crate) async fn update(connection: Connection, meter: Arc<Meter>, bytes: u64, age: Duration) {
    loop {
        tokio::select! {
            () = meter.sealed.more(bytes) => {}
            () = tokio::time::sleep(age) => {}
            _ = connection.closed() => return,
        }
        connection.force_key_update();
    }
}
