//! Values that are read forgivingly: what is no count counts nothing, and what is no object is an
//! empty one. A vendor's odd field must not lose the rest of a bill.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::money::Money;

/// A count that is forgiving: `3`, `3.0`, `null`; what is no count is 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Count(pub(super) u64);

/// A duration in seconds, whole or not, kept in microseconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Seconds(pub(super) u64);

/// A cost in dollars, if it is one.
#[derive(Clone, Copy, Default)]
pub(super) struct Dollars(pub(super) Option<Money>);

/// A text, or nothing.
#[derive(Clone, Default)]
pub(super) struct Text(pub(super) Box<str>);

/// An object, or the default when it is `null` or something else.
#[derive(Default)]
pub(super) struct Map<T>(pub(super) T);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Lenient)
            .map(|scalar| Count(scalar.count()))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(Lenient)?;
        Ok(Seconds(scalar.micros()))
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(Lenient)?;
        Ok(Dollars(scalar.dollars()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = deserializer.deserialize_any(Lenient)?;
        Ok(Text(if let Scalar::Text(text) = scalar {
            text
        } else {
            Box::default()
        }))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(map))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(T::default())
            }

            fn visit_unit<E>(self) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<T, E> {
                Ok(T::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<T, E> {
                Ok(T::default())
            }
        }
        deserializer
            .deserialize_any(Members(std::marker::PhantomData))
            .map(Map)
    }
}

/// Any JSON value, with objects and arrays forgotten.
enum Scalar {
    None,
    Whole(u64),
    Fraction(f64),
    Text(Box<str>),
}

impl Scalar {
    fn count(&self) -> u64 {
        match self {
            Scalar::Whole(count) => *count,
            // A float is cut, and saturates: as `as` does.
            Scalar::Fraction(count) => *count as u64,
            _ => 0,
        }
    }

    fn micros(&self) -> u64 {
        match self {
            Scalar::Whole(seconds) => seconds.saturating_mul(1_000_000),
            Scalar::Fraction(seconds) => (seconds * 1e6).round() as u64,
            _ => 0,
        }
    }

    fn dollars(&self) -> Option<Money> {
        match self {
            Scalar::Whole(dollars) => Money::parse(&dollars.to_string()).ok(),
            // The shortest text of the double is the decimal that the vendor wrote.
            Scalar::Fraction(dollars) => Money::parse(&dollars.to_string()).ok(),
            _ => None,
        }
    }
}

struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(u64::try_from(value).unwrap_or(0)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Fraction(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::None)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::None)
    }
}
