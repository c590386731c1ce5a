//! Who may begin a handshake now: so many a second from one address, so many unfinished at once.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use super::TokenBucket;

/// How much of a second's rate may come at once, in seconds.
const BURST: Duration = Duration::from_secs(2);
/// Addresses that are remembered one by one; more share one rate among them.
const MAX_ADDRESSES: usize = 8_192;
/// How often addresses that may be forgotten are looked for, when the table is full.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// One address may have this share of the unfinished handshakes.
const SHARE: usize = 4;

/// Bounds of handshakes that peers begin.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeLimits {
    /// Handshakes a second from one address; twice as many may come at once.
    pub per_second: NonZeroU64,
    /// Handshakes that are not finished.
    pub max_half_open: usize,
}

impl HandshakeLimits {
    /// How long a handshake may take.
    pub const TIME: Duration = Duration::from_secs(10);
    /// An unfinished handshake as old as this gives way when there are too many.
    pub const STALE: Duration = Duration::from_secs(1);
}

/// Why a handshake does not begin now. The same first packet may be let in later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Its address began too many lately.
    TooOften,
    /// There are too many unfinished ones, all over or of its address.
    Crowded,
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one, since that is the least
/// that one customer of a provider gets (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Prefix(u64, bool);

impl From<IpAddr> for Prefix {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(u64::from(ip.to_bits()), false),
            IpAddr::V6(ip) => Self(u64::try_from(ip.to_bits() >> 64).unwrap_or(0), true),
        }
    }
}

/// The rule. `T` is what belongs to an unfinished handshake; it is dropped when that gives way.
#[derive(Debug)]
pub(crate) struct HandshakeLimit<T> {
    limits: HandshakeLimits,
    addresses: HashMap<Prefix, Address>,
    /// The rate of those that the table has no room for.
    others: TokenBucket,
    swept: Option<Instant>,
    /// In the order in which they began.
    half_open: BTreeMap<u64, HalfOpen<T>>,
    next: u64,
}

#[derive(Debug)]
struct Address {
    bucket: TokenBucket,
    half_open: usize,
}

#[derive(Debug)]
struct HalfOpen<T> {
    since: Instant,
    from: Option<Prefix>,
    _owner: T,
}

