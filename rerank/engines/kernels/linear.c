/* Linear layers in int8, on x86 processors with AVX-512 VNNI, and faster with AMX. `linear.py` calls this.

   A strip of rows is quantised into a buffer that fits a core's cache. Groups of its rows are multiplied with blocks of
   columns, and the products are scaled back and written, with bias and GELU, while they are in the cache. So a state is
   read once and a result written once. A row is computed in the same way whatever other rows there are. */

#if defined(__x86_64__) && defined(__GNUC__)
#include "numbers.h"

enum {
    VECTORS = 4,
    BLOCK = VECTORS * LANES, /* columns that are multiplied together */
    QUAD = 4,                /* bytes of a row that one instruction multiplies and adds up */
    VNNI_ROWS = 6,           /* rows whose sums for a block fit the registers */
    AMX_ROWS = 2 * TILE,
    STRIP = 96, /* most rows that are quantised together, a multiple of both */
};

/* As in `linear.py`. */
enum { FLOAT32, BFLOAT16 };
enum { NO_GELU, GELU, GELU_TANH };

/* A layer. Its columns are padded with zeros to a multiple of BLOCK, its rows to one of TILE_BYTES. */
typedef struct {
    const int8_t *weight; /* [columns / BLOCK][depth / QUAD][BLOCK][QUAD] */
    const float *scales;  /* [columns], what 1 in the weight is worth */
    const float *sums;    /* [columns], of the weights, scaled */
    const float *bias;    /* [columns] */
    int64_t width, out;   /* of states and of results */
    int32_t gelu;         /* what follows: NO_GELU, GELU by the error function, or its approximation GELU_TANH */
    int32_t dtype;        /* of states and results: FLOAT32 or BFLOAT16 */
} Layer;

/* What undoes the quantisation of a row: number = lowest + scale * byte. */
typedef struct {
    float scale, lowest;
} Row;

INLINE WITH_VNNI __m512 load(const void *numbers, int64_t at, __mmask16 mask, int dtype) {
    if (dtype == FLOAT32) return _mm512_maskz_loadu_ps(mask, (const float *)numbers + at);
    return load_bfloat16((const uint16_t *)numbers + at, mask);
}

