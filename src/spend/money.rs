//! Money as whole numbers: a price or a cost is a count of 1e-24 US dollars.
//!
//! The finest price in the public table has 24 decimals, so every product of a price and a count
//! of tokens is exact, and a sum does not depend on its order. Prices are read from their decimal
//! text and never pass through a binary fraction; only the last step, showing a cost to people as
//! LiteLLM does, rounds to the nearest double. Knows nothing of models or tokens.

use std::fmt;

/// Decimals of the unit.
const DECIMALS: i32 = 24;
/// Units in one US dollar.
const UNITS_PER_DOLLAR: u128 = 1_000_000_000_000_000_000_000_000;
/// Micro-units of a count that comes in millionths (seconds, multipliers).
const MILLION: u128 = 1_000_000;

/// An amount of money, or a price per one unit of something: 0 to 3.4e14 US dollars in steps of
/// 1e-24. Arithmetic saturates: a nonsensical price gives a nonsensical cost, never a small one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Money(u128);

/// Why a text is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyError {
    /// Not a decimal number such as `0.0000025` or `2.5e-06`.
    NotANumber,
    /// Below zero.
    Negative,
    /// 3.4e14 dollars or more.
    TooLarge,
}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MoneyError::NotANumber => "must be a decimal number of US dollars",
            MoneyError::Negative => "must be 0 or more",
            MoneyError::TooLarge => "must be less than 3e14 US dollars",
        })
    }
}

impl std::error::Error for MoneyError {}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// From a count of 1e-24 dollars.
    #[must_use]
    pub const fn from_units(units: u128) -> Money {
        Money(units)
    }

    /// The count of 1e-24 dollars.
    #[must_use]
    pub const fn units(self) -> u128 {
        self.0
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Reads a decimal number as JSON, YAML or Python write it: `3`, `0.5`, `2.5e-06`, `1E-7`.
    /// Decimals beyond the 24th are rounded half to even.
    pub fn parse(text: &str) -> Result<Money, MoneyError> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('-') {
            let value = Self::parse(rest)?;
            return if value.is_zero() {
                Ok(value)
            } else {
                Err(MoneyError::Negative)
            };
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(MoneyError::NotANumber);
        }
        let mut digits: u128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(MoneyError::NotANumber);
            }
            digits = digits
                .checked_mul(10)
                .and_then(|value| value.checked_add(u128::from(byte - b'0')))
                .ok_or(MoneyError::TooLarge)?;
        }
        let fraction_len = i32::try_from(fraction.len()).map_err(|_| MoneyError::TooLarge)?;
        shift(digits, exponent - fraction_len + DECIMALS).map(Money)
    }

    /// The price of `count` of them.
    #[must_use]
    pub const fn times(self, count: u64) -> Money {
        Money(self.0.saturating_mul(count as u128))
    }

    /// The price of a count in millionths (microseconds at a price per second, a multiplier of
    /// 1.1 as 1,100,000); the last unit is rounded half to even.
    #[must_use]
    pub const fn times_millionths(self, count: u64) -> Money {
        let product = match self.0.checked_mul(count as u128) {
            Some(product) => product,
            None => return Money((self.0 / MILLION).saturating_mul(count as u128)),
        };
        Money(half_even(product, MILLION))
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// The difference, not below nothing.
    #[must_use]
    pub const fn less(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }

    /// The nearest double, for columns and reports that are doubles in LiteLLM's schema.
    #[must_use]
    pub fn dollars(self) -> f64 {
        if let Some((digits, decimals)) = self.short() {
            // Both are doubles without a rest, so that one division rounds once.
            return digits as f64 / 10_u64.pow(decimals) as f64;
        }
        let mut buffer = [0; 48];
        let text = write_units(self.0, &mut buffer);
        text.parse().unwrap_or(f64::MAX)
    }

    /// Billionths of a dollar, rounded up: what budgets count in, and no call is free in it that
    /// costs something.
    #[must_use]
    pub fn nanodollars(self) -> i64 {
        i64::try_from(self.0.div_ceil(UNITS_PER_DOLLAR / 1_000_000_000)).unwrap_or(i64::MAX)
    }

    /// As Python shows a float, which is how LiteLLM's `x-litellm-response-cost` reads: the
    /// shortest text that gives the nearest double back, `3.5e-06`, `0.000125`, `0.0`, `12.0`.
    #[must_use]
    pub fn repr(self) -> Repr {
        let mut out = Repr {
            bytes: [0; REPR_BYTES_MAX],
            len: 0,
        };
        match self.short() {
            Some((digits, decimals)) => out.write_short(digits, decimals),
            None => out.write(self.dollars()),
        }
        out
    }

    /// The digits without zeros at their end, and how many of them are decimals, where there are at most fifteen of
    /// them and twelve decimals: those are the shortest text of their double, since no two such numbers share one.
    fn short(self) -> Option<(u64, u32)> {
        const UNITS: u128 = UNITS_PER_DOLLAR / 1_000_000_000_000;
        const DIGITS: u64 = 1_000_000_000_000_000;
        let whole = self.0 / UNITS;
        let mut digits = u64::try_from(whole).ok()?;
        if whole * UNITS != self.0 {
            return None;
        }
        let mut decimals = 12;
        while decimals > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            decimals -= 1;
        }
        (digits < DIGITS).then_some((digits, decimals))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The exact decimal, without trailing zeros: `0.0000025`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / UNITS_PER_DOLLAR, self.0 % UNITS_PER_DOLLAR);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let text = format!("{fraction:024}");
        write!(f, "{whole}.{}", text.trim_end_matches('0'))
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Money>>(amounts: I) -> Money {
        amounts.fold(Money::ZERO, Money::plus)
    }
}

