//! The scales: a scripted upstream, a load generator and the routing lab.
fn main() {}
