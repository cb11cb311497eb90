//! What a call costs: quantities times prices, part by part, exact.
//!
//! Rules that LiteLLM and the vendors share: more input tokens than a threshold change the price
//! of the whole request, a tier of service has its own prices, and tokens that have no price of
//! their own kind (cached, audio, image, reasoning) are billed as the plain tokens of their side.
//! LiteLLM bills cached tokens without a price at 0; that is a gift nobody meant, so not here.

use super::money::Money;
use super::price::{Kind, Prices};
use super::usage::{Quantities, SearchSize};

/// Where data must stay, which some vendors bill for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// Anywhere.
    #[default]
    Global,
    /// In the region of the endpoint (Vertex AI other than `global`).
    Regional,
    /// In the European Union (OpenAI's `eu.` host).
    Eu,
    /// In the United States (OpenAI's `us.` host).
    Us,
}

/// What a deployment's contract adds to the list price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Where data must stay.
    pub residency: Residency,
    /// Taken off the price, in millionths (5 % is 50,000); at most 1,000,000.
    pub discount_millionths: u32,
    /// Added to the discounted price, in millionths.
    pub margin_millionths: u32,
    /// Added to each call that costs anything.
    pub margin_fixed: Money,
    /// Whether the cost that the vendor states wins over the table (OpenRouter).
    pub trust_stated: bool,
}

/// The cost of one call and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Everything sent: plain, cached and written tokens, audio, images, seconds, queries.
    pub input: Money,
    /// Everything received, reasoning included.
    pub output: Money,
    /// Tools that the provider ran: searches, code sessions.
    pub tool_usage: Money,
    /// Of `input`: tokens read from a cache.
    pub cache_read: Money,
    /// Of `input`: tokens written to a cache.
    pub cache_creation: Money,
    /// Of `output`: reasoning.
    pub reasoning: Money,
    /// Of `input` and `output`: audio.
    pub audio: Money,
    /// Of `input` and `output`: images.
    pub image: Money,
    /// The list price: `input`, `output` and `tool_usage`, or what the vendor stated.
    pub original: Money,
    /// What the contract takes off.
    pub discount: Money,
    /// What the contract adds.
    pub margin: Money,
    /// What is charged.
    pub total: Money,
}

/// The cost of `used` at `prices` under `terms`.
#[must_use]
pub fn cost(prices: &Prices, used: &Quantities, terms: &Terms) -> Cost {
    let mut out = Cost::default();
    let bill = Bill { prices, used };
    if let Some(stated) = used.stated.filter(|_| terms.trust_stated) {
        out.original = stated;
    } else {
        bill.add_input(&mut out);
        bill.add_output(&mut out);
        out.uplift(bill.uplift(terms.residency));
        bill.add_media(&mut out);
        bill.add_tools(&mut out);
        out.original = out.input.plus(out.output).plus(out.tool_usage);
    }
    out.settle(terms);
    out
}

impl Cost {
    /// Both together: a call that was served in parts.
    #[must_use]
    pub fn plus(&self, other: &Cost) -> Cost {
        Cost {
            input: self.input.plus(other.input),
            output: self.output.plus(other.output),
            tool_usage: self.tool_usage.plus(other.tool_usage),
            cache_read: self.cache_read.plus(other.cache_read),
            cache_creation: self.cache_creation.plus(other.cache_creation),
            reasoning: self.reasoning.plus(other.reasoning),
            audio: self.audio.plus(other.audio),
            image: self.image.plus(other.image),
            original: self.original.plus(other.original),
            discount: self.discount.plus(other.discount),
            margin: self.margin.plus(other.margin),
            total: self.total.plus(other.total),
        }
    }

    /// Multiplies what tokens cost.
    fn uplift(&mut self, millionths: u64) {
        if millionths == 1_000_000 {
            return;
        }
        for part in [
            &mut self.input,
            &mut self.output,
            &mut self.cache_read,
            &mut self.cache_creation,
            &mut self.reasoning,
            &mut self.audio,
            &mut self.image,
        ] {
            *part = part.times_millionths(millionths);
        }
    }

    fn settle(&mut self, terms: &Terms) {
        let discount = u64::from(terms.discount_millionths.min(1_000_000));
        self.discount = self.original.times_millionths(discount);
        let net = self.original.less(self.discount);
        if !net.is_zero() {
            let share = net.times_millionths(u64::from(terms.margin_millionths));
            self.margin = share.plus(terms.margin_fixed);
        }
        self.total = net.plus(self.margin);
    }
}

/// One call at its prices.
struct Bill<'a> {
    prices: &'a Prices,
    used: &'a Quantities,
}

