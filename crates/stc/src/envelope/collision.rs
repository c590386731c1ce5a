//! A test: plain AES-GCM opens one ciphertext under two keys, and a slot does not.
//!
//! GCM's tag is a polynomial in a key-dependent H, so with both keys at hand one block of ciphertext
//! can be solved for such that the tags agree ("partitioning oracles", IACR ePrint 2020/1491,
//! section 3).

use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};

use super::{
    Header, OpenError, Opening, SLOT_LEN,
    header::tests::sample,
    slot::{Slot, chunk_nonce},
};
use crate::{
    Key,
    aead::{AeadKey, Suite},
    kdf,
};

/// The block that AES-256 makes of `block`.
fn aes(key: &Key, block: [u8; 16]) -> u128 {
    let unbound = UnboundCipherKey::new(&AES_256, key.as_bytes()).unwrap();
    let mut block = block;
    EncryptingKey::ecb(unbound).unwrap().encrypt(&mut block).unwrap();
    u128::from_be_bytes(block)
}

/// The product in GCM's field (NIST SP 800-38D, algorithm 1).
fn mul(a: u128, b: u128) -> u128 {
    let (mut product, mut shifted) = (0, b);
    for bit in (0..128).rev() {
        if a >> bit & 1 == 1 {
            product ^= shifted;
        }
        let carry = shifted & 1;
        shifted >>= 1;
        if carry == 1 {
            shifted ^= 0xe1 << 120;
        }
    }
    product
}

/// The inverse: a^(2^128 - 2).
fn inverse(a: u128) -> u128 {
    let (mut result, mut square) = (1 << 127, a);
    for _ in 1..128 {
        square = mul(square, square);
        result = mul(result, square);
    }
    result
}

fn power(a: u128, exponent: usize) -> u128 {
    (0..exponent).fold(1 << 127, |product, _| mul(product, a))
}

/// `blocks` blocks of ciphertext and a tag that verify under both keys with this nonce.
fn collide(one: &Key, two: &Key, nonce: [u8; 12], blocks: usize) -> Vec<u8> {
    let ciphertext: Vec<u128> = (0..blocks).map(|at| at as u128 * 0x0123_4567).collect();
    let length = (blocks as u128) * 128;
    let mut counter = [0; 16];
    counter[..12].copy_from_slice(&nonce);
    counter[15] = 1;
    // Everything but the first block's share of the tag.
    let rest = |key: &Key| {
        let hash = aes(key, [0; 16]);
        let sum = ciphertext
            .iter()
            .enumerate()
            .skip(1)
            .fold(0, |sum, (at, block)| sum ^ mul(*block, power(hash, blocks + 1 - at)));
        (power(hash, blocks + 1), sum ^ mul(length, hash) ^ aes(key, counter))
    };
    let ((power_one, rest_one), (power_two, rest_two)) = (rest(one), rest(two));
    let first = mul(rest_one ^ rest_two, inverse(power_one ^ power_two));
    let tag = mul(first, power_one) ^ rest_one;
    std::iter::once(first)
        .chain(ciphertext.into_iter().skip(1))
        .chain([tag])
        .flat_map(u128::to_be_bytes)
        .collect()
}

fn opens(key: &Key, nonce: [u8; 12], sealed: &[u8]) -> bool {
    let cipher = AeadKey::new(Suite::Aes256Gcm, key).unwrap();
    cipher.open(nonce, &[], &mut sealed.to_vec()).is_ok()
}

#[test]
fn a_ciphertext_for_two_keys_opens_under_both_and_a_slot_under_one() {
    let keys = [Key::from_bytes([1; 32]), Key::from_bytes([2; 32])];
    let [one, two] = keys.clone();
    let nonce = chunk_nonce(0, true);
    let region = collide(
        &kdf::derive(&one, "stc v1 region", &[]),
        &kdf::derive(&two, "stc v1 region", &[]),
        nonce,
        8,
    );
    let boxed = collide(
        &kdf::derive(&one, "stc v1 box", &[]),
        &kdf::derive(&two, "stc v1 box", &[]),
        [0; 12],
        3,
    );
    for key in &keys {
        assert!(opens(&kdf::derive(key, "stc v1 region", &[]), nonce, &region));
        assert!(opens(&kdf::derive(key, "stc v1 box", &[]), [0; 12], &boxed));
    }

    // One slot has room for one commitment.
    let slots = keys.map(|key| Slot::unopenable(key, Suite::Aes256Gcm));
    for (mine, other) in [(0, 1), (1, 0)] {
        let mut header: Header = sample(1);
        let mut slot = [0; SLOT_LEN];
        slot[..32].copy_from_slice(&slots[mine].commitment());
        slot[32..].copy_from_slice(&boxed);
        header.slots = vec![slot];
        assert_eq!(slots[mine].find(&header), Some(0));
        assert_eq!(slots[other].find(&header), None);
        let other = Slot::unopenable(
            Key::from_bytes([u8::try_from(other).unwrap() + 1; 32]),
            Suite::Aes256Gcm,
        );
        assert!(matches!(Opening::new(header, other), Err(OpenError::NothingOpens)));
    }
}
