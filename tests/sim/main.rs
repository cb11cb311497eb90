//! Seeds by the thousand over the router's policies, in virtual time.
//!
//! `SHARDGATE_SIM_SEEDS` sets how many seeds run (300 by default), `SHARDGATE_SIM_SEED` runs one.
//! A failure names its seed.

mod model;
mod plan;
mod world;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Planted, World};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> std::ops::Range<u64> {
    match number("SHARDGATE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SHARDGATE_SIM_SEEDS").unwrap_or(300),
    }
}

fn run(seed: u64, planted: Planted) -> Result<u64, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed, planted).run()));
    outcome.unwrap_or_else(|_| Err(String::from("it panicked")))
}

#[test]
fn every_seed_keeps_the_rules() {
    let wrong: Vec<String> = seeds()
        .filter_map(|seed| {
            run(seed, Planted::Nothing)
                .err()
                .map(|why| format!("seed {seed}: {why}"))
        })
        .take(5)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in seeds().take(50) {
        assert_eq!(
            run(seed, Planted::Nothing),
            run(seed, Planted::Nothing),
            "seed {seed}"
        );
    }
}

fn finds(planted: Planted) {
    std::panic::set_hook(Box::new(|_| ()));
    let found = (0..200).find_map(|seed| Some((seed, run(seed, planted).err()?)));
    drop(std::panic::take_hook());
    assert!(found.is_some(), "{planted:?} was not found in 200 seeds");
    if let Some((seed, why)) = found {
        let line = format!("{planted:?} found by seed {seed}: {why}\n");
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
}

#[test]
fn a_planted_off_by_one_limit_is_found() {
    finds(Planted::OffByOneLimit);
}

#[test]
fn a_planted_forgotten_cooldown_end_is_found() {
    finds(Planted::ForgottenCooldownEnd);
}

#[test]
fn a_planted_double_finish_is_found() {
    finds(Planted::DoubleFinish);
}
