//! SHA-256 (FIPS 180-4) of up to 32 messages side by side, one in each 32-bit lane of one or two 512-bit registers.
//!
//! A single message is a chain of rounds that wait for one another; messages that do not depend on each other need not.
//! Measured on Zen 5: 14 ns a block with one register full, 10 with two, 31 by the processor's SHA instructions. pulp
//! hands out these instructions only on a machine that has them, so nothing here is unsafe.
#![allow(clippy::inline_always)] // what is not inlined into `vectorize` is not compiled for those instructions
#![allow(clippy::many_single_char_names)] // the standard's names

use std::arch::x86_64::__m512i;

use pulp::NullaryFnOnce;
use pulp::x86::V4;

use super::Hash;

/// Messages in one register.
const LANES: usize = 16;
/// Messages hashed together at most: two registers full, so that one works while the other waits for its results.
pub(super) const TOGETHER_MAX: usize = 2 * LANES;

/// 64 bytes of a padded message.
pub(super) type Block = [u8; 64];

const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

#[rustfmt::skip]
const ROUND: [[u32; 16]; 4] = [
    [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    ],
    [
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    ],
    [
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    ],
    [
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ],
];

/// Reverses the bytes of each 32-bit word.
const SWAP: Block = {
    let mut order = [0; 64];
    let mut at = 0;
    while at < order.len() {
        order[at] = (at as u8 % 16) ^ 3;
        at += 1;
    }
    order
};

/// What the lanes need of the machine, if it has it.
pub(super) fn available() -> Option<V4> {
    V4::try_new()
}

/// Hashes up to [`TOGETHER_MAX`] padded messages; the hash of message `i` is element `i`.
pub(super) fn hash(simd: V4, messages: &[&[Block]]) -> [Hash; TOGETHER_MAX] {
    if messages.len() > LANES {
        simd.vectorize(Group::<2> { simd, messages })
    } else {
        simd.vectorize(Group::<1> { simd, messages })
    }
}

/// The same word of 16 messages in each of `N` registers.
type Words<const N: usize> = [__m512i; N];

struct Group<'a, const N: usize> {
    simd: V4,
    messages: &'a [&'a [Block]],
}

impl<const N: usize> NullaryFnOnce for Group<'_, N> {
    type Output = [Hash; TOGETHER_MAX];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { simd, messages } = self;
        let swap: __m512i = pulp::cast(SWAP);
        // Loops and no closures: what is not inlined here is not compiled for these instructions.
        let mut state = [[swap; N]; 8];
        for (word, initial) in state.iter_mut().zip(INITIAL) {
            *word = [simd.avx512f._mm512_set1_epi32(initial.cast_signed()); N];
        }
        let mut steps = 0;
        for blocks in messages {
            steps = steps.max(blocks.len());
        }
        for step in 0..steps {
            let mut words = [[swap; N]; LANES];
            // Lanes whose message goes on; the others keep what they have.
            let mut going = [0_u16; N];
            for part in 0..N {
                let mut rows = [swap; LANES];
                let messages = messages.get(part * LANES..).unwrap_or_default();
                for (lane, (row, blocks)) in rows.iter_mut().zip(messages).enumerate() {
                    if let Some(block) = blocks.get(step) {
                        *row = simd.avx512bw._mm512_shuffle_epi8(pulp::cast(*block), swap);
                        going[part] |= 1 << lane;
                    }
                }
                transpose(simd, &mut rows);
                for (word, row) in words.iter_mut().zip(rows) {
                    word[part] = row;
                }
            }
            let before = state;
            compress(simd, &mut state, &mut words);
            for part in 0..N {
                if going[part] != u16::MAX {
                    for (after, before) in state.iter_mut().zip(before) {
                        after[part] =
                            simd.avx512f._mm512_mask_blend_epi32(going[part], before[part], after[part]);
                    }
                }
            }
        }
        let mut hashes = [Hash::default(); TOGETHER_MAX];
        for part in 0..N {
            let mut rows = [swap; LANES];
            for (row, word) in rows.iter_mut().zip(state) {
                *row = word[part];
            }
            transpose(simd, &mut rows);
            for (hash, row) in hashes.iter_mut().skip(part * LANES).zip(rows) {
                let bytes: [Hash; 2] = pulp::cast(simd.avx512bw._mm512_shuffle_epi8(row, swap));
                *hash = bytes[0];
            }
        }
        hashes
    }
}

