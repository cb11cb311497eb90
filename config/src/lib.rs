//! The file: `config.yaml` to a typed `Config`, or every diagnostic with line and column.
