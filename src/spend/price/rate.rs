//! One price: what is counted, in which tier, above how many input tokens.
//!
//! LiteLLM spells all three in the field's name (`cache_read_input_token_cost_above_272k_tokens_
//! priority`). The names are parsed here, and nowhere else.

use crate::spend::money::Money;
use crate::spend::usage::Tier;

/// What a price is per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each is documented by its field name in FIELDS"
)]
pub enum Kind {
    Input,
    Output,
    Reasoning,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    CacheWrite12h,
    AudioIn,
    AudioOut,
    CacheReadAudio,
    CacheWriteAudio,
    ImageTokenIn,
    ImageTokenOut,
    CacheReadImage,
    VideoTokenIn,
    VideoTokenOut,
    Citation,
    CharacterIn,
    CharacterOut,
    SecondIn,
    SecondOut,
    SecondWall,
    AudioSecondIn,
    VideoSecondIn,
    VideoSecondOut,
    ImageIn,
    ImageOut,
    PixelIn,
    PixelOut,
    Query,
    Request,
    Page,
    AnnotatedPage,
    SearchLow,
    SearchMedium,
    SearchHigh,
    MapsQuery,
    CodeSession,
    /// A multiplier, not a price: regional endpoints of Vertex.
    UpliftRegional,
    /// A multiplier: data kept in the European Union.
    UpliftEu,
    /// A multiplier: data kept in the United States.
    UpliftUs,
    /// A multiplier: Anthropic's `inference_geo: us`.
    UpliftGeoUs,
    /// A multiplier: Anthropic's `speed: fast`.
    UpliftFast,
}

/// Field names of LiteLLM's price table, without tier and threshold.
pub const FIELDS: [(Kind, &str); 43] = [
    (Kind::Input, "input_cost_per_token"),
    (Kind::Output, "output_cost_per_token"),
    (Kind::Reasoning, "output_cost_per_reasoning_token"),
    (Kind::CacheRead, "cache_read_input_token_cost"),
    (Kind::CacheWrite, "cache_creation_input_token_cost"),
    (
        Kind::CacheWrite1h,
        "cache_creation_input_token_cost_above_1hr",
    ),
    (
        Kind::CacheWrite12h,
        "cache_creation_input_token_cost_above_12hr",
    ),
    (Kind::AudioIn, "input_cost_per_audio_token"),
    (Kind::AudioOut, "output_cost_per_audio_token"),
    (Kind::CacheReadAudio, "cache_read_input_audio_token_cost"),
    (
        Kind::CacheWriteAudio,
        "cache_creation_input_audio_token_cost",
    ),
    (Kind::ImageTokenIn, "input_cost_per_image_token"),
    (Kind::ImageTokenOut, "output_cost_per_image_token"),
    (Kind::CacheReadImage, "cache_read_input_image_token_cost"),
    (Kind::VideoTokenIn, "input_cost_per_video_token"),
    (Kind::VideoTokenOut, "output_cost_per_video_token"),
    (Kind::Citation, "citation_cost_per_token"),
    (Kind::CharacterIn, "input_cost_per_character"),
    (Kind::CharacterOut, "output_cost_per_character"),
    (Kind::SecondIn, "input_cost_per_second"),
    (Kind::SecondOut, "output_cost_per_second"),
    (Kind::SecondWall, "cost_per_second"),
    (Kind::AudioSecondIn, "input_cost_per_audio_per_second"),
    (Kind::VideoSecondIn, "input_cost_per_video_per_second"),
    (Kind::VideoSecondOut, "output_cost_per_video_per_second"),
    (Kind::ImageIn, "input_cost_per_image"),
    (Kind::ImageOut, "output_cost_per_image"),
    (Kind::PixelIn, "input_cost_per_pixel"),
    (Kind::PixelOut, "output_cost_per_pixel"),
    (Kind::Query, "input_cost_per_query"),
    (Kind::Request, "input_cost_per_request"),
    (Kind::Page, "ocr_cost_per_page"),
    (Kind::AnnotatedPage, "annotation_cost_per_page"),
    (Kind::SearchLow, "search_context_size_low"),
    (Kind::SearchMedium, "search_context_size_medium"),
    (Kind::SearchHigh, "search_context_size_high"),
    (Kind::MapsQuery, "google_maps_grounding_cost_per_query"),
    (Kind::CodeSession, "code_interpreter_cost_per_session"),
    (Kind::UpliftRegional, "regional_endpoint_uplift_multiplier"),
    (Kind::UpliftEu, "regional_processing_uplift_multiplier_eu"),
    (Kind::UpliftUs, "regional_processing_uplift_multiplier_us"),
    (Kind::UpliftGeoUs, "uplift_geo_us"),
    (Kind::UpliftFast, "uplift_fast"),
];