/// Words of a message in a register become the same word of all messages in a register, and back.
#[inline(always)]
fn transpose(simd: V4, rows: &mut [__m512i; LANES]) {
    let f = simd.avx512f;
    for four in rows.as_chunks_mut::<4>().0 {
        let [one, two, three, four_th] = *four;
        let (a, b) = (f._mm512_unpacklo_epi32(one, two), f._mm512_unpackhi_epi32(one, two));
        let (c, d) = (f._mm512_unpacklo_epi32(three, four_th), f._mm512_unpackhi_epi32(three, four_th));
        *four = [
            f._mm512_unpacklo_epi64(a, c),
            f._mm512_unpackhi_epi64(a, c),
            f._mm512_unpacklo_epi64(b, d),
            f._mm512_unpackhi_epi64(b, d),
        ];
    }
    // Part p of register 4q + i now holds word 4p + i of messages 4q to 4q + 3.
    let parts = *rows;
    for i in 0..4 {
        let (a, b, c, d) = (parts[i], parts[4 + i], parts[8 + i], parts[12 + i]);
        let even = (f._mm512_shuffle_i32x4::<0x88>(a, b), f._mm512_shuffle_i32x4::<0x88>(c, d));
        let odd = (f._mm512_shuffle_i32x4::<0xdd>(a, b), f._mm512_shuffle_i32x4::<0xdd>(c, d));
        rows[i] = f._mm512_shuffle_i32x4::<0x88>(even.0, even.1);
        rows[4 + i] = f._mm512_shuffle_i32x4::<0x88>(odd.0, odd.1);
        rows[8 + i] = f._mm512_shuffle_i32x4::<0xdd>(even.0, even.1);
        rows[12 + i] = f._mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1);
    }
}

#[inline(always)]
fn add<const N: usize>(simd: V4, a: Words<N>, b: Words<N>) -> Words<N> {
    let mut sum = a;
    for part in 0..N {
        sum[part] = simd.avx512f._mm512_add_epi32(a[part], b[part]);
    }
    sum
}

/// One of the functions of three words that an instruction knows by its table of truth.
#[inline(always)]
fn ternary<const TABLE: i32, const N: usize>(simd: V4, a: Words<N>, b: Words<N>, c: Words<N>) -> Words<N> {
    let mut made = a;
    for part in 0..N {
        made[part] = simd.avx512f._mm512_ternarylogic_epi32::<TABLE>(a[part], b[part], c[part]);
    }
    made
}

const XOR: i32 = 0x96;
const CHOICE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

#[inline(always)]
fn rotate<const BITS: i32, const N: usize>(simd: V4, a: Words<N>) -> Words<N> {
    let mut rotated = a;
    for part in 0..N {
        rotated[part] = simd.avx512f._mm512_ror_epi32::<BITS>(a[part]);
    }
    rotated
}

#[inline(always)]
fn shift<const BITS: u32, const N: usize>(simd: V4, a: Words<N>) -> Words<N> {
    let mut shifted = a;
    for part in 0..N {
        shifted[part] = simd.avx512f._mm512_srli_epi32::<BITS>(a[part]);
    }
    shifted
}

/// The exclusive or of three rotations.
#[inline(always)]
fn rotations<const ONE: i32, const TWO: i32, const THREE: i32, const N: usize>(
    simd: V4,
    a: Words<N>,
) -> Words<N> {
    ternary::<XOR, N>(simd, rotate::<ONE, N>(simd, a), rotate::<TWO, N>(simd, a), rotate::<THREE, N>(simd, a))
}

