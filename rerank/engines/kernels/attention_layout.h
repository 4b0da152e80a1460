/* The keys and values of a row, in the order in which `attention.c` multiplies them. */

#include "numbers.h"

enum {
    PAIR = 2,  /* numbers that one instruction multiplies and adds up */
    STEP = 32, /* keys, and the width of heads, are padded to multiples of this */
};

typedef struct {
    const uint16_t *query, *key, *value;
    uint16_t *output;        /* [queries][heads][width] */
    const int64_t *starts;   /* [rows + 1], where the tokens of a row begin */
    const int64_t *attended; /* [rows], how many tokens of a row are attended to, from its first on */
    const int64_t *prefixes; /* [rows], the row whose tokens stand before those of this one; -1: none */
    int64_t rows, heads, key_heads, width;
    int64_t query_token, query_head, key_token, key_head, value_token, value_head; /* strides, in numbers */
    int64_t before, after; /* how many tokens a token sees before and after itself; -1: all */
    float scale;
    int32_t first; /* whether only the first token of each row is a query; queries are [rows][heads][width] then */
} Attention;

/* The keys of a row: first those of its prefix, then its own. */
typedef struct {
    int64_t prefix, prefix_count, own, count;
} Keys;

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE int64_t token_of(const Keys *keys, int64_t key) {
    return key < keys->prefix_count ? keys->prefix + key : keys->own + key - keys->prefix_count;
}

INLINE WITH_BF16 __m512i load_halves(const uint16_t *numbers, int64_t left) {
    return _mm512_maskz_loadu_epi16(left >= 32 ? 0xffffffff : left <= 0 ? 0 : (1u << left) - 1, numbers);
}

/* Load the numbers of a key's token, of which `left` are there; `numbers` are those of token 0. Behind the last key
   there are zeros. */
INLINE WITH_BF16 __m512i load_token(const uint16_t *numbers, int64_t step, const Keys *keys, int64_t key,
                                    int64_t left) {
    if (key >= keys->count) return _mm512_setzero_si512();
    return load_halves(numbers + token_of(keys, key) * step, left);
}

/* Transpose 16 rows of 16 numbers of 32 bits. */
INLINE WITH_BF16 void transpose(__m512i rows[LANES]) {
    __m512i twos[LANES], fours[LANES];
#pragma GCC unroll 8
    for (int row = 0; row < LANES; row += 2) {
        twos[row] = _mm512_unpacklo_epi32(rows[row], rows[row + 1]);
        twos[row + 1] = _mm512_unpackhi_epi32(rows[row], rows[row + 1]);
    }
#pragma GCC unroll 4
    for (int row = 0; row < LANES; row += 4) {
        fours[row] = _mm512_unpacklo_epi64(twos[row], twos[row + 2]);
        fours[row + 1] = _mm512_unpackhi_epi64(twos[row], twos[row + 2]);
        fours[row + 2] = _mm512_unpacklo_epi64(twos[row + 1], twos[row + 3]);
        fours[row + 3] = _mm512_unpackhi_epi64(twos[row + 1], twos[row + 3]);
    }
#pragma GCC unroll 4
    for (int column = 0; column < 4; column++) {
        __m512i even = _mm512_shuffle_i32x4(fours[column], fours[column + 4], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(fours[column], fours[column + 4], 0xdd);
        __m512i later_even = _mm512_shuffle_i32x4(fours[column + 8], fours[column + 12], 0x88);
        __m512i later_odd = _mm512_shuffle_i32x4(fours[column + 8], fours[column + 12], 0xdd);
        rows[column] = _mm512_shuffle_i32x4(even, later_even, 0x88);
        rows[column + 4] = _mm512_shuffle_i32x4(odd, later_odd, 0x88);
        rows[column + 8] = _mm512_shuffle_i32x4(even, later_even, 0xdd);
        rows[column + 12] = _mm512_shuffle_i32x4(odd, later_odd, 0xdd);
    }
}

/* Write the keys as [padded width / PAIR][padded keys][PAIR]. */
INLINE WITH_BF16 void order_keys(const Attention *call, const Keys *keys, int64_t head, uint32_t *ordered) {
    int64_t places = padded(keys->count, STEP);
    for (int64_t key = 0; key < places; key += LANES)
        for (int64_t column = 0; column < call->width; column += STEP) {
            const uint16_t *numbers = call->key + head * call->key_head + column;
            __m512i rows[LANES];
#pragma GCC unroll 16
            for (int row = 0; row < LANES; row++)
                rows[row] = load_token(numbers, call->key_token, keys, key + row, call->width - column);
            transpose(rows);
#pragma GCC unroll 16
            for (int row = 0; row < LANES; row++)
                _mm512_storeu_si512(ordered + (column / PAIR + row) * places + key, rows[row]);
        }
}

/* Write the values as [padded keys / PAIR][padded width][PAIR]. */
INLINE WITH_BF16 void order_values(const Attention *call, const Keys *keys, int64_t head, uint32_t *ordered) {
    int64_t places = padded(keys->count, STEP), depth = padded(call->width, STEP);
    __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5,
                                   36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int64_t key = 0; key < places; key += PAIR)
        for (int64_t column = 0; column < depth; column += STEP) {
            const uint16_t *numbers = call->value + head * call->value_head + column;
            __m512i pair[PAIR];
            for (int row = 0; row < PAIR; row++)
                pair[row] = load_token(numbers, call->value_token, keys, key + row, call->width - column);
            uint32_t *target = ordered + key / PAIR * depth + column;
            _mm512_storeu_si512(target, _mm512_permutex2var_epi16(pair[0], low, pair[1]));
            _mm512_storeu_si512(target + LANES, _mm512_permutex2var_epi16(pair[0], high, pair[1]));
        }
}
