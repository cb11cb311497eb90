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

/// How far a writer of spend has come: `{"position": n}`, or nothing for one that is new.
pub static LEDGER_POSITION: Query = Query {
    postgres: "SELECT json_build_object('position', \"position\")::text \
               FROM \"Shardgate_Ledger\" WHERE \"writer\" = $1",
    sqlite: "SELECT json_object('position', \"position\") \
             FROM \"Shardgate_Ledger\" WHERE \"writer\" = ?1",
};
