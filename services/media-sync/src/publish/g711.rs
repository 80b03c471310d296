//! G.711 µ-law, both ways, bit for bit as Asterisk does it: 16-bit samples are the left-aligned 14-bit values of the
//! recommendation, and a negative sample exactly between two steps belongs to the quieter one.

/// Added to a magnitude so that every segment begins at a power of two.
const BIAS: u16 = 132;
/// Largest magnitude that has a code of its own.
const CLIP: u16 = 32_635;

/// The code of one sample. What is louder than the loudest code becomes the loudest code.
pub const fn encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    // The two lowest bits are below the 14; setting them puts negative ties on the quieter side.
    let magnitude = (sample | 3).unsigned_abs();
    let biased = if magnitude > CLIP { CLIP + BIAS } else { magnitude + BIAS };
    // biased is 132 to 32,767: its highest bit is 7 to 14, segments 0 to 7.
    let segment = 8 - biased.leading_zeros();
    let step = (biased >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) as u8 | step as u8)
}

/// The sample a code stands for.
pub const fn decode(code: u8) -> i16 {
    let code = !code;
    let step = (code & 0x0f) as i16;
    let bias = BIAS.cast_signed();
    let magnitude = (((step << 3) + bias) << ((code >> 4) & 7)) - bias;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// Table 2a of the recommendation: the decision values of the 127 steps, times 4.
    fn decision_values() -> Vec<i32> {
        let mut values = vec![0, 4];
        for segment in 0..8 {
            let steps = if segment == 0 { 15 } else { 16 };
            for _ in 0..steps {
                values.push(values[values.len() - 1] + (8 << segment));
            }
        }
        assert_eq!(values.len(), 129);
        assert_eq!(values[128], 8159 * 4);
        values
    }

    #[test]
    fn every_sample_has_the_code_of_the_recommendation() {
        let values = decision_values();
        for sample in i16::MIN..=i16::MAX {
            let magnitude = i32::from(sample | 3).abs();
            let step = values[1..128].iter().take_while(|value| **value <= magnitude).count() as u8;
            let sign = if sample < 0 { 0x80 } else { 0 };
            assert_eq!(encode(sample), !(sign | step), "sample {sample}");
        }
    }

    #[test]
    fn every_sample_has_the_code_asterisk_gives_it() {
        let codes: Vec<u8> = (i16::MIN..=i16::MAX).map(encode).collect();
        // Of all samples in this order, as Asterisk 22.10.1 converted them with `file convert all.sln all.ulaw`.
        let asterisk = "90c29de505fb68e766118303bd552a16005dcf810873698bee1d8f3b247ce28c";
        assert_eq!(hex::encode(Sha256::digest(codes)), asterisk);
    }

    #[test]
    fn every_code_decodes_to_the_middle_of_its_step_and_back() {
        let values = decision_values();
        for code in 0..=255u8 {
            let step = usize::from(!code & 0x7f);
            let middle = if step == 0 { 0 } else { i32::midpoint(values[step], values[step + 1]) };
            assert_eq!(i32::from(decode(code)).abs(), middle, "code {code:#04x}");
            // 0x7f is minus zero, which no sample encodes to.
            let back = if code == 0x7f { 0xff } else { code };
            assert_eq!(encode(decode(code)), back, "code {code:#04x}");
        }
    }
}