INLINE WITH_VNNI void store(void *numbers, int64_t at, __mmask16 mask, __m512 values, int dtype) {
    if (dtype == FLOAT32) {
        _mm512_mask_storeu_ps((float *)numbers + at, mask, values);
        return;
    }
    /* Rounded to the nearest, ties to even. NaN is left as it is, because adding to it could make it infinite. */
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __mmask16 is_number = _mm512_cmp_ps_mask(values, values, _CMP_ORD_Q);
    bits = _mm512_mask_add_epi32(bits, is_number, bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_mask_storeu_epi16((uint16_t *)numbers + at, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

/* Write a row of numbers as bytes: its lowest number becomes 0 and its highest 255. */
INLINE WITH_VNNI Row quantise(const void *numbers, int64_t start, int64_t width, uint8_t *bytes, int dtype) {
    __m512 lowest = _mm512_set1_ps(__builtin_inff()), highest = _mm512_set1_ps(-__builtin_inff());
    __mmask16 nans = 0;
    for (int64_t at = 0; at < width; at += LANES) {
        __mmask16 mask = mask_of(width - at);
        __m512 values = load(numbers, start + at, mask, dtype);
        lowest = _mm512_mask_min_ps(lowest, mask, lowest, values);
        highest = _mm512_mask_max_ps(highest, mask, highest, values);
        nans |= _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
    }
    float low = _mm512_reduce_min_ps(lowest), range = _mm512_reduce_max_ps(highest) - low;
    if (nans) low = __builtin_nanf(""); /* so that all results are NaN; minimum and maximum pass over it */
    if (range < 1e-8f) range = 1e-8f;
    __m512 steps = _mm512_set1_ps(255.0f / range), shift = _mm512_set1_ps(low);
    for (int64_t at = 0; at < width; at += LANES) {
        __mmask16 mask = mask_of(width - at);
        __m512 values = _mm512_mul_ps(_mm512_sub_ps(load(numbers, start + at, mask, dtype), shift), steps);
        _mm_mask_storeu_epi8(bytes + at, mask, _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(values)));
    }
    return (Row){range / 255.0f, low};
}

/* GELU: x * (1/2 + x * p(x * x)). It is at most 7e-5 off for |x| < 9, and 7e-6 times |x| beyond. The polynomials are
   fitted for |x| <= 4.25, so that the largest error is least, and take x * x as a number from -1 to 1. */
INLINE WITH_VNNI void gelu(__m512 x[VECTORS], int kind) {
    enum { POWERS = 9 };
    static const float factors[][POWERS] = {
        [GELU] = {0.165934891f, -0.0807774067f, 0.0557331592f, -0.0391673148f, 0.0253234338f, -0.0146096461f,
                  0.00922477152f, -0.00603355886f, 0.00201710849f},
        [GELU_TANH] = {0.165979892f, -0.0808807239f, 0.0557825007f, -0.0390200689f, 0.0248147286f, -0.0139463786f,
                       0.00925626978f, -0.00672450801f, 0.00238537416f},
    };
    const __m512 most = _mm512_set1_ps(4.25f), least = _mm512_set1_ps(-4.25f), half = _mm512_set1_ps(0.5f);
    const __m512 scale = _mm512_set1_ps(2.0f / (4.25f * 4.25f)), one = _mm512_set1_ps(1.0f);
    __m512 bounded[VECTORS], places[VECTORS], sums[VECTORS];
#pragma GCC unroll 4
    for (int vector = 0; vector < VECTORS; vector++) {
        bounded[vector] = _mm512_max_ps(least, _mm512_min_ps(most, x[vector]));
        places[vector] = _mm512_fmsub_ps(_mm512_mul_ps(bounded[vector], bounded[vector]), scale, one);
        sums[vector] = _mm512_set1_ps(factors[kind][POWERS - 1]);
    }
#pragma GCC unroll 8
    for (int power = POWERS - 2; power >= 0; power--)
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; vector++)
            sums[vector] = _mm512_fmadd_ps(sums[vector], places[vector], _mm512_set1_ps(factors[kind][power]));
#pragma GCC unroll 4
    for (int vector = 0; vector < VECTORS; vector++)
        x[vector] = _mm512_mul_ps(x[vector], _mm512_fmadd_ps(bounded[vector], sums[vector], half));
}

WITH_VNNI static void multiply_vnni(const uint8_t *bytes, const int8_t *weight, int64_t depth,
                                    int32_t products[][BLOCK]) {
    __m512i sums[VNNI_ROWS][VECTORS] = {0};
    for (int64_t at = 0; at < depth; at += QUAD, weight += BLOCK * QUAD) {
        __m512i columns[VECTORS];
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; vector++)
            columns[vector] = _mm512_loadu_si512(weight + vector * LANES * QUAD);
#pragma GCC unroll 6
        for (int row = 0; row < VNNI_ROWS; row++) {
            int32_t quad;
            memcpy(&quad, bytes + row * depth + at, QUAD);
            __m512i states = _mm512_set1_epi32(quad);
#pragma GCC unroll 4
            for (int vector = 0; vector < VECTORS; vector++)
                sums[row][vector] = _mm512_dpbusd_epi32(sums[row][vector], states, columns[vector]);
        }
    }
#pragma GCC unroll 6
    for (int row = 0; row < VNNI_ROWS; row++)
#pragma GCC unroll 4
        for (int vector = 0; vector < VECTORS; vector++)
            _mm512_storeu_si512(&products[row][vector * LANES], sums[row][vector]);
}

/* Tiles 0 to 3 hold the sums, 4 and 5 rows, 6 and 7 columns. */
WITH_AMX static void multiply_amx(const uint8_t *bytes, const int8_t *weight, int64_t depth,
                                  int32_t products[][BLOCK]) {
    for (int64_t column = 0; column < BLOCK; column += 2 * TILE) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t at = 0; at < depth; at += TILE_BYTES) {
            const int8_t *columns = weight + at * BLOCK + column * QUAD;
            _tile_loadd(4, bytes + at, depth);
            _tile_loadd(6, columns, BLOCK * QUAD);
            _tile_loadd(7, columns + TILE_BYTES, BLOCK * QUAD);
            _tile_loadd(5, bytes + TILE * depth + at, depth);
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        _tile_stored(0, &products[0][column], sizeof *products);
        _tile_stored(1, &products[0][column + TILE], sizeof *products);
        _tile_stored(2, &products[TILE][column], sizeof *products);
        _tile_stored(3, &products[TILE][column + TILE], sizeof *products);
    }
}

