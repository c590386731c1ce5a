//! Figures as people read them.

use std::time::Duration;

use serde_json::{Value, json};
use stt::Session;

/// Bytes in the largest decimal unit that leaves a number below 1,000.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// A number with commas between thousands.
pub(crate) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// So many of something, whose plural takes an s.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Megabytes (10^6 bytes) a second.
pub(crate) fn megabytes_per_second(bytes: u64, elapsed: Duration) -> f64 {
    let micros = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX).max(1);
    // Up to 2^52 bytes this is exact, and beyond nobody counts single bytes.
    let (high, low) = (u32::try_from(bytes >> 32), u32::try_from(bytes & 0xffff_ffff));
    let bytes = f64::from(high.unwrap_or(u32::MAX)) * 4_294_967_296.0 + f64::from(low.unwrap_or(0));
    bytes / f64::from(micros)
}

/// A speed as people read it.
pub(crate) fn speed(megabytes_per_second: f64) -> String {
    if megabytes_per_second < 1.0 {
        format!("{:.0} kB/s", megabytes_per_second * 1e3)
    } else {
        format!("{megabytes_per_second:.0} MB/s")
    }
}

/// A duration with three digits that count.
pub(crate) fn duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.2} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}

/// How long something has been there, in its two largest units.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let two = |large: u64, of: &str, small: u64, rest: &str| format!("{large} {of} {small} {rest}");
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// Milliseconds, for machines.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What machines are told of a session.
pub(crate) fn session(session: &Session) -> Value {
    let stats = session.stats();
    json!({
        "session_id": session.id().to_string(),
        "peer_id": session.peer_node_id().to_string(),
        "handshake_ms": milliseconds(stats.handshake_time),
        "round_trip_ms": milliseconds(stats.round_trip),
        "datagrams_sent": stats.datagrams_sent,
        "datagrams_received": stats.datagrams_received,
        "packets_lost": stats.packets_lost,
        "path_mtu": stats.path_mtu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_units() {
        assert_eq!(bytes(1_500_000), "1.50 MB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!((speed(0.4504), speed(12.3)), ("450 kB/s".into(), "12 MB/s".into()));
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(1, "name"), "1 name");
        assert_eq!(counted(2_000, "name"), "2,000 names");
        assert_eq!(age(Duration::from_secs(59)), "59 s");
        assert_eq!(age(Duration::from_secs(3_601)), "1 h 0 min");
        assert_eq!(age(Duration::from_secs(90_000)), "1 d 1 h");
        assert_eq!(duration(Duration::from_micros(12)), "12 us");
        assert_eq!(duration(Duration::from_micros(1_234)), "1.23 ms");
        let speed = megabytes_per_second(5 << 30, Duration::from_secs(1));
        assert!((speed - 5_368.709_12).abs() < 1e-6, "{speed}");
    }
}