impl<T> HandshakeLimit<T> {
    pub(crate) fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            addresses: HashMap::new(),
            others: TokenBucket::new(limits.per_second, BURST),
            swept: None,
            half_open: BTreeMap::new(),
            next: 0,
        }
    }

    /// Whether `from` may knock now, with its rate alone.
    ///
    /// # Errors
    /// [`Rejected::TooOften`].
    pub(crate) fn knock(&mut self, now: Instant, from: IpAddr) -> Result<(), Rejected> {
        let fits = match self.address(now, from.into()) {
            Some(address) => address.bucket.try_take(now, 1),
            None => self.others.try_take(now, 1),
        };
        if fits { Ok(()) } else { Err(Rejected::TooOften) }
    }

    /// Begins a handshake and gives it a number. `from` is `None` when nobody knows. The second
    /// number is how many others had to give way: their `T` is dropped.
    ///
    /// # Errors
    /// [`Rejected`].
    #[cfg(test)]
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        from: Option<IpAddr>,
        owner: T,
    ) -> Result<(u64, usize), Rejected> {
        self.begin_at(now, from, false, owner)
    }

    /// As [`Self::begin`]; of one that `has_knocked` the rate was asked by [`Self::knock`].
    ///
    /// # Errors
    /// [`Rejected`].
    pub(crate) fn begin_at(
        &mut self,
        now: Instant,
        from: Option<IpAddr>,
        has_knocked: bool,
        owner: T,
    ) -> Result<(u64, usize), Rejected> {
        let from = from.map(Prefix::from);
        let mut known = None;
        if let Some(from) = from {
            let share = (self.limits.max_half_open / SHARE).max(1);
            let fits = match self.address(now, from) {
                Some(address) => {
                    known = Some(from);
                    if address.half_open >= share {
                        return Err(Rejected::Crowded);
                    }
                    has_knocked || address.bucket.try_take(now, 1)
                }
                None => has_knocked || self.others.try_take(now, 1),
            };
            if !fits {
                return Err(Rejected::TooOften);
            }
        }
        let gave_way = self.make_room(now)?;
        if let Some(address) = known.and_then(|from| self.addresses.get_mut(&from)) {
            address.half_open += 1;
        }
        let number = self.next;
        self.next += 1;
        self.half_open.insert(number, HalfOpen { since: now, from: known, _owner: owner });
        Ok((number, gave_way))
    }

    /// The handshake with that number is over, well or not.
    pub(crate) fn end(&mut self, number: u64) {
        let Some(ended) = self.half_open.remove(&number) else { return };
        if let Some(address) = ended.from.and_then(|from| self.addresses.get_mut(&from)) {
            address.half_open = address.half_open.saturating_sub(1);
        }
    }

    /// Unfinished handshakes.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// Where there are too many, the oldest gives way if it had its time.
    fn make_room(&mut self, now: Instant) -> Result<usize, Rejected> {
        if self.half_open.len() < self.limits.max_half_open {
            return Ok(0);
        }
        let oldest = self.half_open.first_key_value();
        let stale = oldest.filter(|(_, oldest)| {
            now.saturating_duration_since(oldest.since) >= HandshakeLimits::STALE
        });
        let Some((number, _)) = stale else { return Err(Rejected::Crowded) };
        self.end(*number);
        Ok(1)
    }

    /// What is known of an address; `None` when there is no room to know anything.
    fn address(&mut self, now: Instant, from: Prefix) -> Option<&mut Address> {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&from) {
            let due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
            if !due {
                return None;
            }
            self.swept = Some(now);
            self.addresses
                .retain(|_, address| address.half_open > 0 || !address.bucket.is_full(now));
            if self.addresses.len() >= MAX_ADDRESSES {
                return None;
            }
        }
        let per_second = self.limits.per_second;
        let new = || Address { bucket: TokenBucket::new(per_second, BURST), half_open: 0 };
        Some(self.addresses.entry(from).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn door(per_second: u64, max_half_open: usize) -> HandshakeLimit<()> {
        HandshakeLimit::new(HandshakeLimits {
            per_second: NonZeroU64::new(per_second).unwrap(),
            max_half_open,
        })
    }

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn one_address_is_slowed_down_and_no_other() {
        let (mut door, now) = (door(10, 1_000), Instant::now());
        let begun = (0..100).filter(|_| door.begin(now, Some(v4(1)), ()).is_ok()).count();
        assert_eq!(begun, 20);
        assert_eq!(door.begin(now, Some(v4(1)), ()), Err(Rejected::TooOften));
        assert!(door.begin(now, Some(v4(2)), ()).is_ok());
        assert!(door.begin(now + Duration::from_millis(100), Some(v4(1)), ()).is_ok());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_what_it_is() {
        let (mut door, now) = (door(1, 1_000), Instant::now());
        let v6 = |network: u64, host: u64| {
            IpAddr::from(Ipv6Addr::from_bits((u128::from(network) << 64) | u128::from(host)))
        };
        assert!(door.knock(now, v6(1, 1)).is_ok());
        assert!(door.knock(now, v6(1, 2)).is_ok());
        assert_eq!(door.knock(now, v6(1, 3)), Err(Rejected::TooOften));
        assert!(door.knock(now, v6(2, 1)).is_ok());
        let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into();
        assert!(door.knock(now, v4(1)).is_ok());
        assert!(door.knock(now, mapped).is_ok());
        assert_eq!(door.knock(now, v4(1)), Err(Rejected::TooOften));
    }

    #[test]
    fn an_address_has_its_share_of_unfinished_handshakes_and_no_more() {
        let (mut door, now) = (door(1_000, 8), Instant::now());
        let (first, _) = door.begin(now, Some(v4(1)), ()).unwrap();
        door.begin(now, Some(v4(1)), ()).unwrap();
        assert_eq!(door.begin(now, Some(v4(1)), ()), Err(Rejected::Crowded));
        door.begin(now, Some(v4(2)), ()).unwrap();
        door.end(first);
        assert!(door.begin(now, Some(v4(1)), ()).is_ok());
        assert_eq!(door.half_open(), 3);
    }

    #[test]
    fn when_there_are_too_many_the_stale_give_way_and_the_young_do_not() {
        let (mut door, now) = (door(1_000, 4), Instant::now());
        for number in 0..4 {
            door.begin(now, Some(v4(number)), ()).unwrap();
        }
        assert_eq!(door.begin(now, Some(v4(9)), ()), Err(Rejected::Crowded));
        let later = now + HandshakeLimits::STALE;
        assert_eq!(door.begin(later, Some(v4(9)), ()), Ok((4, 1)));
        assert_eq!(door.half_open(), 4);
        // Its end comes after it gave way, and changes nothing.
        door.end(0);
        assert_eq!(door.half_open(), 4);
    }

    #[test]
    fn addresses_beyond_the_table_share_a_rate_until_some_are_forgotten() {
        let (mut door, now) = (door(1, 1_000), Instant::now());
        let most = u32::try_from(MAX_ADDRESSES).unwrap();
        for number in 0..most {
            door.knock(now, v4(number)).unwrap();
        }
        let strangers = (most..most + 100).filter(|number| door.knock(now, v4(*number)).is_ok());
        assert_eq!(strangers.count(), 2);
        assert_eq!(door.addresses.len(), MAX_ADDRESSES);
        let later = now + BURST + SWEEP_EVERY;
        assert!((most..most + 100).all(|number| door.knock(later, v4(number)).is_ok()));
    }
}