impl Bill<'_> {
    /// The price of `kind` in this call's tier and size.
    fn rate(&self, kind: Kind) -> Option<Money> {
        self.prices.rate(kind, self.used.tier, self.used.prompt)
    }

    /// `count` at the first of `kinds` that has a price; nothing when none has.
    fn at(&self, count: u64, kinds: &[Kind]) -> Money {
        if count == 0 {
            return Money::ZERO;
        }
        let price = kinds.iter().find_map(|kind| self.rate(*kind));
        price.map_or(Money::ZERO, |price| price.times(count))
    }

    /// A duration in microseconds at a price per second.
    fn time(&self, micros: u64, kinds: &[Kind]) -> Money {
        if micros == 0 {
            return Money::ZERO;
        }
        // A price of 0 on one side means that the other side is the one that is billed.
        let priced = kinds.iter().filter_map(|kind| self.rate(*kind));
        let price = priced.into_iter().find(|price| !price.is_zero());
        price.map_or(Money::ZERO, |price| price.times_millionths(micros))
    }

    fn add_input(&self, out: &mut Cost) {
        let used = self.used;
        let mut left = used.prompt;
        // Each kind takes its share of the total, so that no token is billed twice even when the
        // provider's details overlap or exceed it.
        let mut take = |count: u64| {
            let taken = count.min(left);
            left -= taken;
            taken
        };
        let cached_audio = take(used.cached_audio.min(used.cached));
        let cached_image = take(used.cached_image.min(used.cached - cached_audio));
        let cached = take(used.cached - cached_audio - cached_image);
        let written_1h = take(used.cache_write_1h);
        let written = take(used.cache_write);
        let audio = take(used.audio_in.saturating_sub(cached_audio));
        let image = take(used.image_in.saturating_sub(cached_image));
        let video = take(used.video_in);
        let plain = left;

        let from_cache = [Kind::CacheRead, Kind::Input];
        let cached_audio = self.at(
            cached_audio,
            &[Kind::CacheReadAudio, Kind::CacheRead, Kind::AudioIn],
        );
        let cached_image = self.at(
            cached_image,
            &[Kind::CacheReadImage, Kind::CacheRead, Kind::ImageTokenIn],
        );
        out.cache_read = self
            .at(cached, &from_cache)
            .plus(cached_audio)
            .plus(cached_image);
        out.cache_creation = self
            .at(written, &[Kind::CacheWrite, Kind::Input])
            .plus(self.at(
                written_1h,
                &[Kind::CacheWrite1h, Kind::CacheWrite, Kind::Input],
            ));
        let audio = self.at(audio, &[Kind::AudioIn, Kind::Input]);
        let image = self.at(image, &[Kind::ImageTokenIn, Kind::Input]);
        let video = self.at(video, &[Kind::VideoTokenIn, Kind::Input]);
        out.audio = audio.plus(cached_audio);
        out.image = image.plus(cached_image);
        let plain = self.at(plain, &[Kind::Input]);
        let citations = self.at(used.citation, &[Kind::Citation]);
        out.input = [
            out.cache_read,
            out.cache_creation,
            audio,
            image,
            video,
            plain,
            citations,
        ]
        .into_iter()
        .sum();
    }

    fn add_output(&self, out: &mut Cost) {
        let used = self.used;
        let mut left = used.completion;
        let mut take = |count: u64| {
            let taken = count.min(left);
            left -= taken;
            taken
        };
        let audio = take(used.audio_out);
        let image = take(used.image_out);
        let reasoning = take(used.reasoning);
        let plain = left;
        let audio = self.at(audio, &[Kind::AudioOut, Kind::Output]);
        let image = self.at(image, &[Kind::ImageTokenOut, Kind::Output]);
        out.reasoning = self.at(reasoning, &[Kind::Reasoning, Kind::Output]);
        out.audio = out.audio.plus(audio);
        out.image = out.image.plus(image);
        let plain = self.at(plain, &self.plain_output());
        out.output = audio.plus(image).plus(out.reasoning).plus(plain);
    }

    /// Models that only make images or video have no price of plain output tokens.
    fn plain_output(&self) -> [Kind; 3] {
        match &*self.prices.mode {
            "image_generation" | "image_edit" => {
                [Kind::Output, Kind::ImageTokenOut, Kind::ImageTokenOut]
            }
            "video_generation" => [Kind::Output, Kind::VideoTokenOut, Kind::VideoTokenOut],
            "audio_speech" => [Kind::AudioOut, Kind::Output, Kind::Output],
            _ => [Kind::Output, Kind::Output, Kind::Output],
        }
    }

    /// The factor on token prices, in millionths.
    fn uplift(&self, residency: Residency) -> u64 {
        let residency = match residency {
            Residency::Global => None,
            Residency::Regional => self.prices.usual(Kind::UpliftRegional),
            Residency::Eu => self.prices.usual(Kind::UpliftEu),
            Residency::Us => self.prices.usual(Kind::UpliftUs),
        };
        let geo = self
            .used
            .geo_us
            .then(|| self.prices.usual(Kind::UpliftGeoUs))
            .flatten();
        let fast = self
            .used
            .fast
            .then(|| self.prices.usual(Kind::UpliftFast))
            .flatten();
        let one = Money::from_units(MULTIPLIER_ONE);
        let factor = [residency, geo, fast]
            .into_iter()
            .flatten()
            .fold(one, |all, factor| all.times_millionths(millionths(factor)));
        millionths(factor)
    }

    /// What is billed by the second, character, image, pixel, page or query.
    fn add_media(&self, out: &mut Cost) {
        let (prices, used) = (self.prices, self.used);
        // Tokens already paid for the same thing.
        let by_token = !out.input.is_zero() || !out.output.is_zero();
        match &*prices.mode {
            "audio_transcription" if !by_token => {
                let heard = self.time(used.input_us, &[Kind::SecondIn, Kind::SecondOut]);
                (out.input, out.audio) = (out.input.plus(heard), out.audio.plus(heard));
            }
            "audio_speech" => self.add_speech(out),
            "image_generation" | "image_edit" if !by_token => self.add_images(out),
            "video_generation" if !by_token => {
                let kinds = [Kind::VideoSecondOut, Kind::SecondOut];
                out.output = out.output.plus(self.time(used.output_us, &kinds));
            }
            "audio_transcription" | "image_generation" | "image_edit" | "video_generation" => {}
            "embedding" => {
                // Vertex AI bills text by the character where the table says so.
                if used.characters_in > 0 && self.rate(Kind::CharacterIn).is_some() {
                    out.input = self.at(used.characters_in, &[Kind::CharacterIn]);
                }
                let images = self.at(used.images_in, &[Kind::ImageIn]);
                out.image = out.image.plus(images);
                let heard = self.time(used.input_us, &[Kind::AudioSecondIn, Kind::VideoSecondIn]);
                out.input = out.input.plus(images).plus(heard);
            }
            _ if by_token => {}
            _ => {
                let kinds = [Kind::SecondWall, Kind::SecondIn, Kind::SecondOut];
                out.output = out.output.plus(self.time(used.wall_us, &kinds));
                let characters = self.at(used.characters_in, &[Kind::CharacterIn]);
                out.input = out.input.plus(characters);
                out.output = out
                    .output
                    .plus(self.at(used.characters_out, &[Kind::CharacterOut]));
            }
        }
        let queries = self.at(used.queries, &[Kind::Query]);
        let pages = self.at(used.pages, &[Kind::Page]);
        out.input = out
            .input
            .plus(queries)
            .plus(pages)
            .plus(self.at(1, &[Kind::Request]));
    }

    fn add_speech(&self, out: &mut Cost) {
        let used = self.used;
        out.input = out
            .input
            .plus(self.at(used.characters_in, &[Kind::CharacterIn]));
        let spoken = if used.completion > 0 {
            out.output
        } else {
            self.time(used.output_us, &[Kind::SecondOut])
        };
        (out.output, out.audio) = (spoken, spoken);
    }

    fn add_images(&self, out: &mut Cost) {
        let used = self.used;
        let each = [Kind::ImageOut, Kind::ImageIn]
            .into_iter()
            .filter_map(|kind| self.rate(kind));
        let each = each.into_iter().find(|price| !price.is_zero());
        let made = match each {
            Some(price) => price.times(used.images_out),
            None => self.at(used.pixels_out, &[Kind::PixelIn, Kind::PixelOut]),
        };
        (out.output, out.image) = (out.output.plus(made), out.image.plus(made));
    }

    fn add_tools(&self, out: &mut Cost) {
        let used = self.used;
        let search = match used.search_size {
            SearchSize::Low => Kind::SearchLow,
            SearchSize::Medium => Kind::SearchMedium,
            SearchSize::High => Kind::SearchHigh,
        };
        let searches = self.at(used.web_searches, &[search, Kind::SearchMedium]);
        out.tool_usage = searches.plus(self.at(used.code_sessions, &[Kind::CodeSession]));
    }
}

/// A multiplier of 1, as the price table holds it.
const MULTIPLIER_ONE: u128 = 1_000_000_000_000_000_000_000_000;

/// A multiplier from the price table in millionths.
fn millionths(factor: Money) -> u64 {
    u64::try_from(factor.units() / (MULTIPLIER_ONE / 1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
