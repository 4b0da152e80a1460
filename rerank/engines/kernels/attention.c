/* Attention over a packed sequence in bfloat16, on x86 processors with AVX-512 BF16, and faster with AMX.
   `attention.py` calls this.

   The keys and values of a row and a head are ordered for the products once. Then QUERIES queries at a time are
   multiplied with them; their scores are in float32 and stay in the cache. A row is computed in the same way whatever
   other rows there are. */

#if defined(__x86_64__) && defined(__GNUC__)
#include "attention_layout.h"

#include <omp.h>

enum {
    QUERIES = TILE,
    ROWS = 8, /* whose sums for STEP columns fit the registers */
};

/* Where a thread keeps what it computes. `depth` is the padded width, `places` the padded number of keys. */
typedef struct {
    uint32_t *keys;    /* [depth / PAIR][places] */
    uint32_t *values;  /* [places / PAIR][depth] */
    uint16_t *queries; /* [QUERIES][depth] */
    float *scores;     /* [QUERIES][places] */
    uint16_t *powers;  /* [QUERIES][places] */
    float *output;     /* [QUERIES][depth] */
} Buffers;

/* Multiply QUERIES rows by a matrix of `pairs` by `columns` pairs of numbers. `row_step`, `matrix_step` and `step` are
   the distances between two rows of `rows`, `matrix` and `products`, in their elements. */
WITH_BF16 static void multiply_bf16(const uint16_t *rows, int64_t row_step, const uint32_t *matrix, int64_t matrix_step,
                                    int64_t pairs, float *products, int64_t step, int64_t columns) {
    for (int64_t column = 0; column < columns; column += STEP)
        for (int64_t start = 0; start < QUERIES; start += ROWS) {
            __m512 low[ROWS], high[ROWS];
#pragma GCC unroll 8
            for (int row = 0; row < ROWS; row++) low[row] = high[row] = _mm512_setzero_ps();
            for (int64_t pair = 0; pair < pairs; pair++) {
                const uint32_t *line = matrix + pair * matrix_step + column;
                __m512bh left = (__m512bh)_mm512_loadu_si512(line), right = (__m512bh)_mm512_loadu_si512(line + LANES);
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++) {
                    int32_t two;
                    memcpy(&two, rows + (start + row) * row_step + pair * PAIR, sizeof two);
                    __m512bh both = (__m512bh)_mm512_set1_epi32(two);
                    low[row] = _mm512_dpbf16_ps(low[row], both, left);
                    high[row] = _mm512_dpbf16_ps(high[row], both, right);
                }
            }
#pragma GCC unroll 8
            for (int row = 0; row < ROWS; row++) {
                _mm512_storeu_ps(products + (start + row) * step + column, low[row]);
                _mm512_storeu_ps(products + (start + row) * step + column + LANES, high[row]);
            }
        }
}

/* Tiles 0 to 3 hold the sums of up to 64 columns, 4 the rows, 5 to 7 columns. */
WITH_AMX static void multiply_amx(const uint16_t *rows, int64_t row_step, const uint32_t *matrix, int64_t matrix_step,
                                  int64_t pairs, float *products, int64_t step, int64_t columns) {
    for (int64_t column = 0; column < columns; column += 2 * STEP) {
        int is_whole = column + STEP < columns;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t pair = 0; pair < pairs; pair += TILE) {
            const uint32_t *part = matrix + pair * matrix_step + column;
            _tile_loadd(4, rows + pair * PAIR, row_step * sizeof *rows);
            _tile_loadd(5, part, matrix_step * sizeof *matrix);
            _tile_loadd(6, part + TILE, matrix_step * sizeof *matrix);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
            if (is_whole) {
                _tile_loadd(7, part + 2 * TILE, matrix_step * sizeof *matrix);
                _tile_loadd(5, part + 3 * TILE, matrix_step * sizeof *matrix);
                _tile_dpbf16ps(2, 4, 7);
                _tile_dpbf16ps(3, 4, 5);
            }
        }
        _tile_stored(0, products + column, step * sizeof *products);
        _tile_stored(1, products + column + TILE, step * sizeof *products);
        if (is_whole) {
            _tile_stored(2, products + column + 2 * TILE, step * sizeof *products);
            _tile_stored(3, products + column + 3 * TILE, step * sizeof *products);
        }
    }
}

