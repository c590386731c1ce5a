//! Goodput, queue and fairness of our controller beside the engine's Cubic and BBR, simulated.
//!
//! `cargo bench -p stt-transport --bench congestion`, with `mbit=1000 rtt=100 buffer=1 seconds=20`
//! to change the link (Mbit/s, milliseconds, bandwidth-delay products, simulated seconds) and
//! `trace` for what our controller does every 100 ms. Two runs print the same: all is seeded but
//! the engine's BBR, which draws its own random numbers.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program that prints, over simulated numbers"
)]

#[path = "../tests/netsim/mod.rs"]
mod netsim;

use std::sync::Arc;
use std::time::Duration;

use netsim::{FlowConfig, LinkConfig, World};
use quinn_proto::congestion::{self, ControllerFactory};
use stt_transport::congestion::{Bbr, BbrConfig};

const NAMES: [&str; 3] = ["ours", "cubic", "bbr"];

struct Setting {
    mbit: f64,
    rtt: f64,
    buffer: f64,
    seconds: f64,
    trace: bool,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |key: &str, default: f64| {
        args.iter()
            .find_map(|arg| arg.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
            .unwrap_or(default)
    };
    let setting = Setting {
        mbit: number("mbit", 1000.0),
        rtt: number("rtt", 100.0),
        buffer: number("buffer", 1.0),
        seconds: number("seconds", 20.0),
        trace: args.iter().any(|arg| arg == "trace"),
    };
    println!(
        "{} Mbit/s, {} ms, drop-tail buffer of {} BDP, {} s, one stream",
        setting.mbit, setting.rtt, setting.buffer, setting.seconds
    );
    println!("loss   control   goodput   queue mean    p95    max   overflowed");
    for loss in [0.0, 0.001, 0.01] {
        for name in NAMES {
            alone(&setting, loss, name);
        }
    }
    println!("shares of two flows and a Cubic flow, in the last three quarters of the time");
    for name in NAMES {
        for stagger in [0.0, 2.0] {
            together(&setting, name, stagger);
        }
    }
}

impl Setting {
    fn rate(&self) -> f64 {
        self.mbit * 1e6 / 8.0
    }

    fn bdp(&self) -> f64 {
        self.rate() * self.rtt / 1e3
    }

    fn link(&self, loss: f64) -> LinkConfig {
        LinkConfig {
            rate: self.rate(),
            delay: Duration::from_secs_f64(self.rtt / 2e3),
            buffer: (self.bdp() * self.buffer) as u64,
            loss,
        }
    }

    fn run(&self, world: &mut World, seconds: f64) {
        if self.trace {
            for step in 1..=(seconds * 10.0) as u64 {
                world.run_until(Duration::from_millis(step * 100));
                trace(world, self, step);
            }
        }
        world.run_until(Duration::from_secs_f64(seconds));
    }
}

fn factory(name: &str) -> Arc<dyn ControllerFactory + Send + Sync> {
    match name {
        "ours" => Arc::new(BbrConfig::new(1)),
        "cubic" => Arc::new(congestion::CubicConfig::default()),
        _ => Arc::new(congestion::BbrConfig::default()),
    }
}

fn alone(setting: &Setting, loss: f64, name: &str) {
    let flow = FlowConfig { controller: factory(name), start: Duration::ZERO };
    let mut world = World::new(setting.link(loss), 1, vec![flow]);
    setting.run(&mut world, setting.seconds);
    let bdp = setting.bdp();
    let link = &world.links[0];
    println!(
        "{:4.1} %  {name:>7}   {:5.1} %   {:7.3} BDP  {:.3}  {:.3}   {}",
        loss * 100.0,
        world.goodput(0, Duration::ZERO, Duration::from_secs_f64(setting.seconds)) / setting.rate()
            * 100.0,
        link.stats.mean() / bdp,
        link.stats.percentile(0.95) / bdp,
        link.stats.percentile(1.0) / bdp,
        link.overflowed,
    );
}

fn together(setting: &Setting, name: &str, stagger: f64) {
    let flows = [name, name, "cubic"].into_iter().enumerate().map(|(nth, name)| FlowConfig {
        controller: factory(name),
        start: Duration::from_secs_f64(stagger * nth as f64),
    });
    let seconds = setting.seconds * 3.0;
    let mut world = World::new(setting.link(0.0), 1, flows.collect());
    setting.run(&mut world, seconds);
    let (from, to) = (Duration::from_secs_f64(seconds / 4.0), Duration::from_secs_f64(seconds));
    let shares: Vec<f64> =
        (0..3).map(|nth| world.goodput(nth, from, to) / setting.rate()).collect();
    println!(
        "{name:>7}, {stagger} s apart: {:.3} {:.3} and {:.3}, Jain's index {:.3}",
        shares[0],
        shares[1],
        shares[2],
        netsim::jain(&shares),
    );
}

fn trace(world: &World, setting: &Setting, step: u64) {
    let to = Duration::from_millis(step * 100);
    for nth in 0..world.flows() {
        let Some(connection) = world.sender(nth) else { continue };
        let state = connection.congestion_state().clone_box().into_any();
        let goodput = world.goodput(nth, to - Duration::from_millis(100), to) / setting.rate();
        let window = connection.congestion_state().window() as f64 / setting.bdp();
        print!(
            "{:6.1} s  flow {nth}  goodput {goodput:.3}  window {window:.3}  ",
            to.as_secs_f64()
        );
        print!("rtt {:?}", connection.rtt());
        if let Ok(bbr) = state.downcast::<Bbr>() {
            print!("  {:?}  bandwidth {:.3}", bbr.phase(), bbr.bandwidth() / setting.rate());
            print!("  shortest {:?}", bbr.min_rtt());
        }
        println!();
    }
}