/// One round; the eight variables move one place by their order in the call.
macro_rules! round {
    ($simd:ident, $constant:expr, $word:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        let constant = [$simd.avx512f._mm512_set1_epi32($constant.cast_signed()); N];
        let sum = rotations::<6, 11, 25, N>($simd, $e);
        let choice = ternary::<CHOICE, N>($simd, $e, $f, $g);
        let first = add($simd, add($simd, $h, add($simd, $word, constant)), add($simd, sum, choice));
        let sum = rotations::<2, 13, 22, N>($simd, $a);
        let majority = ternary::<MAJORITY, N>($simd, $a, $b, $c);
        $d = add($simd, $d, first);
        $h = add($simd, first, add($simd, sum, majority));
    };
}

/// The compression function (section 6.2.2) in all lanes.
#[inline(always)]
fn compress<const N: usize>(simd: V4, state: &mut [Words<N>; 8], words: &mut [Words<N>; LANES]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (number, constants) in ROUND.iter().enumerate() {
        if number > 0 {
            schedule(simd, words);
        }
        let (k, w) = (constants, &*words);
        round!(simd, k[0], w[0], a b c d e f g h);
        round!(simd, k[1], w[1], h a b c d e f g);
        round!(simd, k[2], w[2], g h a b c d e f);
        round!(simd, k[3], w[3], f g h a b c d e);
        round!(simd, k[4], w[4], e f g h a b c d);
        round!(simd, k[5], w[5], d e f g h a b c);
        round!(simd, k[6], w[6], c d e f g h a b);
        round!(simd, k[7], w[7], b c d e f g h a);
        round!(simd, k[8], w[8], a b c d e f g h);
        round!(simd, k[9], w[9], h a b c d e f g);
        round!(simd, k[10], w[10], g h a b c d e f);
        round!(simd, k[11], w[11], f g h a b c d e);
        round!(simd, k[12], w[12], e f g h a b c d);
        round!(simd, k[13], w[13], d e f g h a b c);
        round!(simd, k[14], w[14], c d e f g h a b);
        round!(simd, k[15], w[15], b c d e f g h a);
    }
    for (word, added) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = add(simd, *word, added);
    }
}

/// The next sixteen words of the message schedule.
#[inline(always)]
fn schedule<const N: usize>(simd: V4, words: &mut [Words<N>; LANES]) {
    // Written out, so that every index is known and the words stay in registers.
    step_of_schedule::<0, N>(simd, words);
    step_of_schedule::<1, N>(simd, words);
    step_of_schedule::<2, N>(simd, words);
    step_of_schedule::<3, N>(simd, words);
    step_of_schedule::<4, N>(simd, words);
    step_of_schedule::<5, N>(simd, words);
    step_of_schedule::<6, N>(simd, words);
    step_of_schedule::<7, N>(simd, words);
    step_of_schedule::<8, N>(simd, words);
    step_of_schedule::<9, N>(simd, words);
    step_of_schedule::<10, N>(simd, words);
    step_of_schedule::<11, N>(simd, words);
    step_of_schedule::<12, N>(simd, words);
    step_of_schedule::<13, N>(simd, words);
    step_of_schedule::<14, N>(simd, words);
    step_of_schedule::<15, N>(simd, words);
}

#[inline(always)]
fn step_of_schedule<const AT: usize, const N: usize>(simd: V4, words: &mut [Words<N>; LANES]) {
    let (low, high) = (words[(AT + 1) % LANES], words[(AT + 14) % LANES]);
    let low = ternary::<XOR, N>(
        simd,
        rotate::<7, N>(simd, low),
        rotate::<18, N>(simd, low),
        shift::<3, N>(simd, low),
    );
    let high = ternary::<XOR, N>(
        simd,
        rotate::<17, N>(simd, high),
        rotate::<19, N>(simd, high),
        shift::<10, N>(simd, high),
    );
    words[AT] = add(simd, add(simd, words[AT], low), add(simd, words[(AT + 9) % LANES], high));
}
