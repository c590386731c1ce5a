//! Counters, and times of some of the chunks.

use std::time::{Duration, Instant};

/// Every so many chunks one is timed: reading the clock for each would cost a tenth of a small
/// chunk's time.
const TIMED: u64 = 16;

/// What a stream did so far. Times are measured on every 16th chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PerformanceStats {
    /// Chunks sealed.
    pub chunks_encrypted: u64,
    /// Chunks opened.
    pub chunks_decrypted: u64,
    /// Plaintext bytes sealed.
    pub bytes_encrypted: u64,
    /// Plaintext bytes opened.
    pub bytes_decrypted: u64,
    /// 10^6 bytes per second of sealing.
    pub encrypt_throughput_mbps: f64,
    /// 10^6 bytes per second of opening.
    pub decrypt_throughput_mbps: f64,
    /// Milliseconds per chunk sealed.
    pub avg_encrypt_ms: f64,
    /// Milliseconds per chunk opened.
    pub avg_decrypt_ms: f64,
    /// Sub-chunks made of chunks that were split.
    pub subchunks_created: u64,
    /// Keys begun after the first.
    pub key_rotations: u64,
    /// Epochs that the receiver remembers now.
    pub epochs_remembered: usize,
    /// Chunks refused because they did not verify, or their header was invalid.
    pub forged: u64,
    /// Chunks refused because they were opened before.
    pub replayed: u64,
    /// Chunks refused because their epoch was forgotten.
    pub too_old: u64,
    /// Layers of the stretch's matrix.
    pub cel_depth: u8,
}

/// Times of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    timed_chunks: u64,
    timed_bytes: u64,
    time: Duration,
}

impl Meter {
    /// The time now, if the next chunk is one that is timed.
    pub(super) fn start(&self) -> Option<Instant> {
        self.chunks.is_multiple_of(TIMED).then(Instant::now)
    }

    pub(super) fn stop(&mut self, started: Option<Instant>, bytes: usize) {
        self.chunks += 1;
        self.bytes += bytes as u64;
        if let Some(started) = started {
            self.timed_chunks += 1;
            self.timed_bytes += bytes as u64;
            self.time += started.elapsed();
        }
    }

    /// Megabytes per second, and milliseconds per chunk.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn rates(&self) -> (f64, f64) {
        if self.timed_chunks == 0 {
            return (0.0, 0.0);
        }
        let seconds = self.time.as_secs_f64().max(1e-9);
        (self.timed_bytes as f64 / 1e6 / seconds, seconds * 1e3 / self.timed_chunks as f64)
    }
}
