//! Questions of publishers that wait for their message (`receipt`). Pure.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use stt::NodeId;

use super::Sequence;

/// Questions that wait, of one publisher and of all.
const MAX_OF_ONE: usize = 64;
const MAX: usize = 1_024;

/// What a publisher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) topic: String,
    pub(crate) publisher: NodeId,
    pub(crate) sequence: Sequence,
    /// Where the publisher is. Node ids are free to make, addresses are not.
    pub(crate) from: IpAddr,
}

/// Questions that wait, oldest first.
#[derive(Debug)]
pub(crate) struct Awaited<R>(Vec<Waiting<R>>);

#[derive(Debug)]
struct Waiting<R> {
    question: Question,
    place: IpAddr,
    until: Instant,
    reply: R,
}

impl<R> Default for Awaited<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R> Awaited<R> {
    /// Takes a question in. Gives back who waits no longer: the asker itself when its publisher has
    /// enough questions, or when all places are taken the oldest question of the address that has
    /// most of them. So nobody takes the places of all by being many at one address.
    pub(crate) fn add(&mut self, question: Question, until: Instant, reply: R) -> Option<R> {
        let of_one = self.0.iter().filter(|it| it.question.publisher == question.publisher);
        if of_one.count() >= MAX_OF_ONE {
            return Some(reply);
        }
        let place = place(question.from);
        let waiting = Waiting { question, place, until, reply };
        if self.0.len() < MAX {
            self.0.push(waiting);
            return None;
        }
        let mut of_place: HashMap<IpAddr, usize> = HashMap::new();
        for waiting in &self.0 {
            *of_place.entry(waiting.place).or_default() += 1;
        }
        let own = of_place.get(&place).copied().unwrap_or(0);
        let fullest = of_place.iter().max_by_key(|(place, count)| (**count, **place));
        let Some((&fullest, _)) = fullest.filter(|(_, count)| **count > own) else {
            return Some(waiting.reply);
        };
        let at = self.0.iter().position(|it| it.place == fullest)?;
        let gone = self.0.remove(at);
        self.0.push(waiting);
        Some(gone.reply)
    }

    /// Takes out those for which `is` holds.
    pub(crate) fn take(&mut self, mut is: impl FnMut(&Question, &R) -> bool) -> Vec<R> {
        let taken = self.0.extract_if(.., |waiting| is(&waiting.question, &waiting.reply));
        taken.map(|waiting| waiting.reply).collect()
    }

    /// Takes out those whose time has passed.
    pub(crate) fn take_late(&mut self, now: Instant) -> Vec<R> {
        let late = self.0.extract_if(.., |waiting| now >= waiting.until);
        late.map(|waiting| waiting.reply).collect()
    }
}

/// What one subscriber of a provider has: an IPv4 address, or an IPv6 /64.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question(publisher: u16, from: &str) -> Question {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&publisher.to_be_bytes());
        Question {
            topic: "topic".into(),
            publisher: NodeId::from_bytes(id),
            sequence: Sequence { started: 1, count: 1 },
            from: from.parse().unwrap(),
        }
    }

    #[test]
    fn many_keys_at_one_address_keep_nobody_else_out() {
        let (mut awaited, until) = (Awaited::default(), Instant::now());
        for key in 0..1_024 {
            assert_eq!(awaited.add(question(key, "10.0.0.1"), until, key), None);
        }
        // They take no more, and give way to each other address, up to an equal share.
        assert_eq!(awaited.add(question(2_000, "10.0.0.1"), until, 2_000), Some(2_000));
        for key in 0..512 {
            let other = question(3_000 + key, "10.0.0.2");
            assert_eq!(awaited.add(other, until, 3_000 + key), Some(key));
        }
        assert_eq!(awaited.add(question(5_000, "10.0.0.2"), until, 5_000), Some(5_000));
        assert_eq!(awaited.add(question(5_000, "2001:db8::1"), until, 5_000), Some(3_000));
        assert_eq!(awaited.0.len(), MAX);
        // Addresses of one IPv6 network are one.
        for key in 0..400 {
            let _ = awaited.add(question(6_000 + key, &format!("2001:db8::{key:x}")), until, 0);
        }
        let of_network = awaited.0.iter().filter(|it| it.place.is_ipv6()).count();
        assert!((300..=342).contains(&of_network), "{of_network}");
    }

    #[test]
    fn one_publisher_has_a_part_and_what_came_or_is_late_goes() {
        let (mut awaited, now) = (Awaited::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        for number in 0..64 {
            assert_eq!(awaited.add(question(1, "10.0.0.1"), later, number), None);
        }
        assert_eq!(awaited.add(question(1, "10.0.0.1"), later, 64), Some(64));
        assert_eq!(awaited.add(question(2, "10.0.0.1"), now, 100), None);
        assert_eq!(awaited.take(|_, reply| *reply == 7), [7]);
        assert_eq!(awaited.take_late(now), [100]);
        assert_eq!(awaited.take_late(later).len(), 63);
    }
}