/* Return 2^exponent, with a relative error of at most 8e-5. -inf gives 0: `part` is NaN then, and scalef makes 0 of it.
 */
INLINE WITH_BF16 __m512 power_of_two(__m512 exponent) {
    static const float factors[] = {0.999928057f, 0.693260968f, 0.242611125f, 0.0551716425f};
    __m512 whole = _mm512_roundscale_ps(exponent, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 part = _mm512_sub_ps(exponent, whole), value = _mm512_set1_ps(factors[3]);
#pragma GCC unroll 3
    for (int power = 2; power >= 0; power--) value = _mm512_fmadd_ps(value, part, _mm512_set1_ps(factors[power]));
    return _mm512_scalef_ps(value, whole);
}

/* Write the powers 2^(scale * (score - largest)) of the scores in [low, high), 0 for the others in [from, to), and
   return the sum of the powers. */
INLINE WITH_BF16 float write_powers(const float *scores, int64_t from, int64_t to, int64_t low, int64_t high,
                                    float scale, uint16_t *powers) {
    __m512 most = _mm512_set1_ps(-__builtin_inff()), factor = _mm512_set1_ps(scale), sum = _mm512_setzero_ps();
    for (int64_t at = from; at < to; at += LANES)
        most = _mm512_mask_max_ps(most, mask_of(high - at) & ~mask_of(low - at), most, _mm512_loadu_ps(scores + at));
    __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most)); /* subtracted first: its power is exactly 1 */
    for (int64_t at = from; at < to; at += LANES) {
        __mmask16 mask = mask_of(high - at) & ~mask_of(low - at);
        __m512 value = power_of_two(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores + at), largest), factor));
        value = _mm512_maskz_mov_ps(mask, value);
        sum = _mm512_add_ps(sum, value);
        _mm256_storeu_si256((__m256i *)(powers + at), (__m256i)_mm512_cvtneps_pbh(value));
    }
    return _mm512_reduce_add_ps(sum);
}

INLINE WITH_BF16 void finish(const float *numbers, float sum, int64_t width, uint16_t *output) {
    __m512 factor = _mm512_set1_ps(sum == 0.0f ? 0.0f : 1.0f / sum); /* a query that sees nothing gets zeros */
    for (int64_t column = 0; column < width; column += LANES) {
        __m256i halves = (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_loadu_ps(numbers + column), factor));
        _mm256_mask_storeu_epi16(output + column, mask_of(width - column), halves);
    }
}

typedef void (*Multiply)(const uint16_t *, int64_t, const uint32_t *, int64_t, int64_t, float *, int64_t, int64_t);

/* Compute up to QUERIES queries of a head, of which the first is token `query` of its row. */
WITH_BF16 static void compute_queries(const Attention *call, const Keys *keys, int64_t row, int64_t query,
                                      int64_t count, int64_t head, const Buffers *buffers, Multiply multiply) {
    int64_t places = padded(keys->count, STEP), depth = padded(call->width, STEP), place = keys->prefix_count + query;
    int64_t first = call->first ? row : keys->own + query, before = call->before, after = call->after;
    int64_t from = before < 0 ? 0 : larger(0, place - before) / STEP * STEP;
    int64_t to = after < 0 ? places : smaller(places, padded(place + count + after, STEP));
    for (int64_t each = 0; each < count; each++)
        for (int64_t column = 0; column < depth; column += STEP) {
            const uint16_t *numbers = call->query + (first + each) * call->query_token + head * call->query_head;
            __m512i halves = load_halves(numbers + column, call->width - column);
            _mm512_storeu_si512(buffers->queries + each * depth + column, halves);
        }
    multiply(buffers->queries, depth, buffers->keys + from, places, depth / PAIR, buffers->scores + from, places,
             to - from);
    float sums[QUERIES];
    for (int64_t each = 0; each < count; each++) {
        int64_t low = before < 0 ? 0 : larger(0, place + each - before);
        int64_t high = after < 0 ? keys->count : smaller(keys->count, place + each + after + 1);
        const float *scores = buffers->scores + each * places;
        sums[each] = write_powers(scores, from, to, low, high, call->scale, buffers->powers + each * places);
    }
    multiply(buffers->powers + from, places, buffers->values + from / PAIR * depth, depth, (to - from) / PAIR,
             buffers->output, depth, depth);
    for (int64_t each = 0; each < count; each++) {
        uint16_t *output = call->output + ((first + each) * call->heads + head) * call->width;
        finish(buffers->output + each * depth, sums[each], call->width, output);
    }
}

