//! G.711, µ-law and A-law, both ways, bit for bit as Asterisk does it. 16-bit samples are the left-aligned 14-bit
//! (µ-law) or 13-bit (A-law) values of the recommendation; a negative µ-law sample exactly between two steps belongs to
//! the quieter one.

/// Added to a µ-law magnitude so that every segment begins at a power of two.
const BIAS: u16 = 132;
/// Largest µ-law magnitude that has a code of its own.
const CLIP: u16 = 32_635;

/// The µ-law code of one sample. What is louder than the loudest code becomes the loudest code.
pub const fn encode_ulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    // The two lowest bits are below the 14; setting them puts negative ties on the quieter side.
    let magnitude = (sample | 3).unsigned_abs();
    let biased = if magnitude > CLIP { CLIP + BIAS } else { magnitude + BIAS };
    // biased is 132 to 32,767: its highest bit is 7 to 14, segments 0 to 7.
    let segment = 8 - biased.leading_zeros();
    let step = (biased >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) as u8 | step as u8)
}

/// The sample a µ-law code stands for.
pub const fn decode_ulaw(code: u8) -> i16 {
    let code = !code;
    let step = (code & 0x0f) as i16;
    let bias = BIAS.cast_signed();
    let magnitude = (((step << 3) + bias) << ((code >> 4) & 7)) - bias;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Even bits of A-law codes are sent inverted.
const ALAW_INVERTED: u8 = 0x55;

/// The A-law code of one sample.
pub const fn encode_alaw(sample: i16) -> u8 {
    let (sign, magnitude) = if sample < 0 { (0, !sample) } else { (0x80, sample) };
    // 11 bits of magnitude. Segments 0 and 1 are equally fine, so the first 32 steps are their own codes.
    let magnitude = magnitude.cast_unsigned() >> 4;
    let code = if magnitude < 32 {
        magnitude
    } else {
        let segment = 12 - magnitude.leading_zeros() as u16; // 2 to 7
        (segment << 4) | ((magnitude >> (segment - 1)) & 0x0f)
    };
    (sign | code as u8) ^ ALAW_INVERTED
}

/// The sample an A-law code stands for: the middle of its step.
pub const fn decode_alaw(code: u8) -> i16 {
    let code = code ^ ALAW_INVERTED;
    let (segment, step) = ((code >> 4) & 7, (code & 0x0f) as i16);
    let magnitude = match segment {
        0 => (step << 4) + 8,
        1 => (step << 4) + 0x108,
        segment => ((step << 4) + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
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
            assert_eq!(encode_ulaw(sample), !(sign | step), "sample {sample}");
        }
    }

    #[test]
    fn every_sample_has_the_code_asterisk_gives_it() {
        let codes: Vec<u8> = (i16::MIN..=i16::MAX).map(encode_ulaw).collect();
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
            assert_eq!(i32::from(decode_ulaw(code)).abs(), middle, "code {code:#04x}");
            // 0x7f is minus zero, which no sample encodes to.
            let back = if code == 0x7f { 0xff } else { code };
            assert_eq!(encode_ulaw(decode_ulaw(code)), back, "code {code:#04x}");
        }
    }

    #[test]
    fn every_sample_has_the_a_law_code_asterisk_gives_it() {
        let codes: Vec<u8> = (i16::MIN..=i16::MAX).map(encode_alaw).collect();
        // As above, `file convert all.sln all.alaw`.
        let asterisk = "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b";
        assert_eq!(hex::encode(Sha256::digest(codes)), asterisk);
    }

    #[test]
    fn every_a_law_code_decodes_to_a_sample_of_its_step() {
        let mut last = i16::MIN;
        for code in 0..=255u8 {
            let sample = decode_alaw(code);
            assert_eq!(encode_alaw(sample), code, "code {code:#04x}");
            assert_eq!(decode_alaw(code ^ 0x80), -sample, "code {code:#04x}");
        }
        for code in (0..=127u8).map(|code| (code | 0x80) ^ ALAW_INVERTED) {
            let sample = decode_alaw(code);
            assert!(sample > last && sample > 0, "code {code:#04x}");
            last = sample;
        }
    }
}