/* Scale the products of a row with a block of columns, which begins at `first`, back, and write them. */
INLINE WITH_VNNI void finish(const Layer *layer, Row row, const int32_t *products, int64_t first, void *results,
                             int64_t start) {
    __m512 lowest = _mm512_set1_ps(row.lowest), scale = _mm512_set1_ps(row.scale), values[VECTORS];
#pragma GCC unroll 4
    for (int vector = 0; vector < VECTORS; vector++) {
        int64_t column = first + vector * LANES;
        __m512 sums = _mm512_loadu_ps(layer->sums + column), bias = _mm512_loadu_ps(layer->bias + column);
        __m512 factor = _mm512_mul_ps(scale, _mm512_loadu_ps(layer->scales + column));
        __m512i product = _mm512_loadu_si512(products + vector * LANES);
        __m512 shift = _mm512_fmadd_ps(lowest, sums, bias);
        values[vector] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), factor, shift);
    }
    if (layer->gelu == GELU) gelu(values, GELU);
    if (layer->gelu == GELU_TANH) gelu(values, GELU_TANH);
#pragma GCC unroll 4
    for (int vector = 0; vector < VECTORS; vector++) {
        int64_t column = first + vector * LANES;
        store(results, start + column, mask_of(layer->out - column), values[vector], layer->dtype);
    }
}

typedef void (*Multiply)(const uint8_t *, const int8_t *, int64_t, int32_t[][BLOCK]);

/* Compute a strip: `count` rows from `first` on. `bytes` has room for STRIP rows of `depth`. */
WITH_VNNI static void compute(const Layer *layer, const void *states, int64_t first, int64_t count, int64_t depth,
                              uint8_t *bytes, void *results, Multiply multiply, int64_t group_rows) {
    Row rows[STRIP];
    for (int64_t row = 0; row < count; row++)
        rows[row] = quantise(states, (first + row) * layer->width, layer->width, bytes + row * depth, layer->dtype);
    for (int64_t block = 0; block < layer->out; block += BLOCK)
        for (int64_t group = 0; group < count; group += group_rows) {
            int32_t products[AMX_ROWS][BLOCK];
            multiply(bytes + group * depth, layer->weight + block * depth, depth, products);
            for (int64_t row = 0; row < group_rows && group + row < count; row++)
                finish(layer, rows[group + row], products[row], block, results, (first + group + row) * layer->out);
        }
}

/* Write the results [count][out] for states [count][width] in at most `threads` threads. Return 1, or 0 if memory runs
   out. `amx`: use AMX, which the system must have allowed this process. */
int rerank_int8_linear(const Layer *layer, const void *states, int64_t count, void *results, int32_t threads,
                       int32_t amx) {
    Multiply multiply = amx ? multiply_amx : multiply_vnni;
    int64_t group_rows = amx ? AMX_ROWS : VNNI_ROWS, share = padded(divided(count, threads), group_rows);
    int64_t rows = share < STRIP ? share : STRIP, depth = padded(layer->width, TILE_BYTES);
    if (!count) return 1;
    int64_t strips = divided(count, rows);
    if (threads > strips) threads = (int32_t)strips;
    size_t size = (size_t)(STRIP * depth);
    uint8_t *buffers = aligned_alloc(TILE_BYTES, size * (size_t)threads);
    if (!buffers) return 0;
    memset(buffers, 0, size * (size_t)threads); /* once: only zeros stand behind the rows, and behind the weight's */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int32_t thread = 0; thread < threads; thread++) {
        uint8_t *bytes = buffers + size * (size_t)thread;
        if (amx) start_tiles();
        for (int64_t strip = strips * thread / threads; strip < strips * (thread + 1) / threads; strip++) {
            int64_t first = strip * rows, left = count - first < rows ? count - first : rows;
            compute(layer, states, first, left, depth, bytes, results, multiply, group_rows);
        }
        if (amx) end_tiles();
    }
    free(buffers);
    return 1;
}
#endif
