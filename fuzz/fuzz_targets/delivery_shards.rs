//! Packets of repair-coded messages: some genuine, some changed, some made up.
//!
//! Each step of the input is a byte that says what comes: a packet of a genuine message, perhaps
//! with a byte changed, or a packet of the input's own bytes.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stt::delivery::{OverheadCap, Probability, RepairPlanner, ShardAssembler, ShardEncoder};

static GENUINE: LazyLock<Vec<Bytes>> = LazyLock::new(|| {
    let mut encoder = ShardEncoder::new(RepairPlanner::new());
    let wanted = Probability::new(0.999).expect("a probability");
    let mut packets = Vec::new();
    for length in [1, 50, 400] {
        let message = vec![7; length];
        let (_, coded) =
            encoder.encode(3, &message, wanted, OverheadCap::default(), 122).expect("packets");
        packets.extend(coded);
    }
    packets
});

fuzz_target!(|data: &[u8]| {
    let mut assembler = ShardAssembler::new(1 << 20);
    let mut changed = false;
    let mut rest = data;
    while let [step, tail @ ..] = rest {
        rest = tail;
        let packet = if let Some(genuine) = GENUINE.get(usize::from(*step)) {
            genuine.clone()
        } else {
            changed = true;
            let length = usize::from(*step).min(rest.len());
            let (packet, tail) = rest.split_at(length);
            rest = tail;
            match packet {
                [0x80..=0xff, which, at, value] => {
                    let mut packet = GENUINE[usize::from(*which) % GENUINE.len()].to_vec();
                    let at = usize::from(*at) % packet.len();
                    packet[at] ^= value;
                    packet.into()
                }
                _ => Bytes::copy_from_slice(packet),
            }
        };
        if let Ok(Some(message)) = assembler.packet(packet)
            && !changed
        {
            assert!(message.data.iter().all(|byte| *byte == 7));
            assert!([1, 50, 400].contains(&message.data.len()));
        }
        assert!(assembler.held() <= assembler.max_bytes());
    }
});