/// Room for the longest float text (`2.2250738585072014e-308`).
const REPR_BYTES_MAX: usize = 32;

/// A cost as header text, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    bytes: [u8; REPR_BYTES_MAX],
    len: usize,
}

impl Repr {
    /// The text; always ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("0.0")
    }

    /// The number that has these digits, the last `decimals` of them behind the point.
    fn write_short(&mut self, digits: u64, decimals: u32) {
        let mut buffer = [0; 20];
        let mut at = buffer.len();
        let mut rest = digits;
        loop {
            at -= 1;
            buffer[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let text = std::str::from_utf8(&buffer[at..]).unwrap_or("0");
        let exponent = text.len() as i32 - 1 - decimals as i32;
        let (first, rest) = text.split_at(1);
        self.write_digits(first, rest, if digits == 0 { 0 } else { exponent });
    }

    fn write(&mut self, value: f64) {
        let mut scientific = Repr {
            bytes: [0; REPR_BYTES_MAX],
            len: 0,
        };
        // The shortest digits that round-trip, as `d.ddde-6`: 24 bytes at most.
        if fmt::write(&mut scientific, format_args!("{value:e}")).is_err() {
            return;
        }
        let (mantissa, exponent) = scientific.as_str().split_once('e').unwrap_or(("0", "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        self.write_digits(first, rest, exponent);
    }

    /// Python's layout of a float: fixed between 1e-4 and 1e16, else an exponent of two digits. `first` is the first
    /// digit, `exponent` its place before the point.
    fn write_digits(&mut self, first: &str, rest: &str, exponent: i32) {
        if !(-4..16).contains(&exponent) {
            self.push(first);
            if !rest.is_empty() {
                self.push(".");
                self.push(rest);
            }
            self.push(if exponent < 0 { "e-" } else { "e+" });
            let size = exponent.unsigned_abs();
            for place in [100, 10, 1] {
                if size >= place || place <= 10 {
                    self.push_digit(size / place);
                }
            }
        } else if exponent < 0 {
            self.push("0.");
            (1..-exponent).for_each(|_| self.push("0"));
            self.push(first);
            self.push(rest);
        } else {
            self.write_fixed(first, rest, exponent.unsigned_abs() as usize);
        }
    }

    fn write_fixed(&mut self, first: &str, rest: &str, exponent: usize) {
        self.push(first);
        let (whole, fraction) = rest.split_at(exponent.min(rest.len()));
        self.push(whole);
        (whole.len()..exponent).for_each(|_| self.push("0"));
        self.push(".");
        self.push(if fraction.is_empty() { "0" } else { fraction });
    }

    /// The last digit of `number`.
    fn push_digit(&mut self, number: u32) {
        let digit = [b'0' + (number % 10) as u8];
        self.push(std::str::from_utf8(&digit).unwrap_or("0"));
    }

    fn push(&mut self, text: &str) {
        let end = (self.len + text.len()).min(REPR_BYTES_MAX);
        self.bytes[self.len..end].copy_from_slice(&text.as_bytes()[..end - self.len]);
        self.len = end;
    }
}

impl fmt::Write for Repr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.len + text.len() > REPR_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.push(text);
        Ok(())
    }
}

/// The exponent of a decimal number; far beyond any price is cut, so that shifts stay small.
fn exponent(text: &str) -> Result<i32, MoneyError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MoneyError::NotANumber);
    }
    let size = digits.parse::<i32>().unwrap_or(1_000_000).min(1_000_000);
    Ok(if negative { -size } else { size })
}

