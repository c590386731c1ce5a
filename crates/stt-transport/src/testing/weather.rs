//! What a network does to datagrams.

use std::time::Duration;

/// Each with its probability; all of it follows from one seed.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: f64,
    pub repeated: f64,
    pub changed: f64,
    /// Shortest and longest way, in milliseconds: what differs comes out of order.
    pub delay: (u64, u64),
    /// Nothing gets through in this time, in milliseconds after the start.
    pub hole: (u64, u64),
}

impl Weather {
    /// 10 ms each way, and nothing else.
    pub const CALM: Self =
        Self { loss: 0.0, repeated: 0.0, changed: 0.0, delay: (10, 10), hole: (0, 0) };

    /// What arrives of `datagram`, sent so long after the start, and how long it takes.
    pub fn carry(
        &self,
        random: &mut fastrand::Rng,
        since: Duration,
        datagram: &[u8],
    ) -> Vec<(Duration, Vec<u8>)> {
        let since = u64::try_from(since.as_millis()).unwrap();
        let copies = 1 + usize::from(random.f64() < self.repeated);
        let mut arriving = Vec::new();
        for _ in 0..copies {
            if (self.hole.0..self.hole.1).contains(&since) || random.f64() < self.loss {
                continue;
            }
            let mut datagram = datagram.to_vec();
            if random.f64() < self.changed {
                let at = random.usize(..datagram.len());
                datagram[at] ^= 1 << random.u8(..8);
            }
            let delay = Duration::from_millis(random.u64(self.delay.0..=self.delay.1));
            arriving.push((delay, datagram));
        }
        arriving
    }
}
