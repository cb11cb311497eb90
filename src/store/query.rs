//! Our own questions to the database, in both dialects. Each answers one column: a JSON object a
//! row. Parameters are texts that the statement casts itself.

/// A question.
#[derive(Debug)]
pub struct Query {
    /// For Postgres.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}