/// `digits * 10^by`, rounded half to even.
fn shift(digits: u128, by: i32) -> Result<u128, MoneyError> {
    if digits == 0 {
        return Ok(0);
    }
    if by >= 0 {
        return 10_u128
            .checked_pow(by.unsigned_abs())
            .and_then(|factor| digits.checked_mul(factor))
            .ok_or(MoneyError::TooLarge);
    }
    Ok(match 10_u128.checked_pow(by.unsigned_abs()) {
        Some(divisor) => half_even(digits, divisor),
        None => 0,
    })
}

const fn half_even(value: u128, divisor: u128) -> u128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    let other = divisor - rest;
    if rest > other || (rest == other && quotient % 2 == 1) {
        quotient + 1
    } else {
        quotient
    }
}

/// `units` as `<digits>e-24` for the float parser, which rounds correctly.
fn write_units(units: u128, buffer: &mut [u8; 48]) -> &str {
    let suffix = b"e-24";
    let mut at = buffer.len() - suffix.len();
    buffer[at..].copy_from_slice(suffix);
    let mut rest = units;
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&buffer[at..]).unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_repr(text: &str, expected: &str) {
        assert_eq!(
            Money::parse(text).unwrap().repr().as_str(),
            expected,
            "of {text}"
        );
    }

    #[test]
    fn costs_read_as_python_floats() {
        check_repr("0", "0.0");
        check_repr("0.0000035", "3.5e-06");
        check_repr("0.000125", "0.000125");
        check_repr("0.0001", "0.0001");
        check_repr("0.00001", "1e-05");
        check_repr("0.00006", "6e-05");
        check_repr("1", "1.0");
        check_repr("12", "12.0");
        check_repr("120.5", "120.5");
        check_repr("123456.75", "123456.75");
        check_repr("2.050041e-05", "2.050041e-05");
        check_repr("0.0012987500000000002", "0.0012987500000000002");
        check_repr("0.1000000000000000055", "0.1");
        check_repr("1e-24", "1e-24");
        check_repr("100000000000000", "100000000000000.0");
    }

    #[test]
    fn decimal_text_is_read_exactly() {
        let units = |text: &str| Money::parse(text).map(Money::units);
        assert_eq!(units("2.5e-06"), Ok(2_500_000_000_000_000_000));
        assert_eq!(units("0.0000025"), units("2.5E-6"));
        assert_eq!(units("3.2857142857142855E-8"), Ok(32_857_142_857_142_855));
        assert_eq!(units("3"), Ok(3 * UNITS_PER_DOLLAR));
        assert_eq!(units(".5"), units("5e-1"));
        assert_eq!(units("5."), units("5"));
        assert_eq!(units("-0.0"), Ok(0));
        // Half to even at the 24th decimal.
        assert_eq!(units("1.5e-24"), Ok(2));
        assert_eq!(units("2.5e-24"), Ok(2));
        assert_eq!(units("2.51e-24"), Ok(3));
        assert_eq!(units("1e-400"), Ok(0));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for (text, expected) in [
            ("", MoneyError::NotANumber),
            (".", MoneyError::NotANumber),
            ("1e", MoneyError::NotANumber),
            ("1e+-3", MoneyError::NotANumber),
            ("nan", MoneyError::NotANumber),
            ("1,5", MoneyError::NotANumber),
            ("-1", MoneyError::Negative),
            ("1e15", MoneyError::TooLarge),
            ("1e999999999999", MoneyError::TooLarge),
        ] {
            assert_eq!(Money::parse(text), Err(expected), "of {text:?}");
        }
    }

    #[test]
    fn products_saturate_and_millionths_round_half_even() {
        let price = Money::from_units(3);
        assert_eq!(price.times_millionths(1_500_000).units(), 4);
        assert_eq!(Money::from_units(1).times_millionths(500_000).units(), 0);
        assert_eq!(Money::from_units(u128::MAX).times(2).units(), u128::MAX);
        assert!(
            Money::from_units(u128::MAX)
                .times_millionths(2_000_000)
                .units()
                > u128::MAX / 2
        );
    }

    #[test]
    fn the_exact_decimal_is_shown() {
        assert_eq!(Money::parse("2.50e-06").unwrap().to_string(), "0.0000025");
        assert_eq!(Money::parse("12.0").unwrap().to_string(), "12");
    }
}
