//! What is generated from the rows.