/* Compute a row for all heads that share a head of keys. */
WITH_BF16 static void compute_row(const Attention *call, int64_t row, int64_t key_head, const Buffers *buffers,
                                  Multiply multiply) {
    int64_t prefix = call->prefixes[row], shared = call->heads / call->key_heads;
    Keys keys = {.own = call->starts[row]};
    if (prefix >= 0) {
        keys.prefix = call->starts[prefix];
        keys.prefix_count = call->starts[prefix + 1] - keys.prefix;
    }
    keys.count = keys.prefix_count + call->attended[row];
    order_keys(call, &keys, key_head, buffers->keys);
    order_values(call, &keys, key_head, buffers->values);
    int64_t queries = call->first ? 1 : call->starts[row + 1] - keys.own;
    for (int64_t head = key_head * shared; head < (key_head + 1) * shared; head++)
        for (int64_t query = 0; query < queries; query += QUERIES)
            compute_queries(call, &keys, row, query, smaller(QUERIES, queries - query), head, buffers, multiply);
}

/* Return the most keys that a row has. */
static int64_t most_keys(const Attention *call) {
    int64_t most = 0;
    for (int64_t row = 0; row < call->rows; row++) {
        int64_t prefix = call->prefixes[row], count = call->attended[row];
        most = larger(most, count + (prefix < 0 ? 0 : call->starts[prefix + 1] - call->starts[prefix]));
    }
    return most;
}

/* Write the output in at most `threads` threads. Return 1, or 0 if memory runs out. `amx`: use AMX, which the system
   must have allowed this process. */
int rerank_attention(const Attention *call, int32_t threads, int32_t amx) {
    Multiply multiply = amx ? multiply_amx : multiply_bf16;
    size_t places = (size_t)padded(most_keys(call), STEP), depth = (size_t)padded(call->width, STEP);
    size_t matrix = places * depth * sizeof(uint16_t), scores = QUERIES * places * sizeof(float);
    size_t queries = QUERIES * depth * sizeof(uint16_t), size = 2 * matrix + 3 * scores / 2 + 3 * queries;
    if (threads > call->rows * call->key_heads) threads = (int32_t)(call->rows * call->key_heads);
    if (!threads) return 1;
    char *memory = aligned_alloc(TILE_BYTES, size * (size_t)threads);
    if (!memory) return 0;
#pragma omp parallel num_threads(threads)
    {
        char *start = memory + size * (size_t)omp_get_thread_num();
        Buffers buffers = {
            .keys = (uint32_t *)start,
            .values = (uint32_t *)(start + matrix),
            .scores = (float *)(start + 2 * matrix),
            .powers = (uint16_t *)(start + 2 * matrix + scores),
            .queries = (uint16_t *)(start + 2 * matrix + 3 * scores / 2),
            .output = (float *)(start + 2 * matrix + 3 * scores / 2 + queries),
        };
        if (amx) start_tiles();
#pragma omp for schedule(dynamic)
        for (int64_t each = 0; each < call->rows * call->key_heads; each++)
            compute_row(call, each / call->key_heads, each % call->key_heads, &buffers, multiply);
        if (amx) end_tiles();
    }
    free(memory);
    return 1;
}
#endif