/// What a price is per, in which tier, and for requests of more than how many input tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RateKey {
    /// What is counted.
    pub kind: Kind,
    /// The tier of service.
    pub tier: Tier,
    /// Input tokens that the request must exceed; 0 for the usual price.
    pub above: u32,
}

/// A price with what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What it is for.
    pub key: RateKey,
    /// Dollars per one of them; for multipliers the factor itself.
    pub price: Money,
}

impl Kind {
    /// Whether it is a price of input tokens.
    #[must_use]
    pub const fn is_input_token(self) -> bool {
        matches!(
            self,
            Kind::Input
                | Kind::CacheRead
                | Kind::CacheWrite
                | Kind::CacheWrite1h
                | Kind::CacheWrite12h
                | Kind::AudioIn
                | Kind::CacheReadAudio
                | Kind::CacheWriteAudio
                | Kind::ImageTokenIn
                | Kind::CacheReadImage
                | Kind::VideoTokenIn
        )
    }

    /// Whether it is a price of output tokens.
    #[must_use]
    pub const fn is_output_token(self) -> bool {
        matches!(
            self,
            Kind::Output
                | Kind::Reasoning
                | Kind::AudioOut
                | Kind::ImageTokenOut
                | Kind::VideoTokenOut
        )
    }
}

impl RateKey {
    /// The usual price of `kind`.
    #[must_use]
    pub const fn usual(kind: Kind) -> RateKey {
        RateKey {
            kind,
            tier: Tier::Standard,
            above: 0,
        }
    }

    /// Reads a field name; `None` for fields that are no price we bill by.
    #[must_use]
    pub fn parse(field: &str) -> Option<RateKey> {
        let mut tier = Tier::Standard;
        let mut rest = field;
        for (named, text) in Tier::NAMED {
            if let Some(shorter) = rest.strip_suffix(text).and_then(|r| r.strip_suffix('_')) {
                (tier, rest) = (named, shorter);
                break;
            }
        }
        let mut above = 0;
        if let Some(shorter) = rest.strip_suffix("k_tokens")
            && let Some((shorter, count)) = shorter.rsplit_once("_above_")
        {
            above = count.parse::<u32>().ok()?.checked_mul(1000)?;
            rest = shorter;
        }
        let kind = match rest {
            "input_cost_per_token_cache_hit" => Kind::CacheRead,
            _ => FIELDS.iter().find(|(_, name)| *name == rest)?.0,
        };
        Some(RateKey { kind, tier, above })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, expected: Option<(Kind, Tier, u32)>) {
        let expected = expected.map(|(kind, tier, above)| RateKey { kind, tier, above });
        assert_eq!(RateKey::parse(field), expected, "of {field}");
    }

    #[test]
    fn field_names() {
        check(
            "input_cost_per_token",
            Some((Kind::Input, Tier::Standard, 0)),
        );
        check(
            "cache_read_input_token_cost_above_272k_tokens_priority",
            Some((Kind::CacheRead, Tier::Priority, 272_000)),
        );
        check(
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
            Some((Kind::CacheWrite1h, Tier::Standard, 200_000)),
        );
        check(
            "output_cost_per_token_batches",
            Some((Kind::Output, Tier::Batches, 0)),
        );
        check("input_cost_per_token_above_xk_tokens", None);
        check("max_tokens", None);
        check("supports_vision", None);
    }

    #[test]
    fn every_kind_has_one_field_in_order() {
        for (at, (kind, _)) in FIELDS.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }
}
