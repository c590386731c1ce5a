//! What the crate `stt`, which is released together with this one, needs beside the documented
//! items. No promise is made about any of it.

/// Sharing out what all sessions of a node have in common.
pub use crate::limits::{Claim, HandshakeLimits, Pool, TokenBucket};
/// What a simulation has in place of the system's sockets and TCP.
pub use crate::route::{Accept, ByteStream, DatagramSocket, Network, Room, Soon, Stream};
/// Dialling what an address names.
pub use crate::route::{DialError, HostPort, Target};
/// Takes the bytes of a stream from the task that moves the connection.
pub use crate::wire::Sink;
/// Why there is no session through a WebSocket.
pub use crate::wire::Unreached;
/// The end of a session in good order.
pub use crate::wire::{CloseLatch, Unclaimed};
/// Constants that a node's settings repeat, and checks of ranges.
pub use crate::wire::{
    ETHERNET_MTU, FIRST_RTT, PORT_IN_USE, STREAMS, number_in_range, time_in_range,
};
/// Small things that both crates are built with.
pub use crate::{lru::Lru, race::Race, waker_list::WakerList};

/// What the fuzzer calls.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use crate::{
        route::fuzz::{address, frames, request, route_datagram, routes},
        wire::fuzz::{datagram, handshake, knock, messages, places, renewal},
    };
}
