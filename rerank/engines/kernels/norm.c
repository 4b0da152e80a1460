/* The layer norm of a sum, in bfloat16, on x86 processors with AVX-512 BF16. `norm.py` calls this. The sum and all that
   follows is in float32; only the result is rounded. */

#if defined(__x86_64__) && defined(__GNUC__)
#include "numbers.h"

typedef struct {
    const float *gain, *shift; /* [width] */
    int64_t width;
    float epsilon;
} Norm;

/* Compute a row; `sums` has room for one. */
WITH_BF16 static void compute(const Norm *norm, const uint16_t *states, const uint16_t *added, float *sums,
                              uint16_t *results) {
    __m512 total = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t at = 0; at < norm->width; at += LANES) {
        __mmask16 mask = mask_of(norm->width - at);
        __m512 sum = _mm512_add_ps(load_bfloat16(states + at, mask), load_bfloat16(added + at, mask));
        _mm512_mask_storeu_ps(sums + at, mask, sum);
        total = _mm512_add_ps(total, sum);
    }
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / (float)norm->width);
    for (int64_t at = 0; at < norm->width; at += LANES) {
        __mmask16 mask = mask_of(norm->width - at);
        __m512 offset = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, sums + at), mean);
        squares = _mm512_fmadd_ps(offset, offset, squares);
    }
    float variance = _mm512_reduce_add_ps(squares) / (float)norm->width;
    __m512 scale = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(_mm512_set1_ps(variance + norm->epsilon)));
    for (int64_t at = 0; at < norm->width; at += LANES) {
        __mmask16 mask = mask_of(norm->width - at);
        __m512 gain = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(mask, norm->gain + at));
        __m512 offset = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, sums + at), mean);
        __m512 value = _mm512_fmadd_ps(offset, gain, _mm512_maskz_loadu_ps(mask, norm->shift + at));
        _mm256_mask_storeu_epi16(results + at, mask, (__m256i)_mm512_cvtneps_pbh(value));
    }
}

/* Write the results [count][width] for two arrays of that shape in at most `threads` threads. Return 1, or 0 if memory
   runs out. */
int rerank_norm_of_sum(const Norm *norm, const uint16_t *states, const uint16_t *added, int64_t count,
                       uint16_t *results, int32_t threads) {
    size_t size = (size_t)(norm->width + LANES - 1) / LANES * LANES * sizeof(float);
    if (threads > count) threads = count > 1 ? (int32_t)count : 1;
    char *buffers = aligned_alloc(TILE_BYTES, size * (size_t)threads);
    if (!buffers) return 0;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int32_t thread = 0; thread < threads; thread++)
        for (int64_t row = count * thread / threads; row < count * (thread + 1) / threads; row++) {
            int64_t start = row * norm->width;
            compute(norm, states + start, added + start, (float *)(buffers + size * (size_t)thread), results + start);
        }
    free(buffers);
    return 1;
}
#endif
