//! `include_cost_in_streaming_usage`: the events that say what a stream used say what it costs too. Streams
//! without the setting never come here.

use super::attempt::Work;
use super::relay::Relay;
use super::respond;
use crate::dialect::stream_cost;
use crate::spend::meter;

impl Work<'_> {
    /// Puts the price into what goes out of `relay` next, where that says what was used: the price of all
    /// that is counted so far, earlier parts of a stream that broke included.
    #[cold]
    pub(super) fn say_cost(&self, relay: &mut Relay) {
        if !stream_cost::says_usage(relay.waiting()) {
            return;
        }
        let usage = relay.usage();
        let Some(charge) = usage.and_then(|usage| respond::charge(self.call, &usage, None)) else {
            return;
        };
        let earlier = self.sent.as_ref().map(|sent| sent.cost());
        let cost = charge.cost.plus(&earlier.unwrap_or_default());
        relay.rewrite(|events, out| stream_cost::add(events, meter::header(&cost).as_str(), out));
    }
}
