//! Fixed-point arithmetic: decisions hold no floats, so that they come out the same on every machine.
//!
//! Calls are counted in thousandths (`mc`, milli-calls), rates in milli-calls a second, shares in millionths (`ppm`).

/// One, in billionths.
pub const ONE_PPB: u64 = 1_000_000_000;
/// e to the minus one, in billionths.
const INVERSE_E_PPB: u64 = 367_879_441;

/// `exp(-elapsed / scale)` in billionths: what is left of something that decays. A scale of 0 leaves nothing.
pub fn decay_ppb(elapsed_ms: u64, scale_ms: u64) -> u64 {
    let Some(whole) = elapsed_ms.checked_div(scale_ms) else { return 0 };
    if whole > 20 {
        return 0;
    }
    let rest = ratio(ONE_PPB, elapsed_ms % scale_ms, scale_ms);
    // Taylor's series of exp(-rest), terms of changing sign; twelve of them are exact to a billionth below one.
    let (mut term, mut plus, mut minus) = (ONE_PPB, ONE_PPB, 0_u64);
    for n in 1..=12 {
        term = times(term, rest) / n;
        if n % 2 == 0 { plus += term } else { minus += term }
    }
    let part = plus.saturating_sub(minus);
    (0..whole).fold(part, |left, _| times(left, INVERSE_E_PPB))
}

/// `value * share`, the share in billionths.
pub fn times(value: u64, share_ppb: u64) -> u64 {
    (u128::from(value) * u128::from(share_ppb) / u128::from(ONE_PPB)) as u64
}

/// `value * numerator / denominator` without overflow on the way; a denominator of 0 gives `value`.
pub fn ratio(value: u64, numerator: u64, denominator: u64) -> u64 {
    (u128::from(value) * u128::from(numerator)).checked_div(u128::from(denominator)).map_or(value, clamped)
}

fn clamped(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The square root of a number of calls in milli-calls, in milli-calls.
pub fn sqrt_mc(calls_mc: u64) -> u64 {
    calls_mc.saturating_mul(1_000).isqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decay_is_the_exponential() {
        // Wanted: round(exp(-x) * 1e9), by bc(1).
        for (elapsed, scale, want) in [
            (0, 5, 1_000_000_000),
            (1, 2, 606_530_660),
            (1, 1, 367_879_441),
            (5, 2, 82_084_999),
            (7, 1, 911_882),
        ] {
            let got = decay_ppb(elapsed, scale);
            assert!(got.abs_diff(want) <= 20, "exp(-{elapsed}/{scale}): {got}, wanted {want}");
        }
        assert_eq!((decay_ppb(1_000, 1), decay_ppb(3, 0)), (0, 0));
    }

    #[test]
    fn decay_never_grows() {
        let mut last = ONE_PPB;
        for elapsed in 0..5_000 {
            let left = decay_ppb(elapsed, 700);
            assert!(left <= last, "at {elapsed} ms {left} after {last}");
            last = left;
        }
    }

    #[test]
    fn roots_of_calls() {
        assert_eq!(sqrt_mc(100_000), 10_000);
        assert_eq!(sqrt_mc(0), 0);
        assert_eq!(ratio(7, 3, 0), 7);
        assert_eq!(ratio(u64::MAX, 10, 1), u64::MAX);
    }
}
