//! Numbers as a node map tells them: in steps, and with hysteresis, so that a value that trembles at a step's edge is no news (DESIGN §3.2).

/// Sign, exponent and the first two digits of a double's mantissa.
const TWO_DIGITS: u64 = !0 << 50;

/// The step that `value` is on: 1, 1.25, 1.5 or 1.75 times a power of two, so that a step is about a fifth. What is not above zero is zero.
pub fn step(value: f64) -> f64 {
    if value > 0.0 { f64::from_bits(value.to_bits() & TWO_DIGITS) } else { 0.0 }
}

/// The step on which `value` is to be told, where `said` was told last: that one, while the value is within half a step of it.
///
/// Zero has no neighbourhood: whether there is anything at all is what people look for.
pub fn with_hysteresis(value: f64, said: f64) -> f64 {
    let width = f64::from_bits(said.to_bits() & (0x7ff << 52)) / 4.0;
    let is_near = said > 0.0 && value >= said - width / 2.0 && value < said + width * 1.5;
    if is_near { said } else { step(value) }
}

/// The load to tell, of a node that bears `bearable`, where `said` was told last: that, while it is off by less than a fiftieth, and by less than what
/// matters to nobody: a 512th of what the node bears.
///
/// Finer than the steps for people: loads are compared with bounds that are two hundredths apart (DESIGN §5.2).
pub fn load(load: u64, said: u64, bearable: u64) -> u64 {
    let is_near = load.abs_diff(said) <= (said / 50).max(bearable / 512);
    if is_near { said } else { load }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_are_a_quarter_of_a_power_of_two() {
        let steps = [0.0, -1.0, f64::NAN, 1.0, 1.2, 1.9, 5.9, 1_000.0, 0.3].map(step);
        assert_eq!(steps, [0.0, 0.0, 0.0, 1.0, 1.0, 1.75, 5.0, 896.0, 0.25]);
    }

    /// What is told of a series of values, where only a change is told.
    fn told(values: &[f64]) -> Vec<f64> {
        let mut told: Vec<f64> = Vec::new();
        for value in values {
            let said = told.last().copied();
            let now = said.map_or(step(*value), |said| with_hysteresis(*value, said));
            if said != Some(now) {
                told.push(now);
            }
        }
        told
    }

    #[test]
    fn a_value_that_trembles_at_an_edge_is_told_once() {
        assert_eq!(told(&[1_023.0, 1_025.0, 1_023.0, 1_030.0, 1_000.0]), [896.0]);
        assert_eq!(told(&[1_025.0, 1_023.0, 1_025.0]), [1_024.0]);
        assert_eq!(told(&[100.0, 101.0, 150.0, 300.0]), [96.0, 128.0, 256.0]);
    }

    #[test]
    fn coming_to_rest_is_told() {
        assert_eq!(told(&[7.0, 0.0, 0.0, 3.0]), [7.0, 0.0, 3.0]);
    }

    #[test]
    fn a_load_is_told_when_it_is_off_by_a_fiftieth() {
        let bearable = 51_200;
        assert_eq!([load(10_200, 10_000, bearable), load(10_201, 10_000, bearable), load(9_799, 10_000, bearable)], [10_000, 10_201, 9_799]);
        assert_eq!([load(100, 0, bearable), load(101, 0, bearable), load(0, 101, bearable)], [0, 101, 0], "an idle node's tremble is no news");
    }

    proptest! {
        /// However small the tremble, and wherever: one word.
        #[test]
        fn no_edge_is_crossed_twice(value in 1e-3_f64..1e12, tremble in 0.0_f64..0.05) {
            let high = value * (1.0 + tremble);
            let told = told(&[value, high, value, high, value, high]);
            prop_assert!(told.len() <= 2, "{told:?}");
        }

        /// What is told is never further off than two fifths.
        #[test]
        fn what_is_told_is_near_the_value(values in prop::collection::vec(1e-3_f64..1e9, 1..20)) {
            let mut said = step(values[0]);
            for value in values {
                said = with_hysteresis(value, said);
                prop_assert!((value / said - 1.0).abs() <= 0.4, "{value} is told as {said}");
            }
        }
    }
}
