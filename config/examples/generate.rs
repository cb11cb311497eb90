//! Writes what is made from the rows: `PARAMETERS.md`, `schema.json`,
//! `examples/every-parameter.yaml`.

use std::path::Path;
use std::{fs, io};

use shardgate_config::reference::{every_parameter, json_schema, parameters};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::write(root.join("PARAMETERS.md"), parameters())?;
    fs::write(root.join("schema.json"), json_schema())?;
    fs::write(
        root.join("examples/every-parameter.yaml"),
        every_parameter(),
    )
}
