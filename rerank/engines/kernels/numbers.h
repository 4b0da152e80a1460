/* What the kernels share: instruction sets, vectors of numbers, and tiles. */

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VNNI_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#define BF16_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"
#define WITH_VNNI __attribute__((target(VNNI_TARGET)))
#define WITH_BF16 __attribute__((target(BF16_TARGET)))
#define WITH_AMX __attribute__((target(VNNI_TARGET ",avx512bf16,amx-tile,amx-int8,amx-bf16")))
#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define INLINE __attribute__((always_inline)) static inline

enum {
    LANES = 16,      /* numbers of 32 bits in a vector */
    TILE = 16,       /* rows of a tile of AMX */
    TILE_BYTES = 64, /* of a row of a tile */
};

INLINE WITH_AVX512 __mmask16 mask_of(int64_t left) {
    return left >= LANES ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
}

INLINE WITH_AVX512 __m512 load_bfloat16(const uint16_t *numbers, __mmask16 mask) {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, numbers));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

INLINE int64_t divided(int64_t number, int64_t by) { return (number + by - 1) / by; } /* rounded up */

INLINE int64_t padded(int64_t number, int64_t multiple) { return divided(number, multiple) * multiple; }

/* Make all tiles of this thread as large as they can be. */
WITH_AMX __attribute__((noinline, unused)) static void start_tiles(void) {
    static const struct {
        uint8_t palette, start, unused[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } sizes = {.palette = 1, .bytes = {[0 ... 7] = TILE_BYTES}, .rows = {[0 ... 7] = TILE}};
    _tile_loadconfig(&sizes);
}

WITH_AMX __attribute__((noinline, unused)) static void end_tiles(void) { _tile_release(); }
