//! The built-in price table against its source, which is 2 MB and stays outside.
//!
//! `SHARDGATE_PRICES=path SHARDGATE_PRICES_WRITE=1 cargo test --test price_table` makes
//! `data/prices.txt` anew.

use std::path::Path;
use std::time::Instant;

use shardgate::spend::price::{PriceTable, compact};

/// Bytes of the built-in text.
const BYTES_MAX: usize = 400 * 1024;

#[test]
fn the_built_in_table_is_what_the_source_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::env::var_os("SHARDGATE_PRICES")
        .map_or_else(|| root.join("../shared/data/model_prices.json"), Into::into);
    let Ok(json) = std::fs::read(&source) else {
        println!("skipped: no {}", source.display());
        return;
    };
    let text = compact(&json).unwrap();
    if std::env::var_os("SHARDGATE_PRICES_WRITE").is_some() {
        std::fs::write(root.join("data/prices.txt"), &text).unwrap();
        return;
    }
    let (from_source, built_in) = (
        PriceTable::from_litellm_json(&json).unwrap(),
        PriceTable::built_in().unwrap(),
    );
    assert_eq!(from_source.len(), built_in.len());
    for (name, prices) in from_source.iter() {
        assert_eq!(built_in.exact(name), Some(prices), "{name}");
    }
    assert!(
        text == PriceTable::built_in_text(),
        "data/prices.txt differs; run with SHARDGATE_PRICES_WRITE=1"
    );
}

#[test]
fn the_built_in_table_is_small_and_whole() {
    assert!(PriceTable::built_in_text().len() < BYTES_MAX);
    let start = Instant::now();
    let table = PriceTable::built_in().unwrap();
    println!("{} models, read in {:?}", table.len(), start.elapsed());
    assert!(table.len() > 4000);
}
