//! What the engine runs over the links: Kademlia and gossipsub, with this crate's settings.

use std::{num::NonZeroUsize, time::Duration};

use libp2p_gossipsub as gossipsub;
use libp2p_identity::PeerId;
use libp2p_kad as kad;
use libp2p_swarm::{NetworkBehaviour, StreamProtocol};

use crate::dht::store::Records;

/// Longest time of a query.
pub(crate) const QUERY_WITHIN: Duration = Duration::from_secs(20);
/// Longest time of one request of a query.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long a provider's record holds at others, and how often it is sent again. Who vanished is
/// forgotten after this time.
pub(crate) const PROVIDER_TTL: Duration = Duration::from_secs(30 * 60);
const PROVIDE_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Bytes of one message of the DHT.
pub(crate) const MAX_PACKET: usize = 16 << 10;

/// Bytes of a message id.
const ID_LEN: usize = 16;
/// Bytes of one frame of gossipsub.
const MAX_TRANSMIT: usize = 64 << 10;
/// Bytes of control messages in one frame: beyond, the peer closes the stream, and after five times
/// it ends gossip with this node for as long as the link lasts.
const MAX_CONTROL: usize = 60_000;
/// Ids in one announcement, so that it stays below. An id has 2 bytes more on the wire.
const MAX_IDS: usize = 3_000;
const _: () = assert!(MAX_IDS * (ID_LEN + 3) <= MAX_CONTROL && MAX_CONTROL <= MAX_TRANSMIT);
/// Messages that wait for one peer: 8 MiB at most.
pub(crate) const QUEUE: usize = 128;

/// Bytes of a message from which on neighbours are told not to send it again.
const TELL_FROM: usize = 8 << 10;
/// How long a message may wait in a queue.
const QUEUED_WITHIN: Duration = Duration::from_secs(8);

/// What runs over the links.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) kad: kad::Behaviour<Records>,
    pub(crate) gossip: gossipsub::Behaviour,
}

impl Behaviour {
    /// Fails with the engine's words when it refuses the settings.
    pub(crate) fn new(me: PeerId, records: Records, serves: bool) -> Result<Self, String> {
        let mut config = kad::Config::new(StreamProtocol::new("/stt/kad/1"));
        config
            .set_query_timeout(QUERY_WITHIN)
            .set_substreams_timeout(REQUEST_WITHIN)
            .set_max_packet_size(MAX_PACKET)
            .set_provider_record_ttl(Some(PROVIDER_TTL))
            .set_provider_publication_interval(Some(PROVIDE_AGAIN))
            // Values are signed again by this crate, which the engine cannot.
            .set_publication_interval(None)
            .set_caching(kad::Caching::Disabled);
        let mut kad = kad::Behaviour::with_config(me, records, config);
        // By itself it waits for an external address, which no session of ours confirms.
        kad.set_mode(Some(if serves { kad::Mode::Server } else { kad::Mode::Client }));

        let config = gossipsub::ConfigBuilder::default()
            .protocol_id_prefix("/stt/gossip")
            .heartbeat_initial_delay(Duration::from_millis(100))
            // Envelopes are signed and say who published them.
            .validation_mode(gossipsub::ValidationMode::Anonymous)
            .message_id_fn(|message: &gossipsub::Message| {
                let mut hasher = blake3::Hasher::new();
                hasher.update(message.topic.as_str().as_bytes()).update(&[0]).update(&message.data);
                let mut id = vec![0; ID_LEN];
                hasher.finalize_xof().fill(&mut id);
                gossipsub::MessageId::from(id)
            })
            .validate_messages()
            .max_transmit_size(MAX_TRANSMIT)
            .max_control_message_size(MAX_CONTROL)
            .max_control_messages_sent(MAX_IDS)
            .connection_handler_queue_len(QUEUE)
            // Each peer of a mesh sends a message once, and a peer that has it already is told
            // only of long ones: that costs as many datagrams as a short message.
            .mesh_n_low(4)
            .mesh_n(5)
            .mesh_n_high(8)
            .idontwant_message_size_threshold(TELL_FROM)
            // The queues are short: what is in one is sent also when the peer is slow for a while.
            .publish_queue_duration(QUEUED_WITHIN)
            .forward_queue_duration(QUEUED_WITHIN)
            .build()
            .map_err(|error| error.to_string())?;
        let gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, config)?;
        Ok(Self { kad, gossip })
    }
}

/// Copies of a value that are aimed at.
pub(crate) const fn copies() -> NonZeroUsize {
    kad::K_VALUE
}
